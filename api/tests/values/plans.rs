//! Mistakes in a plan are reported before anything runs.

use windrow::testing::{run, run_with};
use windrow::{Code, JobOptions};

#[test]
fn two_collects_of_one_name_are_refused() {
    let error = run(["a"], |lines| {
        lines.collect("twice");
        lines.map(|l, out| out.push(l.len())).collect("twice");
        lines
    });
    let error = error.unwrap_err();
    assert_eq!(error.code(), Code::PlanInvalid);
    let message = &error.failure().message;
    assert!(message.contains("`twice`") && message.matches("plans.rs:").count() == 2, "{message}");
}

#[test]
fn union_is_collected_under_one_name() {
    let both = run(["a"], |lines| lines.union(&lines.map(|l, out| out.push(l.to_uppercase())))).unwrap();
    assert_eq!(both, ["a", "A"]);
}

/// A sort reads its file twice: for the sample, and for the sort.
#[test]
fn bad_record_that_a_sort_reads_twice_counts_once() {
    let sorted = |bad: u64| {
        let options = JobOptions { skip_bad_records: bad, ..JobOptions::default() };
        run_with(["b", "BOOM", "a"], options, 2, 64 << 20, |lines| {
            let pairs = lines.map(|l, out| {
                assert!(l != "BOOM");
                out.emit(l, ())
            });
            pairs.sort().keys()
        })
    };
    assert_eq!(sorted(1).unwrap(), ["a", "b"]);
    assert_eq!(sorted(0).unwrap_err().code(), Code::UserPanic);
}
