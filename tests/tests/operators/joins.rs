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

    #[test]
    fn small_side_joins_as_a_shuffled_one(
        pairs in pairs(),
        way in way(),
        limit in prop_oneof![Just(1 << 20), Just(0u64), 0u64..400],
        in_place in 0usize..3,
    ) {
        type Sides = (Pairs<String, i64>, Pairs<String, i64>);
        let sides = move |p: &Pairs<String, i64>| -> Sides {
            let (left, right) = sides(p);
            match in_place {
                0 => (left, right),
                1 => (left, right.partition_by(0)),
                _ => (left.partition_by(0), right),
            }
        };
        // Where the order matters, the records come as without the mark.
        macro_rules! same {
            ($join:ident) => {{
                let got = run(&pairs, &way, |p| { let (l, r) = sides(&p); l.$join(r.small().up_to(limit)) });
                let want = run(&pairs, &way, |p| { let (l, r) = sides(&p); l.$join(&r) });
                if in_place != 0 {
                    prop_assert_eq!(by_key(got), by_key(want));
                } else {
                    prop_assert_eq!(got, want);
                }
            }};
        }
        same!(join);
        same!(left_join);
        same!(semi_join);
        same!(anti_join);
        // Where it does not, by table or by shuffle. The keys that follow are others.
        macro_rules! folded {
            ($join:ident, $fold:expr) => {{
                let fold = $fold;
                let got = run(&pairs, &way, |p| {
                    let (l, r) = sides(&p);
                    l.union(&l).$join(r.small().up_to(limit)).map(move |(k, v), out| out.emit(k.len(), fold(v))).combine((Sum, Count))
                });
                let want = run(&pairs, &way, |p| {
                    let (l, r) = sides(&p);
                    l.union(&l).$join(&r).map(move |(k, v), out| out.emit(k.len(), fold(v))).combine((Sum, Count))
                });
                prop_assert_eq!(by_key(got), by_key(want));
            }};
        }
        folded!(join, |(v, w): (i64, i64)| v * 100 + w);
        folded!(left_join, |(v, w): (i64, Option<i64>)| v * 100 + w.unwrap_or(77));
        folded!(semi_join, |v: i64| v);
        folded!(anti_join, |v: i64| v);
    }
}
