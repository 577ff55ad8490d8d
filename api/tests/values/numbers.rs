//! Sums and means equal those of exact arithmetic, for every split of the input.

use proptest::prelude::*;
use windrow::JobOptions;
use windrow::prelude::*;
use windrow::testing::run_with;

/// Chunks of one record, of some records, and of all records.
const CHUNK_BYTES: [u64; 3] = [1, 40, 1 << 20];

fn cut(chunk_bytes: u64) -> JobOptions {
    JobOptions { chunk_bytes: Some(chunk_bytes), ..JobOptions::default() }
}

/// Returns what `make` computes for the values of one key, which must not depend on the split.
#[track_caller]
fn of_one_key<V>(
    values: &[String],
    make: impl Fn(Pairs<String, String>) -> Pairs<String, V>,
) -> std::result::Result<V, String>
where
    V: windrow::Datum + Clone + std::fmt::Debug,
{
    let mut results = CHUNK_BYTES.map(|chunk_bytes| {
        let got = run_with(values, cut(chunk_bytes), 2, 64 << 20, |lines| make(lines.key_by(|_| "key")));
        // Which stage detects the error depends on the split.
        let what =
            |message: &str| message.rsplit_once("failed 1 times: ").map_or(message, |(_, what)| what).to_string();
        got.map(|mut got| got.remove(0).1).map_err(|e| what(&e.failure().message))
    });
    let texts = results.each_ref().map(|r| format!("{r:?}"));
    assert!(texts.iter().all(|t| *t == texts[0]), "{texts:?}");
    std::mem::replace(&mut results[0], Err(String::new()))
}

fn texts<T: ToString>(values: impl IntoIterator<Item = T>) -> Vec<String> {
    values.into_iter().map(|v| v.to_string()).collect()
}

macro_rules! parsed {
    ($type:ty, $combiner:expr) => {
        |pairs: Pairs<String, String>| pairs.map_values(|v| v.parse::<$type>().expect("a number")).combine($combiner)
    };
}

#[test]
fn partial_sums_may_leave_the_range_of_the_whole() {
    let values = texts([-5, i64::MAX, 1]);
    assert_eq!(of_one_key(&values, parsed!(i64, Sum)), Ok(i64::MAX - 4));
    let values = texts([i128::MIN, -1, 2]);
    assert_eq!(of_one_key(&values, parsed!(i128, Sum)), Ok(i128::MIN + 1));
}

#[test]
fn sum_beyond_its_width_fails_for_every_split() {
    let beyond = |result: std::result::Result<String, String>, key: &str| {
        let message = result.unwrap_err();
        assert!(message.contains("a sum does not fit into") && message.contains(key), "{message}");
    };
    beyond(of_one_key(&texts([i64::MAX, 1]), parsed!(i64, Sum)).map(|v| v.to_string()), "key \"key\"");
    beyond(of_one_key(&texts([i64::MIN, -1]), parsed!(i64, Sum)).map(|v| v.to_string()), "key \"key\"");
    beyond(of_one_key(&texts([u64::MAX, 1]), parsed!(u64, Sum)).map(|v| v.to_string()), "`combine` at ");
    beyond(of_one_key(&texts([i128::MAX, 1]), parsed!(i128, Sum)).map(|v| v.to_string()), "key \"key\"");
}

#[test]
fn means_neither_overflow_nor_round_twice() {
    let mean = |values: Vec<String>| of_one_key(&values, parsed!(i64, Mean)).unwrap();
    assert_eq!(mean(texts([i64::MAX; 2])), i64::MAX as f64);
    assert_eq!(mean(texts([9007199254740993i64; 3])), 9007199254740992.0);
    assert_eq!(mean(texts([i64::MIN, i64::MAX])), -0.5);
    let mean = |values: Vec<String>| of_one_key(&values, parsed!(f64, Mean)).unwrap();
    assert_eq!(mean(texts([1e308; 2])), 1e308);
    assert_eq!(mean(texts([f64::MAX; 7])), f64::MAX);
    assert_eq!(mean(texts([5e-324, 0.0])), 0.0);
    assert_eq!(mean(texts([5e-324, 1e-323, 0.0])), 5e-324);
    assert!(mean(texts(["NaN", "1"])).is_nan());
    assert_eq!(mean(texts(["inf", "1"])), f64::INFINITY);
    assert_eq!(of_one_key(&texts([u64::MAX; 3]), parsed!(u64, Mean)), Ok(u64::MAX as f64));
    assert_eq!(of_one_key(&texts([u128::MAX; 3]), parsed!(u128, Mean)), Ok(u128::MAX as f64));
    assert_eq!(of_one_key(&texts([i128::MIN; 3]), parsed!(i128, Mean)), Ok(i128::MIN as f64));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]
    #[test]
    fn sums_and_means_of_integers_are_exact(values in prop::collection::vec(any::<i64>(), 1..12)) {
        let exact: i128 = values.iter().map(|v| i128::from(*v)).sum();
        let sum = of_one_key(&texts(&values), parsed!(i64, Sum)).ok();
        prop_assert_eq!(sum, i64::try_from(exact).ok());
        let mean = of_one_key(&texts(&values), parsed!(i64, Mean)).unwrap();
        // The nearest double is within half a unit of the exact quotient. They are compared as integers, multiplied by
        // the count.
        let off = |m: f64| (m as i128 * values.len() as i128 - exact).abs();
        if mean.abs() >= 9007199254740992.0 {
            prop_assert!(off(mean) <= off(mean.next_up()) && off(mean) <= off(mean.next_down()));
        } else {
            prop_assert!((mean - exact as f64 / values.len() as f64).abs() <= 1.0);
        }
    }
}

#[test]
fn json_floats_are_read_exactly() {
    for text in ["1.5777777777770001", "9007199254740991.0", "5e-324", "1.7976931348623157e308", "-0.0"] {
        let source = jsonl::<f64>("any");
        let got = windrow::testing::read(&source, text.as_bytes(), 1).unwrap();
        assert_eq!(got[0].0.to_bits(), text.parse::<f64>().unwrap().to_bits(), "{text}");
    }
}
