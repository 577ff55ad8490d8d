//! Statistics by sketches that merge in any order.

use crate::ways::{by_key, grouped, pairs, run, way};
use proptest::prelude::*;
use std::collections::BTreeSet;
use windrow::prelude::*;

/// The smallest value that at least this share of the sorted values does not exceed.
fn nearest_rank(sorted: &[f64], percent: usize) -> f64 {
    sorted[(percent * sorted.len()).div_ceil(100).max(1) - 1]
}

/// Many different values of each value, of both signs and of very different sizes.
fn spread(v: i64) -> impl Iterator<Item = f64> {
    (0..60).map(move |i| (v as f64 + 0.5) * 1.7f64.powi(i % 30) / 1e3 + f64::from(i))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn quantiles_of_few_values_are_exact(pairs in pairs(), way in way(), percent in 0usize..=100) {
        let got = run(&pairs, &way, |p| p.combine(Quantiles([percent as f64 / 100.0, 0.0, 1.0])));
        let want: Vec<_> = grouped(&pairs).into_iter().map(|(k, mut v)| {
            v.sort();
            let v: Vec<f64> = v.into_iter().map(|v| v as f64).collect();
            (k, [nearest_rank(&v, percent), v[0], v[v.len() - 1]])
        }).collect();
        prop_assert_eq!(by_key(got), want);
    }

    #[test]
    fn quantiles_of_many_values_are_close(pairs in pairs(), one in way(), other in way(), percent in 0usize..=100) {
        let job = |p: Pairs<String, i64>| p.values().flat_map(spread).combine_all(Quantiles([percent as f64 / 100.0, 0.0, 1.0]));
        let got = run(&pairs, &one, job);
        prop_assert_eq!(&got, &run(&pairs, &other, job));
        let mut all: Vec<f64> = pairs.iter().flat_map(|(_, v)| spread(*v)).collect();
        all.sort_by(f64::total_cmp);
        prop_assert_eq!(got.len(), usize::from(!all.is_empty()));
        for [q, least, largest] in got {
            let want = nearest_rank(&all, percent);
            prop_assert!((q - want).abs() <= want.abs() / 256.0, "{} for {}", q, want);
            prop_assert_eq!((least, largest), (all[0], all[all.len() - 1]));
        }
    }

    #[test]
    fn histogram_counts_between_bounds(pairs in pairs(), way in way(), mut bounds in prop::collection::btree_set(-60i32..60, 0..5)) {
        let got = run(&pairs, &way, |p| p.combine(Histogram::new(bounds.iter().rev().map(|b| f64::from(*b)))));
        bounds.insert(i32::MIN);
        let bounds: Vec<i64> = bounds.into_iter().map(i64::from).collect();
        let want: Vec<_> = grouped(&pairs).into_iter().map(|(k, v)| {
            let between = |i: usize| v.iter().filter(|v| **v >= bounds[i] && bounds.get(i + 1).is_none_or(|b| *v < b)).count() as u64;
            (k, (0..bounds.len()).map(between).collect::<Vec<_>>())
        }).collect();
        prop_assert_eq!(by_key(got), want);
    }

    #[test]
    fn approx_distinct_counts_values_once(pairs in pairs(), one in way(), other in way()) {
        let got = run(&pairs, &one, |p| p.combine(ApproxDistinct));
        let want: Vec<_> = grouped(&pairs).into_iter().map(|(k, v)| (k, v.into_iter().collect::<BTreeSet<_>>().len() as u64)).collect();
        prop_assert_eq!(by_key(got), want);
        let different = pairs.iter().collect::<BTreeSet<_>>().len() as u64;
        prop_assert_eq!(run(&pairs, &one, |p| p.approx_distinct()), [different]);
        // Beyond the number up to which it is exact.
        let job = |p: Pairs<String, i64>| p.values().flat_map(|v| v * 1000..v * 1000 + 1000).approx_distinct();
        let got = run(&pairs, &one, job);
        prop_assert_eq!(&got, &run(&pairs, &other, job));
        let values = pairs.iter().map(|(_, v)| v).collect::<BTreeSet<_>>().len() as f64 * 1000.0;
        prop_assert!((got[0] as f64 - values).abs() <= values * 0.04, "{:?} for {}", got, values);
    }
}
