//! Operations on keys.

use crate::ways::{Way, by_key, grouped, model_sides, pairs, run, sides, way};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;
use windrow::JobOptions;
use windrow::prelude::*;
use windrow::testing::run_with;

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn combine_folds_all_values_of_a_key(pairs in pairs(), way in way()) {
        let got = run(&pairs, &way, |p| p.combine((Sum, Min, Max, (Count, Mean))));
        let want: Vec<_> = grouped(&pairs).into_iter().map(|(k, v)| {
            let (sum, n) = (v.iter().sum::<i64>(), v.len() as u64);
            (k, (sum, *v.iter().min().unwrap(), *v.iter().max().unwrap(), (n, sum as f64 / n as f64)))
        }).collect();
        prop_assert_eq!(by_key(got), want);
    }

    #[test]
    fn top_k_keeps_the_largest(pairs in pairs(), way in way(), k in 0usize..5) {
        let got = run(&pairs, &way, |p| p.combine(TopK(k)));
        let got: Vec<_> = by_key(got).into_iter().map(|(key, Serde(best))| (key, best)).collect();
        let want: Vec<_> = grouped(&pairs).into_iter().map(|(key, mut v)| {
            v.sort_by(|a, b| b.cmp(a));
            v.truncate(k);
            (key, v)
        }).collect();
        prop_assert_eq!(got, want);
    }

    #[test]
    fn float_sums_do_not_depend_on_the_order(values in vec(-1e18f64..1e18, 1..60), way in way()) {
        // Every value once more with the other sign: the exact sum is the last, small one.
        let all: Vec<f64> = values.iter().copied().chain(values.iter().map(|v| -v)).chain([0.1]).collect();
        let options = JobOptions { chunk_bytes: way.chunk_bytes, partitions: way.partitions, ..JobOptions::default() };
        let got = run_with(all.iter().map(|v| format!("{v:e}")), options, way.threads, way.memory_bytes, |lines| {
            lines.map(|line, out| { out.emit(0u8, line.parse::<f64>()?); Ok(()) }).combine(Sum)
        }).unwrap();
        prop_assert_eq!(got, [(0, 0.1)]);
    }

    #[test]
    fn reduce_sees_the_values_in_input_order(pairs in pairs(), way in way()) {
        let got = run(&pairs, &way, |p| p.reduce(|k, values, out| {
            let all: Vec<String> = values.map(|v| v.to_string()).collect();
            out.emit(k, all.join(","))
        }));
        let want: Vec<_> = grouped(&pairs).into_iter()
            .map(|(k, v)| (k, v.iter().map(i64::to_string).collect::<Vec<_>>().join(","))).collect();
        prop_assert_eq!(by_key(got), want);
    }

    #[test]
    fn reduce_may_leave_values_unread(pairs in pairs(), way in way()) {
        let got = run(&pairs, &way, |p| p.reduce(|k, values, out| {
            if let Some(first) = values.next() { out.emit(k, first) }
        }));
        let want: Vec<_> = grouped(&pairs).into_iter().map(|(k, v)| (k, v[0])).collect();
        prop_assert_eq!(by_key(got), want);
    }

    #[test]
    fn group_gives_the_values_by_the_second_key(pairs in pairs(), way in way()) {
        let got = run(&pairs, &way, |p| p
            .map(|(k, v), out| out.emit((k, v / 10), v))
            .group(|k, values, out| {
                let all: Vec<String> = values.map(|(tens, v)| format!("{tens}:{v}")).collect();
                out.emit(k, all.join(","))
            }));
        let want: Vec<_> = grouped(&pairs).into_iter().map(|(k, mut v)| {
            // Stable: equal second keys stay in input order.
            v.sort_by_key(|v| v / 10);
            (k, v.iter().map(|v| format!("{}:{v}", v / 10)).collect::<Vec<_>>().join(","))
        }).collect();
        prop_assert_eq!(by_key(got), want);
    }

    #[test]
    fn sort_orders_all_records_and_keeps_equals_in_input_order(pairs in pairs(), way in way()) {
        let got = run(&pairs, &way, |p| p.sort());
        prop_assert_eq!(got, by_key(pairs.clone()));
        let got = run(&pairs, &way, |p| p.map(|(k, v), out| out.emit(Reverse(v), k)).sort().map(|(Reverse(v), k), out| out.emit(v, k)));
        let mut want: Vec<(i64, String)> = pairs.iter().map(|(k, v)| (*v, k.clone())).collect();
        want.sort_by_key(|(v, _)| std::cmp::Reverse(*v));
        prop_assert_eq!(got, want);
    }

    #[test]
    fn join_gives_every_pair_of_values(pairs in pairs(), way in way()) {
        let got = run(&pairs, &way, |p| { let (left, right) = sides(&p); left.join(&right) });
        let (left, right) = model_sides(&pairs);
        let mut want = Vec::new();
        for (k, v) in &by_key(left) {
            for (_, w) in right.iter().filter(|(other, _)| other == k) { want.push((k.clone(), (*v, *w))) }
        }
        prop_assert_eq!(by_key(got), want);
    }

    #[test]
    fn left_join_keeps_what_has_no_partner(pairs in pairs(), way in way()) {
        let got = run(&pairs, &way, |p| { let (left, right) = sides(&p); left.left_join(&right) });
        let (left, right) = model_sides(&pairs);
        let mut want = Vec::new();
        for (k, v) in &by_key(left) {
            let partners: Vec<i64> = right.iter().filter(|(other, _)| other == k).map(|(_, w)| *w).collect();
            if partners.is_empty() { want.push((k.clone(), (*v, None))) }
            want.extend(partners.into_iter().map(|w| (k.clone(), (*v, Some(w)))));
        }
        prop_assert_eq!(by_key(got), want);
    }

    #[test]
    fn cogroup_gives_both_sides_of_every_key(pairs in pairs(), way in way()) {
        let got = run(&pairs, &way, |p| {
            let (left, right) = sides(&p);
            left.cogroup(&right, |k, left, right, out| {
                let left: Vec<i64> = left.collect();
                let right: Vec<i64> = right.collect();
                out.emit(k, format!("{left:?} {right:?}"))
            })
        });
        let (left, right) = model_sides(&pairs);
        let (left, right) = (grouped(&left), grouped(&right));
        let none = Vec::new();
        let want: Vec<_> = grouped(&pairs).into_keys().map(|k| {
            let sides = format!("{:?} {:?}", left.get(&k).unwrap_or(&none), right.get(&k).unwrap_or(&none));
            (k, sides)
        }).collect();
        prop_assert_eq!(by_key(got), want);
    }

    #[test]
    fn union_is_one_after_the_other(pairs in pairs(), way in way()) {
        let got = run(&pairs, &way, |p| { let (left, right) = sides(&p); left.union(&right) });
        let (mut want, right) = model_sides(&pairs);
        want.extend(right);
        prop_assert_eq!(&got, &want);
        // The values of a key behind a shuffle keep that order, too.
        let got = run(&pairs, &way, |p| {
            let (left, right) = sides(&p);
            left.union(&right).reduce(|k, values, out| { let all: Vec<i64> = values.collect(); out.emit(k, format!("{all:?}")) })
        });
        let want: Vec<_> = grouped(&want).into_iter().map(|(k, v)| (k, format!("{v:?}"))).collect();
        prop_assert_eq!(by_key(got), want);
    }

    #[test]
    fn distinct_gives_every_record_once(pairs in pairs(), way in way()) {
        let mut got = run(&pairs, &way, |p| p.map(|(k, v), out| out.push((k, v / 25))).distinct());
        got.sort();
        let mut want: Vec<_> = pairs.iter().map(|(k, v)| (k.clone(), v / 25)).collect();
        want.sort();
        want.dedup();
        prop_assert_eq!(got, want);
    }

    #[test]
    fn shared_records_are_what_they_were(pairs in pairs(), way in way()) {
        let got = run(&pairs, &way, |p| {
            let shared = p.map_values(|v| v * 2).share();
            shared.union(&shared.filter(|(_, v)| v > 0))
        });
        let mut want: Vec<_> = pairs.iter().map(|(k, v)| (k.clone(), v * 2)).collect();
        want.extend(want.clone().into_iter().filter(|(_, v)| *v > 0));
        prop_assert_eq!(got, want);
    }

    #[test]
    fn partition_by_sorts_by_key_and_joins_of_like_partitions_agree(pairs in pairs(), way in way(), n in 0u32..6) {
        let got = run(&pairs, &way, |p| p.partition_by(n));
        prop_assert_eq!(by_key(got), by_key(pairs.clone()));
        let got = run(&pairs, &way, |p| {
            let all = p.partition_by(n);
            all.join(&all.combine(Sum))
        });
        let sums = grouped(&pairs);
        let want: Vec<_> = by_key(pairs.clone()).into_iter()
            .map(|(k, v)| { let sum = sums[&k].iter().sum::<i64>(); (k, (v, sum)) }).collect();
        prop_assert_eq!(by_key(got), want);
    }

    #[test]
    fn chains_of_shuffles_give_what_their_steps_give(pairs in pairs(), way in way()) {
        // How many keys have each sum, the largest sum first, with the keys.
        let got = run(&pairs, &way, |p| p
            .combine(Sum)
            .map(|(k, sum), out| out.emit((sum, k), ()))
            .group(|sum, keys, out| {
                let keys: Vec<String> = keys.map(|(k, ())| k.to_string()).collect();
                out.emit(Reverse(sum), keys.join("+"))
            })
            .sort()
            .map(|(Reverse(sum), keys), out| out.emit(sum, keys)));
        let mut sums: BTreeMap<i64, Vec<String>> = BTreeMap::new();
        for (k, v) in grouped(&pairs) { sums.entry(v.iter().sum()).or_default().push(k) }
        let want: Vec<_> = sums.into_iter().rev().map(|(sum, keys)| (sum, keys.join("+"))).collect();
        prop_assert_eq!(got, want);
    }

    #[test]
    fn the_result_is_the_same_however_it_is_run(pairs in pairs(), one in way(), other in way(), n in 1u32..=8) {
        let job = |p: Pairs<String, i64>| {
            let counts = p.combine((Count, Sum));
            p.join(&counts).map(|(k, (v, (n, sum))), out| out.emit((k, v), (n, sum))).partition_by(0)
        };
        let [one, other] = [one, other].map(|way| Way { partitions: Some(n), ..way });
        prop_assert_eq!(run(&pairs, &one, job), run(&pairs, &other, job));
    }
}
