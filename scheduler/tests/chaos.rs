//! No loss of processes or messages fails a job, or changes what becomes of it. `support/cluster.rs` is the world.

mod support;
use proptest::prelude::*;
use support::cluster::run;

#[test]
fn backups_are_a_part_of_the_simulation() {
    let runs = (0..100).map(|seed| run(seed, false));
    let (with, all) = runs.fold((0, 0), |(with, all), backups| (with + u64::from(backups > 0), all + backups));
    assert!(with >= 20, "{all} backups in {with} of 100 runs");
}

/// What the simulation has found once.
#[test]
fn an_output_that_was_refused_is_not_read_when_its_task_need_not_run_again() {
    run(3_667_229_479_931_793_045, true);
}

/// Another one: an output that was made from two, through a task that nobody told of after two restarts.
#[test]
fn a_mixture_is_found_through_what_a_restart_has_skipped() {
    run(1_055_692_369_857_355_612, true);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_loss_of_workers_or_messages_fails_a_job(seed in any::<u64>()) {
        run(seed, false);
    }

    #[test]
    fn jobs_end_whatever_fails(seed in any::<u64>()) {
        run(seed, true);
    }
}
