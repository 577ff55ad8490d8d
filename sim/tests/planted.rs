//! The simulation finds every planted bug: a kind of bug that it misses could be in the code.
#![cfg(debug_assertions)]

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use windrow_scheduler::planted::{Planted, plant};
use windrow_sim::{Kinds, Setup, Trace};

/// The number of runs in which a bug must be found.
const RUNS: u64 = 2_000;

/// Every second run with everything, every second without what came later.
fn run(seed: u64) {
    let user_errors = seed % 2 == 1;
    let kinds = Kinds {
        links: seed % 4 < 2,
        gaps: seed % 4 < 2,
        ahead: seed % 8 < 4,
        traps: seed.is_multiple_of(3),
        executors: seed % 16 >= 8,
        disks: seed % 16 >= 8,
        files: seed % 8 >= 4,
        fickle: seed.is_multiple_of(5),
        datasets: false,
    };
    windrow_sim::run(&Setup { seed, user_errors, kinds, workers: None, trace: Trace::Off });
}

/// The first of these seeds that fails.
fn first_failure(runs: u64, run: fn(u64)) -> Option<u64> {
    (0..runs).find(|seed| catch_unwind(AssertUnwindSafe(|| run(*seed))).is_err())
}

/// Plants each bug in turn, and checks that a run finds it. The first `innocent_runs` runs pass without a bug.
fn find<B: Copy + Debug>(bugs: &[B], plant: fn(Option<B>), run: fn(u64), innocent_runs: u64) {
    // The panics of failing runs would fill the screen.
    std::panic::set_hook(Box::new(|_| {}));
    let (mut found, mut missed) = (Vec::new(), Vec::new());
    for bug in bugs.iter().copied() {
        plant(Some(bug));
        match first_failure(RUNS, run) {
            Some(seed) => found.push((bug, seed)),
            None => missed.push(bug),
        }
    }
    plant(None);
    let innocent = first_failure(innocent_runs, run);
    let _ = std::panic::take_hook();
    assert_eq!(innocent, None, "without a bug every run passes");
    assert!(missed.is_empty(), "not found: {missed:?}; found: {found:?}");
    println!("found, and in which run: {found:?}");
}

/// Bugs in the state machine of a worker's attempts.
#[test]
fn every_bug_planted_in_a_worker_is_found() {
    use windrow_attempts::planted::{Planted, plant};
    // The runs are those of the test of the scheduler, which checks them without a bug.
    find(Planted::ALL, plant, run, 0);
}

/// Mistakes in the table of datasets and in the membership of folders.
#[test]
fn every_bug_planted_in_the_datasets_is_found() {
    use windrow_datasets::planted::{Planted, plant};
    find(Planted::ALL, plant, |seed| drop(windrow_sim::run_datasets(seed, Trace::Off)), RUNS);
}

#[test]
fn every_planted_bug_is_found() {
    find(Planted::ALL, plant, run, RUNS / 2);
}

/// Shows what one-way links and clock gaps are needed for.
#[test]
fn two_bugs_are_found_by_the_new_kinds_of_faults_alone() {
    std::panic::set_hook(Box::new(|_| {}));
    let first = |kinds: Kinds| {
        let of = |seed| windrow_sim::run(&Setup { seed, user_errors: false, kinds, workers: None, trace: Trace::Off });
        (0..300).find(|seed| catch_unwind(AssertUnwindSafe(|| of(*seed))).is_err())
    };
    let (none, links, gaps) =
        (Kinds::default(), Kinds { links: true, ..Kinds::default() }, Kinds { gaps: true, ..Kinds::default() });
    let mut found = Vec::new();
    for bug in [Planted::FetchFailuresIgnored, Planted::NoGrace] {
        plant(Some(bug));
        found.push([none, links, gaps].map(|kinds| first(kinds).is_some()));
    }
    plant(None);
    let _ = std::panic::take_hook();
    assert_eq!(found, [[false, true, false], [false, false, true]]);
}
