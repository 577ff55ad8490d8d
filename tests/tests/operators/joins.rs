//! Joins that keep or leave out what has no partner.

use crate::ways::{by_key, grouped, model_sides, pairs, run, sides, way};
use proptest::prelude::*;
use windrow::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn semi_and_anti_join_divide_the_left_side(pairs in pairs(), way in way(), in_place in any::<bool>()) {
        let (left, right) = model_sides(&pairs);
        let right = grouped(&right);
        let (with, without): (Vec<_>, Vec<_>) = by_key(left).into_iter().partition(|(k, _)| right.contains_key(k));
        let other = |p: Pairs<String, i64>| if in_place { p.partition_by(0) } else { p };
        let got = run(&pairs, &way, |p| { let (left, right) = sides(&p); left.semi_join(&other(right)) });
        prop_assert_eq!(by_key(got), with.clone());
        let got = run(&pairs, &way, |p| { let (left, right) = sides(&p); left.anti_join(&other(right)) });
        prop_assert_eq!(by_key(got), without);
        // In any order, by tables.
        let got = run(&pairs, &way, |p| { let (left, right) = sides(&p); left.semi_join(&right).combine(Sum) });
        let want: Vec<_> = grouped(&with).into_iter().map(|(k, v)| (k, v.iter().sum::<i64>())).collect();
        prop_assert_eq!(by_key(got), want);
    }

    #[test]
    fn full_join_keeps_both_sides(pairs in pairs(), way in way()) {
        let got = run(&pairs, &way, |p| { let (left, right) = sides(&p); left.full_join(&right) });
        let (left, right) = model_sides(&pairs);
        let (left, right) = (grouped(&left), grouped(&right));
        let mut want = Vec::new();
        for k in grouped(&pairs).into_keys() {
            match (left.get(&k), right.get(&k)) {
                (Some(vs), Some(ws)) => vs.iter().for_each(|v| {
                    want.extend(ws.iter().map(|w| (k.clone(), (Some(*v), Some(*w)))))
                }),
                (vs, ws) => {
                    want.extend(vs.into_iter().flatten().map(|v| (k.clone(), (Some(*v), None))));
                    want.extend(ws.into_iter().flatten().map(|w| (k.clone(), (None, Some(*w)))));
                }
            }
        }
        prop_assert_eq!(by_key(got), want);
    }
}
