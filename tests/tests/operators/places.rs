//! Operations that depend on where a record lies.

use crate::ways::{Way, by_key, grouped, pairs, run, sides, way};
use proptest::prelude::*;
use windrow::prelude::*;

/// A job with a sample that has this seed.
type Sampling = fn(Pairs<String, i64>, u64) -> Pairs<String, i64>;

/// The records of each partition in order, as text.
fn partitions(records: &Records<(String, i64)>) -> Records<String> {
    records.map_partitions(
        || Ok(Vec::new()),
        |all, (k, v), _| all.push(format!("{k} {v}")),
        |all, out| out.push(all.join(",")),
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn zip_with_index_numbers_records_in_order(pairs in pairs(), way in way()) {
        let numbered = |all: &[(String, i64)]| all.iter().cloned().zip(0u64..).collect::<Vec<_>>();
        prop_assert_eq!(run(&pairs, &way, |p| p.zip_with_index()), numbered(&pairs));
        prop_assert_eq!(run(&pairs, &way, |p| p.sort().zip_with_index()), numbered(&by_key(pairs.clone())));
        let (left, right): (Vec<_>, Vec<_>) = pairs.iter().cloned().partition(|(_, v)| *v < 0);
        let got = run(&pairs, &way, |p| { let (left, right) = sides(&p); left.union(&right.share()).zip_with_index() });
        prop_assert_eq!(got, numbered(&[left, right].concat()));
        // In the order of the partitions.
        let sums = run(&pairs, &way, |p| p.combine(Sum));
        prop_assert_eq!(run(&pairs, &way, |p| p.combine(Sum).zip_with_index()), numbered(&sums));
    }

    #[test]
    fn repartition_deals_records_out_in_turn(pairs in pairs(), way in way(), n in 0u32..6) {
        let got = run(&pairs, &way, |p| partitions(&p.repartition(n)));
        let count = match n { 0 => way.partitions.unwrap_or(1), n => n } as usize;
        let text = |of: usize| {
            let own = pairs.iter().enumerate().filter(|(i, _)| i % count == of);
            own.map(|(_, (k, v))| format!("{k} {v}")).collect::<Vec<_>>().join(",")
        };
        prop_assert_eq!(got, (0..count).map(text).collect::<Vec<_>>());
    }

    #[test]
    fn partition_with_puts_keys_where_the_function_says(pairs in pairs(), way in way(), n in 1u32..5) {
        let place = move |k: &str| k.len() as u32 % n;
        let got = run(&pairs, &way, |p| partitions(&p.partition_with(n, place)));
        let sorted = by_key(pairs.clone());
        let text = |of: u32| {
            let own = sorted.iter().filter(|(k, _)| place(k) == of);
            own.map(|(k, v)| format!("{k} {v}")).collect::<Vec<_>>().join(",")
        };
        prop_assert_eq!(got, (0..n).map(text).collect::<Vec<_>>());
        let sums = run(&pairs, &way, |p| p.partition_with(n, place).combine(Sum));
        prop_assert_eq!(by_key(sums), by_key(run(&pairs, &way, |p| p.combine(Sum))));
    }

    #[test]
    fn map_partitions_opens_and_closes_once_for_a_task(pairs in pairs(), way in way()) {
        // A single partition is a single task.
        let one = Way { partitions: Some(1), ..way.clone() };
        let got = run(&pairs, &one, |p| partitions(&p.partition_by(1)));
        let sorted = by_key(pairs.clone());
        let want = sorted.iter().map(|(k, v)| format!("{k} {v}")).collect::<Vec<_>>().join(",");
        prop_assert_eq!(got, [want]);
        // However many there are, no record is lost.
        let got = run(&pairs, &way, |p| p.map_partitions(|| Ok(0i64), |sum, (_, v), _| *sum += v, |sum, out| out.push(sum)).combine_all(Sum));
        let sum = pairs.iter().map(|(_, v)| v).sum::<i64>();
        prop_assert_eq!(got.first().copied().unwrap_or(0), sum);
    }

    #[test]
    fn sample_does_not_depend_on_the_way(pairs in pairs(), one in way(), other in way(), seed in any::<u64>()) {
        let job = |p: Pairs<String, i64>| p.sample(0.5, seed);
        let kept = run(&pairs, &one, job);
        prop_assert_eq!(&kept, &run(&pairs, &other, job));
        // In order, and one of two.
        let mut rest = pairs.iter();
        prop_assert!(kept.iter().all(|k| rest.any(|p| p == k)));
        prop_assert!(pairs.len() < 60 || (pairs.len() / 5..pairs.len() * 4 / 5).contains(&kept.len()));
        let all = run(&pairs, &one, |p| p.sample(1.0, seed));
        prop_assert_eq!(&all, &pairs);
        prop_assert_eq!(run(&pairs, &one, |p| p.sample(0.0, seed)), []);
        // By the keys of shuffles, in any number of partitions, also for consumers that need no order.
        let jobs: [Sampling; 4] = [
            |p, seed| p.combine(Sum).sample(0.5, seed),
            |p, seed| p.partition_by(0).sample(0.5, seed),
            |p, seed| p.join(&p.combine(Sum)).map_values(|(v, _)| v).sample(0.5, seed).combine(Sum),
            |p, seed| p.reduce(|k, values, out| for v in values { out.emit(k, v) }).sample(0.5, seed),
        ];
        for job in jobs {
            let [one, other] = [&one, &other].map(|way| by_key(run(&pairs, way, |p| job(p, seed))));
            prop_assert_eq!(one, other);
        }
    }

    #[test]
    fn window_gives_each_run_of_neighbours(pairs in pairs(), way in way()) {
        let got = run(&pairs, &way, |p| p
            .map(|(k, v), out| out.emit((k, v / 10), v))
            .window(|k, [(_, a), (_, b), (tens, c)], out| out.emit(k, format!("{a} {b} {tens}:{c}"))));
        let mut want = Vec::new();
        for (k, mut v) in grouped(&pairs) {
            v.sort_by_key(|v| v / 10);
            want.extend(v.windows(3).map(|w| (k.clone(), format!("{} {} {}:{}", w[0], w[1], w[2] / 10, w[2]))));
        }
        prop_assert_eq!(by_key(got), want);
    }
}

#[test]
fn map_partitions_fails_with_the_error_of_a_function() {
    let run = |at: u8| {
        let fails = move |here: u8| if here == at { Err(Error::msg(format!("no service {here}"))) } else { Ok(()) };
        let result = windrow::testing::run(["a"], |lines| {
            lines.map_partitions(
                move || fails(0),
                move |(), line, out| {
                    out.push(line);
                    fails(1)
                },
                move |(), _| fails(2),
            )
        });
        result.map_err(|e| e.to_string())
    };
    for at in 0..3 {
        let message = run(at).unwrap_err();
        assert!(message.contains(&format!("no service {at}")) && message.contains("`map_partitions` at"), "{message}");
    }
    assert_eq!(run(3).unwrap(), ["a"]);
}

#[test]
fn partition_with_refuses_a_partition_that_does_not_exist() {
    let partitioned = |n: u32| {
        windrow::testing::run(["aa"], |lines| {
            lines.map(|l, out| out.emit(l, ())).partition_with(n, |k| k.len() as u32).keys()
        })
    };
    let message = partitioned(2).unwrap_err().to_string();
    assert!(message.contains("the partition 2 of a key is none of 2 (in `partition_with` at"), "{message}");
    assert_eq!(partitioned(3).unwrap(), ["aa"]);
    assert_eq!(partitioned(0).unwrap_err().code(), windrow::Code::PlanInvalid);
}

#[test]
fn sample_refuses_a_rate_that_is_no_probability() {
    for rate in [-0.1, 1.1, f64::NAN] {
        let error = windrow::testing::run(["a"], |lines| lines.sample(rate, 1)).unwrap_err();
        assert_eq!(error.code(), windrow::Code::PlanInvalid);
    }
}

/// Records of one place, and equal records, are chosen one by one.
#[test]
fn equal_records_are_chosen_individually() {
    let kept = |make: fn(Records<String>) -> Records<String>| windrow::testing::run(["x"; 1000], make).unwrap().len();
    for (i, kept) in [
        kept(|lines| lines.sample(0.5, 3)),
        kept(|lines| lines.take(1).map(|l, out| (0..1000).for_each(|_| out.push(l))).sample(0.5, 3)),
        kept(|lines| lines.map(|l, out| out.emit((), l)).partition_by(3).values().sample(0.5, 3)),
        kept(|lines| lines.share().sample(0.5, 3)),
        kept(|lines| lines.repartition(4).sample(0.5, 3)),
    ]
    .into_iter()
    .enumerate()
    {
        assert!((400..600).contains(&kept), "{i}: {kept}");
    }
}
