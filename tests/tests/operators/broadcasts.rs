//! Values that functions of later operations read.

use crate::ways::{by_key, grouped, model_sides, pairs, run, sides, way};
use proptest::prelude::*;
use std::collections::BTreeMap;
use windrow::prelude::*;
use windrow::testing::run as run_lines;
use windrow::{Code, Emitter};

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn functions_read_the_broadcast_value(pairs in pairs(), way in way()) {
        let total: i64 = pairs.iter().map(|(_, v)| v).sum();
        let got = run(&pairs, &way, |p| {
            let total = p.values().combine_all(Sum).broadcast();
            p.map_values(move |v| v - *total.get())
        });
        prop_assert_eq!(got, pairs.iter().map(|(k, v)| (k.clone(), v - total)).collect::<Vec<_>>());
    }

    #[test]
    fn broadcast_keeps_all_records_in_order(pairs in pairs(), way in way()) {
        let (below, others) = model_sides(&pairs);
        let joined = |k: &str| others.iter().filter(|(other, _)| other == k).map(|(_, v)| *v).collect::<Vec<_>>();
        let want: Vec<_> = below.iter().map(|(k, _)| (k.clone(), joined(k))).collect();
        let got = run(&pairs, &way, |p| {
            let (below, others) = sides(&p);
            let others = others.broadcast();
            below.map(move |(k, _), out| {
                out.emit(k, others.all().iter().filter(|(other, _)| other == k).map(|(_, v)| *v).collect::<Vec<_>>())
            })
        });
        prop_assert_eq!(&got, &want);
        let got = run(&pairs, &way, |p| {
            let (below, others) = sides(&p);
            let others = others.broadcast_as(|pairs| grouped(&pairs));
            below.map(move |(k, _), out| out.emit(k, others.get().get(k).cloned().unwrap_or_default()))
        });
        prop_assert_eq!(&got, &want);
    }

    #[test]
    fn broadcasts_depend_on_earlier_ones(pairs in pairs(), way in way()) {
        let total: i64 = pairs.iter().map(|(_, v)| v).sum();
        let above = pairs.iter().filter(|(_, v)| *v > total).count() as i64;
        let got = run(&pairs, &way, |p| {
            let total = p.values().combine_all(Sum).broadcast();
            let of_union = total.clone();
            let above = p.values().filter(move |v| v > *total.get()).count().broadcast_as({
                let total = of_union.clone();
                move |counts| *total.get() + counts[0] as i64
            });
            p.union(&p.map_values(move |_| *of_union.get())).sort().map(move |(k, v), out| out.emit(k, (v, *above.get())))
        });
        let mut want: Vec<_> = pairs.iter().chain(&pairs).enumerate().map(|(i, (k, v))| {
            (k.clone(), (if i < pairs.len() { *v } else { total }, total + above))
        }).collect();
        want.sort_by(|a, b| a.0.cmp(&b.0));
        prop_assert_eq!(by_key(got), want);
    }

    #[test]
    fn every_operation_with_a_function_reads_a_broadcast(pairs in pairs(), way in way()) {
        let n = pairs.len() as i64;
        let results = run(&pairs, &way, |p| {
            let n = p.count().broadcast_as(|counts| counts[0] as i64);
            operations(&p, &n).into_iter().reduce(|all, one| all.union(&one)).unwrap()
        });
        // Each operation takes or gives the number itself, wherever it reads it.
        let mut wrong: BTreeMap<&str, i64> = BTreeMap::new();
        for (name, number) in &results {
            if *number != n {
                wrong.insert(name, *number);
            }
        }
        prop_assert_eq!(wrong, BTreeMap::new());
        let seen: std::collections::BTreeSet<&str> = results.iter().map(|(name, _)| name.as_str()).collect();
        prop_assert_eq!(seen.len(), if pairs.is_empty() { 1 } else { 20 }, "{:?}", seen);
    }
}

/// The results of all operations that call a function, which reads `n` and gives it.
fn operations(p: &Pairs<String, i64>, n: &windrow::Broadcast<i64>) -> Vec<Pairs<String, i64>> {
    type Out<'e> = Emitter<'e, (String, i64)>;
    let is = |name: &'static str, n: &windrow::Broadcast<i64>| {
        let n = n.clone();
        move |out: &mut Out<'_>| out.emit(name, *n.get())
    };
    // A closure of its own for each operation, which captures a clone of the handle.
    macro_rules! reads {
        ($name:literal) => {
            is($name, n)
        };
    }
    macro_rules! value {
        () => {{
            let n = n.clone();
            move || *n.get()
        }};
    }
    let named = |name: &'static str, numbers: Records<i64>| numbers.map(move |v, out: &mut Out<'_>| out.emit(name, v));
    let nested = p.map(|(k, v), out| out.emit((k, v), v));
    let (map, open, each, close) = (reads!("map"), value!(), value!(), reads!("map_partitions"));
    let (reduce, group, window, cogroup) = (reads!("reduce"), reads!("group"), reads!("window"), reads!("cogroup"));
    let (flat, filtered, keyed, mapped, seen) = (value!(), value!(), value!(), value!(), value!());
    let (reduced, created, merged, folded) = (value!(), value!(), value!(), value!());
    let (of, of_all, largest, first, partition) = (value!(), value!(), value!(), value!(), value!());
    vec![
        p.map(move |_, out| map(out)),
        named("flat_map", p.flat_map(move |_| [flat()])),
        named("filter", p.filter(move |_| filtered() > 0).count().filter(|v| v > 0).map(|v, out| out.push(v as i64))),
        p.key_by(move |_| keyed()).keys().map(|v, out| out.emit("key_by", v)),
        named("map_values", p.map_values(move |_| mapped()).values()),
        named(
            "inspect",
            p.inspect(move |_| assert!(seen() > 0)).count().filter(|v| v > 0).map(|v, out| out.push(v as i64)),
        ),
        p.partition_by(2).map_partitions(
            move || Ok(open()),
            move |state, _, _| assert_eq!(*state, each()),
            move |_, out: &mut Out<'_>| close(out),
        ),
        p.reduce(move |_, _, out| reduce(out)),
        named("reduce_values", p.reduce_values(move |_, _| reduced()).values()),
        nested.group(move |_, _, out| group(out)),
        nested.map(|((_, v), _), out| out.emit(((), v), ())).window(move |_, [_], out| window(out)),
        p.cogroup(p, move |_, _, _, out| cogroup(out)),
        named("combine_by", p.combine_by(move |_| created(), move |a, _| *a = merged()).values()),
        // Once for each key, and so at least once for one key that has all pairs.
        named(
            "reduce_by",
            p.map(|(_, v), out| {
                out.emit((), v);
                out.emit((), v)
            })
            .reduce_by(move |_, _| folded())
            .values(),
        ),
        named("combine", p.combine(Max.of(move |_: i64| of())).values()),
        named("combine_all", p.combine_all(Max.of(move |_: (&str, i64)| of_all()))),
        named(
            "top_by",
            p.top_by(usize::MAX >> 40, move |_| largest()).count().filter(|v| v > 0).map(|v, out| out.push(v as i64)),
        ),
        named(
            "distinct_by",
            p.distinct_by(move |_| first()).count().filter(|v| v > 0).map({
                let n = value!();
                move |v, out| out.push(v as i64 - 1 + n())
            }),
        ),
        named(
            "partition_with",
            p.partition_with(1, move |_| if partition() > 0 { 0 } else { 1 })
                .count()
                .filter(|v| v > 0)
                .map(|v, out| out.push(v as i64)),
        ),
        named(
            "nested",
            p.map({
                let n = value!();
                move |_, out| out.push(n())
            })
            .share(),
        ),
    ]
}

#[test]
fn broadcast_of_too_many_records_is_refused_with_a_hint() {
    let text = "x".repeat(999);
    // 1,003 bytes each in the blob.
    for (records, refused) in [(1045, false), (1046, true)] {
        let text = text.clone();
        let result = run_lines((0..records).map(|n| n.to_string()), |lines| {
            let all = lines.map(move |_, out| out.push(text.as_str())).broadcast();
            lines.first().map(move |_, out| out.push(all.all().len()))
        });
        match result {
            Ok(counts) => assert!(!refused && counts == [records as u64], "{counts:?}"),
            Err(e) => {
                assert!(refused && e.code() == Code::BroadcastTooLarge, "{e}");
                assert!(e.code().hint().contains("join"), "{e}");
            }
        }
    }
}

#[test]
fn get_of_several_values_fails_the_record_and_names_both_places() {
    let result = run_lines(["a", "b"], |lines| {
        let both = lines.broadcast();
        lines.map(move |_, out| out.push(both.get().as_str()))
    });
    let failure = result.unwrap_err().into_failure();
    assert_eq!(failure.code, Code::UserPanic);
    let message = &failure.message;
    assert!(message.contains("the `broadcast` at ") && message.contains("has 2 values"), "{message}");
    assert!(message.contains("(in `map` at "), "{message}");
}

#[test]
fn value_of_another_plan_is_refused() {
    let mut other = None;
    run_lines(["a"], |lines| {
        other = Some(lines.broadcast());
        lines
    })
    .unwrap();
    let other = other.unwrap();
    let result = run_lines(["a"], |lines| lines.map(move |_, out| out.push(other.get().as_str())));
    let failure = result.unwrap_err().into_failure();
    assert!(failure.message.contains("has no value here"), "{}", failure.message);
    assert!(failure.message.contains("(in `map` at "), "{}", failure.message);
}
