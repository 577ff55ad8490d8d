//! Operations on a whole collection, whose result lies in one partition.

use crate::ways::{by_key, pairs, run, way};
use proptest::prelude::*;
use windrow::prelude::*;
use windrow::testing::run as run_lines;

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn count_and_combine_all_fold_every_record(pairs in pairs(), way in way()) {
        prop_assert_eq!(run(&pairs, &way, |p| p.count()), [pairs.len() as u64]);
        let got = run(&pairs, &way, |p| p.union(&p).map_values(|v| v / 2).values().combine_all((Sum, Max, TopK(3))));
        let mut halves: Vec<i64> = pairs.iter().chain(&pairs).map(|(_, v)| v / 2).collect();
        halves.sort_by(|a, b| b.cmp(a));
        let sum = halves.iter().sum::<i64>();
        let want: Vec<_> = halves.first().map(|max| (sum, *max, Serde(halves[..halves.len().min(3)].to_vec()))).into_iter().collect();
        prop_assert_eq!(got, want);
        prop_assert_eq!(run(&pairs, &way, |p| p.combine(Count).keys().count()), run(&pairs, &way, |p| p.keys().distinct().count()));
    }

    #[test]
    fn take_gives_the_first_records(pairs in pairs(), way in way(), n in 0u64..40) {
        let first = |n: u64| pairs.iter().take(n as usize).cloned().collect::<Vec<_>>();
        prop_assert_eq!(run(&pairs, &way, |p| p.take(n)), first(n));
        prop_assert_eq!(run(&pairs, &way, |p| p.first()), first(1));
        // After loops of the engine that end early.
        let sorted = by_key(pairs.clone());
        prop_assert_eq!(run(&pairs, &way, |p| p.sort().take(n)), sorted.iter().take(n as usize).cloned().collect::<Vec<_>>());
        let sums = run(&pairs, &way, |p| p.combine(Sum));
        prop_assert_eq!(run(&pairs, &way, |p| p.combine(Sum).take(n)), sums.into_iter().take(n as usize).collect::<Vec<_>>());
        // What follows in the same stage is not cut.
        prop_assert_eq!(run(&pairs, &way, |p| p.take(n).map(|r, out| { out.push(r); out.push(r) }).count()), [2 * first(n).len() as u64]);
    }

    #[test]
    fn top_gives_the_largest_in_descending_order(pairs in pairs(), way in way(), k in 0usize..10) {
        let largest = |mut all: Vec<(String, i64)>| { all.sort_by(|a, b| b.cmp(a)); all.truncate(k); all };
        prop_assert_eq!(run(&pairs, &way, |p| p.top(k)), largest(pairs.clone()));
        let mut by_value: Vec<_> = pairs.iter().map(|(key, v)| (*v, key.clone())).collect();
        by_value.sort_by(|a, b| b.cmp(a));
        by_value.truncate(k);
        let got = run(&pairs, &way, |p| p.top_by(k, |(_, v)| v));
        prop_assert_eq!(got.into_iter().map(|(key, v)| (v, key)).collect::<Vec<_>>(), by_value);
        let mut smallest: Vec<i64> = pairs.iter().map(|(_, v)| *v).collect();
        smallest.sort();
        smallest.truncate(k);
        prop_assert_eq!(run(&pairs, &way, |p| p.values().top_by(k, Reverse)), smallest);
    }

    #[test]
    fn flatten_and_inspect_keep_the_order(pairs in pairs(), way in way()) {
        let positive = |v: i64| (v > 0).then_some(v);
        let got = run(&pairs, &way, move |p| p.values().inspect(|v| assert!(v < 50)).map(move |v, out| out.push(positive(v))).flatten());
        prop_assert_eq!(got, pairs.iter().filter_map(|(_, v)| positive(*v)).collect::<Vec<_>>());
        let got = run(&pairs, &way, |p| p.values().map(|v, out| out.push(vec![v; (v & 3) as usize])).flatten());
        prop_assert_eq!(got, pairs.iter().flat_map(|(_, v)| vec![*v; (v & 3) as usize]).collect::<Vec<_>>());
    }
}

#[test]
fn take_does_not_look_at_what_follows() {
    let lines = (0..1000).map(|n| n.to_string());
    let got = run_lines(lines, |lines| lines.inspect(|line| assert!(line != "3")).take(3));
    assert_eq!(got.unwrap(), ["0", "1", "2"]);
}
