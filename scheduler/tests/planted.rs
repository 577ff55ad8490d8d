//! The simulation finds every bug that is planted: whatever it did not find could be in the code, too.
#![cfg(debug_assertions)]

mod support;
use std::panic::{AssertUnwindSafe, catch_unwind};
use support::cluster::run;
use windrow_scheduler::planted::{Planted, plant};

/// A bug is to be found in so many runs; the rarest of them takes more than a thousand.
const RUNS: u64 = 6_000;
/// Without a bug so many pass.
const INNOCENT_RUNS: u64 = 1_000;

#[test]
fn every_planted_bug_is_found() {
    // What a run that fails has to say would fill the screen.
    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = Vec::new();
    let mut found = Vec::new();
    for bug in Planted::ALL.iter().copied() {
        plant(Some(bug));
        let at = (0..RUNS).find(|seed| catch_unwind(AssertUnwindSafe(|| run(*seed, seed % 2 == 1))).is_err());
        match at {
            Some(seed) => found.push((bug, seed)),
            None => missed.push(bug),
        }
    }
    plant(None);
    let innocent =
        (0..INNOCENT_RUNS).find(|seed| catch_unwind(AssertUnwindSafe(|| run(*seed, seed % 2 == 1))).is_err());
    let _ = std::panic::take_hook();
    assert_eq!(innocent, None, "without a bug every run passes");
    assert!(missed.is_empty(), "not found: {missed:?}; found: {found:?}");
    println!("found, and in which run: {found:?}");
}
