//! No loss of processes or messages fails a job or changes its output. `../src/cluster.rs` is the simulated cluster.

use proptest::prelude::*;
use windrow_sim::{Kinds, Outcome, Setup, Trace};

/// Every kind of fault of jobs. Datasets have runs of their own.
const JOBS: Kinds = Kinds { datasets: false, fickle: false, ..Kinds::ALL };

/// Without the optional kinds of faults, so that seeds which found a bug still give the same run.
fn run(seed: u64, user_errors: bool) -> Outcome {
    windrow_sim::run(&Setup { seed, user_errors, kinds: Kinds::default(), workers: None, trace: Trace::Off })
}

/// With every kind of fault of jobs.
fn run_wild(seed: u64, user_errors: bool) -> Outcome {
    windrow_sim::run(&Setup { seed, user_errors, kinds: JOBS, workers: None, trace: Trace::Off })
}

/// The same with tasks that give another output when they run again.
fn run_fickle(seed: u64, user_errors: bool) -> Outcome {
    let kinds = Kinds { fickle: true, ..JOBS };
    windrow_sim::run(&Setup { seed, user_errors, kinds, workers: None, trace: Trace::Off })
}

#[test]
fn backups_are_a_part_of_the_simulation() {
    let runs = (0..100).map(|seed| run(seed, false).backups);
    let (with, all) = runs.fold((0, 0), |(with, all), backups| (with + u64::from(backups > 0), all + backups));
    assert!(with >= 20, "{all} backups in {with} of 100 runs");
}

#[test]
fn attempts_ahead_of_slots_are_a_part_of_the_simulation() {
    let runs = (0..100).map(|seed| (run(seed, false).ahead, run_wild(seed, false).ahead));
    let (without, with, all) = runs
        .fold((0, 0, 0), |(without, with, all), (none, some)| (without + none, with + u64::from(some > 0), all + some));
    assert_eq!(without, 0);
    assert!(with >= 50, "{all} in {with} of 100 runs");
}

#[test]
fn poison_tasks_end_their_jobs_and_few_others_do() {
    let runs = (0..300).map(|seed| run_wild(seed, false));
    let (poisoned, by_chance, jobs) =
        runs.fold((0, 0, 0), |(p, c, j), run| (p + run.poisoned, c + run.poisoned_by_chance, j + run.jobs));
    assert!(poisoned - by_chance >= 50 && by_chance * 10 <= jobs, "{poisoned}, {by_chance} by chance, of {jobs}");
}

/// The simulation found the bugs of the tests below in these seeds.
#[test]
fn refused_output_is_not_read_without_a_rerun() {
    run(3_667_229_479_931_793_045, true);
}

/// An output was made from two outputs of one task, through a task that no worker announced after two restarts.
#[test]
fn a_mixture_is_found_through_what_a_restart_has_skipped() {
    run(1_055_692_369_857_355_612, true);
}

/// An attempt was lost with its worker twice, for the driver restarted between: once for a lease, once for a crash.
#[test]
fn an_attempt_that_is_lost_twice_counts_once() {
    run(16_026_598_919_082_052_450, false);
}

/// A cluster of the command, which has other sizes. Nothing in a worker takes time, so that seeds stay what they were.
fn run_sized(seed: u64, workers: u32) {
    let kinds = Kinds { executors: false, disks: false, files: false, fickle: false, datasets: false, ..Kinds::ALL };
    windrow_sim::run(&Setup { seed, user_errors: seed % 2 == 1, kinds, workers: Some(workers), trace: Trace::Off });
}

/// A worker that was reserved for a suspect registered with an attempt of that suspect beside others.
#[test]
fn suspect_that_returns_beside_others_is_not_alone() {
    for (seed, workers) in [(910_454, 3), (919_164, 3), (922_529, 3), (940_909, 3)] {
        run_sized(seed, workers);
    }
}

/// The worker of a suspect was cut off for longer than its charge waits, and returned in the same incarnation.
#[test]
fn charge_for_a_worker_that_returns_is_taken_back() {
    for (seed, workers) in [(901_442, 4), (907_906, 3), (944_804, 9)] {
        run_sized(seed, workers);
    }
}

/// A pardon made a suspect one task of many, while the loss that it had alone still counted as such.
#[test]
fn pardoned_task_needs_three_losses_before_it_is_charged() {
    run_sized(975_180, 3);
}

/// A worker reported that it does not see the files of a job, and saw them when the report arrived.
#[test]
fn late_word_of_files_not_seen_does_not_stop_a_job() {
    run_sized(1_079_836, 3);
}

/// After a clock gap a task was assigned to a worker that was lost in the same step; the simulation must count that loss.
#[test]
fn loss_in_the_step_of_the_assignment_counts() {
    let (seed, trace) = (9_000_280, Trace::Off);
    let kinds = Kinds { files: false, ..JOBS };
    windrow_sim::run(&Setup { seed, user_errors: false, kinds, workers: Some(4), trace });
}

/// A reader reported while one of the stages that it reads was incomplete, and no task of that one had to run again.
#[test]
fn mixture_is_found_when_a_rerun_is_dropped() {
    run_sized(2_070_118, 3);
}

/// Puts, jobs, failing disks, and coordinators on older, empty and restored journals.
#[test]
fn copies_of_datasets_converge_after_any_faults() {
    let mut faults = std::collections::BTreeMap::new();
    for seed in 0..150 {
        let run = windrow_sim::run_datasets(seed, Trace::Off);
        run.faults.into_iter().for_each(|(kind, n)| *faults.entry(kind).or_insert(0) += n);
    }
    assert!(faults.len() >= 18 && faults.values().all(|n| *n > 1), "{faults:#?}");
}

#[test]
fn a_seed_is_a_run_to_the_byte() {
    for seed in 0..10 {
        let setup = Setup { seed, user_errors: true, kinds: JOBS, workers: None, trace: Trace::Kept };
        let (first, second) = (windrow_sim::run(&setup), windrow_sim::run(&setup));
        assert!(first.trace.lines().count() > 50);
        assert!(first.trace == second.trace, "seed {seed} gives two traces");
    }
}

#[test]
fn every_kind_of_fault_comes_in_few_runs() {
    let mut all = std::collections::BTreeMap::new();
    for seed in 0..200 {
        run_wild(seed, true).faults.into_iter().for_each(|(kind, n)| *all.entry(kind).or_insert(0) += n);
    }
    assert!(all.len() >= 20 && all.values().all(|n| *n > 5), "{all:#?}");
}

#[test]
fn a_larger_cluster_gets_through_as_well() {
    for seed in 0..4 {
        let user_errors = seed % 2 == 0;
        windrow_sim::run(&Setup { seed, user_errors, kinds: JOBS, workers: Some(60), trace: Trace::Off });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_loss_of_workers_or_messages_fails_a_job(seed in any::<u64>()) {
        run(seed, false);
        run_wild(seed, false);
        run_fickle(seed, false);
    }

    #[test]
    fn jobs_end_whatever_fails(seed in any::<u64>()) {
        run(seed, true);
        run_wild(seed, true);
        run_fickle(seed, true);
    }
}
