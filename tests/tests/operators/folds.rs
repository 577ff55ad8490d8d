//! Folds of the values of a key by functions and by field, and the first record of each key.

use crate::ways::{by_key, grouped, pairs, run, sides, way};
use proptest::prelude::*;
use std::collections::BTreeMap;
use windrow::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reduce_by_folds_all_values_of_a_key(pairs in pairs(), way in way()) {
        let got = run(&pairs, &way, |p| p.reduce_by(|a, b| a ^ b));
        let want: Vec<_> = grouped(&pairs).into_iter().map(|(k, v)| (k, v.into_iter().reduce(|a, b| a ^ b).unwrap())).collect();
        prop_assert_eq!(by_key(got), want);
        // Values that own memory.
        let got = run(&pairs, &way, |p| p.map_values(|v| format!("{v:+}")).reduce_by(|a, b| if (a.len(), &a) > (b.len(), &b) { a } else { b }));
        let longest = |v: Vec<i64>| v.iter().map(|v| format!("{v:+}")).max_by_key(|v| (v.len(), v.clone())).unwrap();
        let want: Vec<_> = grouped(&pairs).into_iter().map(|(k, v)| (k, longest(v))).collect();
        prop_assert_eq!(by_key(got), want);
    }

    #[test]
    fn combine_by_folds_into_any_accumulator(pairs in pairs(), way in way()) {
        let got = run(&pairs, &way, |p| p.combine_by(
            |v| Serde(vec![v]),
            |all, other| { all.0.extend(other.0); all.0.sort() },
        ));
        let got: Vec<_> = by_key(got).into_iter().map(|(k, Serde(mut all))| { all.sort(); (k, all) }).collect();
        let want: Vec<_> = grouped(&pairs).into_iter().map(|(k, mut v)| { v.sort(); (k, v) }).collect();
        prop_assert_eq!(got, want);
        let got = run(&pairs, &way, |p| p.combine_by(|v| (v, v, 1u64), |a, b| *a = (a.0.min(b.0), a.1.max(b.1), a.2 + b.2)));
        prop_assert_eq!(got, run(&pairs, &way, |p| p.combine((Min, Max, Count))));
    }

    #[test]
    fn fields_of_a_value_have_combiners_of_their_own(pairs in pairs(), way in way()) {
        let fields = |p: Pairs<String, i64>| p.map_values(|v| (v, format!("{v}"), v as f64));
        let want = run(&pairs, &way, |p| p.combine((Sum, Count, Mean)));
        let got = run(&pairs, &way, |p| fields(p).combine(Each((Sum, Count, Mean))));
        prop_assert_eq!(&got, &want);
        let got = run(&pairs, &way, |p| fields(p).combine((
            Sum.of(|v: (i64, &str, f64)| v.0),
            Count.of(|v: (i64, &str, f64)| v.1.to_string()),
            Mean.of(|v: (i64, &str, f64)| v.2),
        )));
        prop_assert_eq!(&got, &want);
    }

    #[test]
    fn distinct_by_keeps_the_first_of_each_key(pairs in pairs(), way in way()) {
        let first = |pairs: &[(String, i64)]| {
            let mut found = BTreeMap::new();
            for (k, v) in pairs { found.entry(v / 10).or_insert((k.clone(), *v)); }
            found.into_values().collect::<Vec<_>>()
        };
        let by_tens = |mut got: Vec<(String, i64)>| { got.sort_by_key(|(_, v)| v / 10); got };
        prop_assert_eq!(by_tens(run(&pairs, &way, |p| p.distinct_by(|(_, v)| v / 10))), first(&pairs));
        let got = run(&pairs, &way, |p| { let (left, right) = sides(&p); right.union(&left).distinct_by(|(_, v)| v / 10) });
        let (left, right): (Vec<_>, Vec<_>) = pairs.iter().cloned().partition(|(_, v)| *v < 0);
        prop_assert_eq!(by_tens(got), first(&[right, left].concat()));
        // Behind a shuffle whose consumers else need no order.
        let sorted = by_key(pairs.clone());
        prop_assert_eq!(by_tens(run(&pairs, &way, |p| p.sort().distinct_by(|(_, v)| v / 10))), first(&sorted));
    }
}
