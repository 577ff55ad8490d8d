//! The state machine of attempts, driven by events.

use crate::state::{Executor, KILLED_STARTS_MAX, State};
use crate::*;
use std::collections::BTreeMap;
use windrow_model::{
    AttemptId, Code, EdgeReport, Epoch, Failure, Incarnation, OutputRef, OutputReport, PartReport, StageId, TaskId,
    TaskOutput, TaskReport, WorkerId,
};
use windrow_sim::samples::{attempt, job_id as job, task};

const J: u8 = 1;

/// Assigned, staged and running in an executor that is ready.
fn running(slots: u32, tasks: u32) -> Attempts {
    let mut a = Attempts::new(slots);
    for i in 0..tasks {
        a.step(Event::Assigned(task(attempt(J, i), vec![TaskOutput::Broadcast])));
        a.step(Event::Staged(attempt(J, i)));
    }
    a.step(ready(1));
    a
}

fn ready(generation: u64) -> Event {
    Event::ExecutorReady { job: job(J), generation }
}
fn done(generation: u64, i: u32) -> Event {
    let report = TaskReport { outputs: vec![OutputReport::Broadcast(vec![])], ..Default::default() };
    Event::TaskDone { generation, attempt: attempt(J, i), report }
}
fn failed(generation: u64, i: u32, code: Code) -> Event {
    Event::TaskFailed { generation, attempt: attempt(J, i), failure: Failure::new(code, "why"), lost: None }
}
fn ended(generation: u64, self_inflicted: bool, killed_by_worker: bool) -> Event {
    let exit = Exit {
        failure: Failure::new(Code::ExecutorCrashed, "signal"),
        self_inflicted,
        killed_by_worker,
        guilty: None,
        stuck: false,
    };
    Event::ExecutorEnded { job: job(J), generation, exit }
}
fn ended_by(generation: u64, i: u32) -> Event {
    let failure = Failure::new(Code::ExecutorCrashed, "signal");
    let exit =
        Exit { failure, self_inflicted: true, killed_by_worker: false, guilty: Some(attempt(J, i)), stuck: false };
    Event::ExecutorEnded { job: job(J), generation, exit }
}
fn start(generation: u64) -> Action {
    Action::StartExecutor { job: job(J), generation }
}
fn run(i: u32) -> Action {
    Action::Run(attempt(J, i))
}
/// Handles the end of an executor after which the attempts `again` rerun, and clears them. Returns the other actions.
fn end(a: &mut Attempts, event: Event, again: &[u32]) -> Vec<Action> {
    let (clear, other): (Vec<_>, Vec<_>) = a.step(event).into_iter().partition(|x| matches!(x, Action::Clear(_)));
    let expected: Vec<_> = again.iter().map(|i| Action::Clear(attempt(J, *i))).collect();
    assert_eq!(clear, expected);
    for i in again.iter().rev() {
        assert_eq!(a.step(Event::Cleared(attempt(J, *i))), []);
    }
    other
}
fn reports(actions: &[Action]) -> Vec<(AttemptId, Option<Code>)> {
    let of = |r: &Report| match r {
        Report::Done(id, _) | Report::Published(id) => (*id, None),
        Report::Failed(id, f) | Report::PublishFailed(id, f) => (*id, Some(f.code)),
        Report::SegmentLost { reader, failure, .. } => (*reader, Some(failure.code)),
    };
    actions.iter().filter_map(|a| if let Action::Report(r) = a { Some(of(r)) } else { None }).collect()
}

#[test]
fn an_attempt_goes_from_assigned_to_published() {
    let mut a = Attempts::new(2);
    let id = attempt(J, 0);
    let t = task(id, vec![TaskOutput::Edge { partitions: 1 }, TaskOutput::Sink { sink: 4 }]);
    assert_eq!(a.step(Event::Assigned(t.clone())), [Action::Stage(t.clone()), start(1)]);
    assert_eq!(a.step(Event::Assigned(t)), [], "a repeated assignment changes nothing");
    assert_eq!(a.step(Event::Staged(id)), []);
    assert_eq!(a.step(ready(1)), [run(0)]);
    let part = PartReport { sink: 4, bytes: 1, records: 1, checksum: 0 };
    let report = TaskReport {
        outputs: vec![OutputReport::Edge(EdgeReport::default()), OutputReport::Sink(part)],
        ..Default::default()
    };
    let expected = [Action::Serve(id), Action::Report(Report::Done(id, report.clone())), Action::RemoveInputs(id)];
    assert_eq!(a.step(Event::TaskDone { generation: 1, attempt: id, report }), expected);
    assert_eq!(a.step(Event::Granted(id)), [Action::Publish { attempt: id, sinks: vec![4] }]);
    assert_eq!(a.step(Event::Granted(id)), [], "it is being published already");
    assert_eq!(a.step(Event::Published(id)), [Action::Report(Report::Published(id))]);
    assert_eq!(a.step(Event::Granted(id)), [Action::Report(Report::Published(id))], "the answer may have been lost");
    assert_eq!(a.step(Event::JobDropped(job(J))), [Action::DropJob { job: job(J), at_once: false }]);
    assert!(a.jobs.is_empty());
}

#[test]
fn third_stuck_executor_in_a_row_fails_its_tasks() {
    let stuck = |generation| {
        let failure = Failure::new(Code::TaskTimeout, "it does nothing");
        let exit = Exit { failure, self_inflicted: false, killed_by_worker: true, guilty: None, stuck: true };
        Event::ExecutorEnded { job: job(J), generation, exit }
    };
    let mut a = running(2, 2);
    assert_eq!(end(&mut a, stuck(1), &[0, 1]), [start(2)]);
    assert_eq!(a.step(ready(2)), [run(0), run(1)]);
    a.step(done(2, 0));
    // A task finished, so the job can run.
    for generation in 2..4 {
        assert_eq!(end(&mut a, stuck(generation), &[1]), [start(generation + 1)]);
        assert_eq!(a.step(ready(generation + 1)), [run(1)]);
    }
    assert_eq!(reports(&a.step(stuck(4))), [(attempt(J, 1), Some(Code::TaskTimeout))]);
}

#[test]
fn running_tasks_never_exceed_slots() {
    let mut a = running(2, 3);
    assert_eq!(a.step(done(1, 0)).last(), Some(&run(2)));
}

#[test]
fn slots_go_to_the_oldest_attempts_of_all_jobs() {
    let mut a = running(1, 1);
    let other = task(attempt(2, 0), vec![TaskOutput::Broadcast]);
    let start_other = Action::StartExecutor { job: job(2), generation: 2 };
    assert_eq!(a.step(Event::Assigned(other.clone())), [Action::Stage(other), start_other], "ahead of its slot");
    assert_eq!(a.step(Event::ExecutorReady { job: job(2), generation: 2 }), []);
    assert_eq!(a.step(Event::Staged(attempt(2, 0))), [], "the only slot is taken");
    let run = Action::Run(attempt(2, 0));
    assert_eq!(a.step(done(1, 0)).last(), Some(&run), "without a message");
}

#[test]
fn freed_slot_goes_to_the_next_attempt() {
    let drop_job = Event::JobDropped(job(J));
    let fetched = StageError::Failed(Failure::new(Code::FetchFailed, "no"));
    for event in [failed(1, 0, Code::UserError), Event::Revoked(attempt(J, 0)), drop_job] {
        let mut a = running(1, 1);
        a.step(Event::Assigned(task(attempt(2, 0), vec![TaskOutput::Broadcast])));
        a.step(Event::ExecutorReady { job: job(2), generation: 2 });
        a.step(Event::Staged(attempt(2, 0)));
        let run = Action::Run(attempt(2, 0));
        assert_eq!(a.step(event.clone()).last(), Some(&run), "{event:?}");
    }
    let mut a = running(1, 0);
    (0..2).for_each(|i| drop(a.step(Event::Assigned(task(attempt(J, i), vec![TaskOutput::Broadcast])))));
    a.step(ready(1));
    assert_eq!(a.step(Event::Staged(attempt(J, 1))), [], "the one before it has the slot while its inputs are fetched");
    assert_eq!(a.step(Event::StageFailed(attempt(J, 0), fetched)).last(), Some(&run(1)));
}

#[test]
fn the_only_task_of_a_crashed_executor_is_charged() {
    let mut a = running(2, 1);
    let actions = a.step(ended(1, true, false));
    assert_eq!(reports(&actions), [(attempt(J, 0), Some(Code::ExecutorCrashed))]);
    assert!(actions.contains(&Action::Remove(attempt(J, 0))));
}

#[test]
fn unattributed_crash_reruns_each_suspect_alone() {
    let mut a = running(2, 2);
    assert_eq!(end(&mut a, ended(1, true, false), &[0, 1]), [start(2)], "no attempt is charged");
    assert_eq!(a.step(ready(2)), [run(0)], "alone");
    let kill = Action::KillExecutor(job(J));
    assert_eq!(a.step(done(2, 0)).last(), Some(&kill), "the innocent one is done, the other gets a process of its own");
    assert_eq!(a.step(ended(2, false, true)), [start(3)]);
    assert_eq!(a.step(ready(3)), [run(1)]);
    let actions = a.step(ended(3, true, false));
    assert_eq!(reports(&actions), [(attempt(J, 1), Some(Code::ExecutorCrashed))]);
}

#[test]
fn suspect_runs_alone() {
    let mut a = running(3, 2);
    end(&mut a, ended(1, true, false), &[0, 1]);
    a.step(ready(2));
    a.step(Event::Assigned(task(attempt(J, 2), vec![TaskOutput::Broadcast])));
    assert_eq!(a.step(Event::Staged(attempt(J, 2))), []);
    assert_eq!(a.step(done(2, 0)).last(), Some(&Action::KillExecutor(job(J))));
    a.step(ended(2, false, true));
    assert_eq!(a.step(ready(3)), [run(1)]);
    assert_eq!(a.step(done(3, 1)).last(), Some(&run(2)), "then both run side by side again");
}

#[test]
fn outside_kill_is_charged_only_on_repetition() {
    let mut a = running(1, 1);
    assert_eq!(end(&mut a, ended(1, false, false), &[0]), [start(2)]);
    assert_eq!(a.step(ready(2)), [run(0)]);
    assert_eq!(reports(&a.step(ended(2, false, false))), [(attempt(J, 0), Some(Code::ExecutorCrashed))]);
}

#[test]
fn crash_is_charged_to_the_thread_that_crashed() {
    let mut a = running(2, 2);
    let actions = end(&mut a, ended_by(1, 1), &[0]);
    assert_eq!(reports(&actions), [(attempt(J, 1), Some(Code::ExecutorCrashed))]);
    assert_eq!(actions.last(), Some(&start(2)));
    a.step(Event::Assigned(task(attempt(J, 2), vec![TaskOutput::Broadcast])));
    a.step(Event::Staged(attempt(J, 2)));
    assert_eq!(a.step(ready(2)), [run(0), run(2)], "side by side: without suspects");
}

#[test]
fn crash_of_a_revoked_attempt_is_uncharged() {
    let mut a = running(2, 2);
    a.step(Event::Revoked(attempt(J, 1)));
    let actions = end(&mut a, ended_by(1, 1), &[0]);
    assert_eq!(reports(&actions), []);
    assert_eq!(actions, [Action::Remove(attempt(J, 1)), start(2)]);
}

#[test]
fn crash_of_an_idle_attempt_leaves_others_suspected() {
    let mut a = running(2, 2);
    assert_eq!(end(&mut a, ended_by(1, 7), &[0, 1]), [start(2)]);
    assert_eq!(a.step(ready(2)), [run(0)], "alone");
}

#[test]
fn executor_that_does_not_start_fails_queued_attempts() {
    let mut a = Attempts::new(2);
    for i in 0..2 {
        a.step(Event::Assigned(task(attempt(J, i), vec![TaskOutput::Broadcast])));
    }
    a.step(Event::Staged(attempt(J, 0)));
    let not_started = |generation, killed| {
        let failure = Failure::new(Code::ExecFailed, "no");
        Event::ExecutorNotStarted { job: job(J), generation, failure, killed }
    };
    assert_eq!(reports(&a.step(not_started(1, false))), [(attempt(J, 0), Some(Code::ExecFailed))]);
    assert_eq!(a.step(Event::Staged(attempt(J, 1))), [start(2)], "the other one finds out for itself");
    assert_eq!(a.step(not_started(1, false)), [], "that one is gone already");
    assert_eq!(a.step(not_started(2, true)), [start(3)], "a kill from outside is uncharged");
    assert_eq!(a.step(not_started(3, true)), [start(4)]);
    assert_eq!(reports(&a.step(not_started(4, true))).len(), 1, "but not for ever");
}

#[test]
fn kills_of_starting_executors_count_only_in_a_row() {
    let mut a = running(1, 1);
    for g in (1..).step_by(2).take(2 * KILLED_STARTS_MAX as usize) {
        assert_eq!(end(&mut a, ended(g, false, true), &[0]), [start(g + 1)]);
        let failure = Failure::new(Code::ExecutorCrashed, "killed");
        let killed = Event::ExecutorNotStarted { job: job(J), generation: g + 1, failure, killed: true };
        assert_eq!(a.step(killed), [start(g + 2)], "the first one since an executor was ready");
        assert_eq!(a.step(ready(g + 2)), [run(0)]);
    }
}

#[test]
fn attempt_revoked_while_clearing_never_runs() {
    let mut a = running(2, 2);
    let (clear, remove) = (|i| Action::Clear(attempt(J, i)), Action::Remove(attempt(J, 0)));
    assert_eq!(a.step(ended(1, false, true)), [clear(0), clear(1), start(2)]);
    assert_eq!(a.step(ready(2)), [], "what an executor has left is deleted before the next one writes");
    assert_eq!(a.step(Event::Revoked(attempt(J, 0))), [remove], "no executor has it");
    assert_eq!(a.step(Event::Cleared(attempt(J, 0))), [], "a forgotten attempt");
    assert_eq!(a.step(Event::Cleared(attempt(J, 1))), [run(1)]);
    assert_eq!(a.step(Event::CancelOverdue(attempt(J, 0))), []);
}

#[test]
fn late_cleared_suspect_still_gets_its_own_process() {
    let mut a = running(2, 2);
    a.step(ended(1, true, false));
    a.step(ready(2));
    assert_eq!(a.step(Event::Cleared(attempt(J, 0))), [run(0)]);
    assert_eq!(a.step(done(2, 0)).last(), Some(&Action::KillExecutor(job(J))));
    assert_eq!(a.step(Event::Cleared(attempt(J, 1))), []);
    assert_eq!(a.step(ended(2, false, true)), [start(3)]);
    assert_eq!(a.step(ready(3)), [run(1)]);
}

#[test]
fn files_of_a_revoked_attempt_go_after_it_stops() {
    let mut a = running(2, 2);
    assert_eq!(a.step(Event::Revoked(attempt(J, 0))), [Action::Withdraw(attempt(J, 0))]);
    assert_eq!(a.step(failed(1, 0, Code::Cancelled)), [Action::Remove(attempt(J, 0))], "without a report");
    assert_eq!(a.step(Event::CancelOverdue(attempt(J, 0))), []);

    assert_eq!(a.step(Event::Revoked(attempt(J, 1))), [Action::Withdraw(attempt(J, 1))]);
    assert_eq!(a.step(done(1, 1)), [Action::Remove(attempt(J, 1))], "too late to be done");
}

#[test]
fn unstoppable_attempt_kills_its_executor_only() {
    let mut a = running(2, 2);
    a.step(Event::Revoked(attempt(J, 0)));
    assert_eq!(a.step(Event::CancelOverdue(attempt(J, 0))), [Action::KillExecutor(job(J))]);
    a.step(Event::Assigned(task(attempt(J, 2), vec![TaskOutput::Broadcast])));
    assert_eq!(a.step(Event::Staged(attempt(J, 2))), [], "a condemned executor gets nothing more");
    assert_eq!(end(&mut a, ended(1, false, true), &[1]), [Action::Remove(attempt(J, 0)), start(2)]);
    assert_eq!(a.step(ready(2)), [run(1), run(2)], "without suspects");
}

#[test]
fn crash_beside_a_revoked_attempt_is_uncharged() {
    let mut a = running(2, 2);
    a.step(Event::Revoked(attempt(J, 0)));
    assert_eq!(end(&mut a, ended(1, true, false), &[1]), [Action::Remove(attempt(J, 0)), start(2)]);
}

#[test]
fn attempt_revoked_when_not_running_is_forgotten() {
    let mut a = running(1, 2);
    let third = task(attempt(J, 2), vec![TaskOutput::Broadcast]);
    a.step(Event::Assigned(third));
    assert_eq!(a.step(Event::Revoked(attempt(J, 1))), [Action::Remove(attempt(J, 1))], "it waited");
    assert_eq!(a.step(Event::Revoked(attempt(J, 2))), [Action::Remove(attempt(J, 2))], "it was being staged");
    assert_eq!(a.step(Event::Staged(attempt(J, 2))), []);
    a.step(done(1, 0));
    assert_eq!(a.step(Event::Revoked(attempt(J, 0))), [Action::Remove(attempt(J, 0))]);
    assert_eq!(reports(&a.step(Event::Granted(attempt(J, 0)))), [(attempt(J, 0), Some(Code::StaleAttempt))]);
}

#[test]
fn mismatched_report_fails_the_executor() {
    let mut a = running(1, 1);
    let report = TaskReport { outputs: vec![OutputReport::Edge(EdgeReport::default())], ..Default::default() };
    let actions = a.step(Event::TaskDone { generation: 1, attempt: attempt(J, 0), report });
    assert_eq!(reports(&actions), [(attempt(J, 0), Some(Code::ExecutorProtocol))]);
}

#[test]
fn unreadable_output_is_named() {
    let lost = OutputRef { worker: WorkerId::from_bytes([9; 16]), attempt: attempt(J, 100), output: 0 };
    let mut a = running(1, 1);
    let failure = Failure::new(Code::SegmentCorrupt, "checksum");
    let event = Event::TaskFailed { generation: 1, attempt: attempt(J, 0), failure: failure.clone(), lost: Some(lost) };
    let report = Report::SegmentLost { reader: attempt(J, 0), lost, failure };
    assert!(a.step(event).contains(&Action::Report(report)));
}

#[test]
fn late_events_are_ignored() {
    let mut a = running(1, 1);
    end(&mut a, ended(1, false, true), &[0]);
    assert_eq!(a.step(done(1, 0)), [], "the executor that says so is gone");
    a.step(ready(2));
    assert_eq!(a.step(done(1, 0)), []);
    assert_eq!(a.step(ended(1, true, false)), []);
    let other = AttemptId { incarnation: Incarnation(2), epoch: Epoch(9), ..attempt(J, 0) };
    assert_eq!(a.step(Event::Revoked(other)), []);
    assert_eq!(reports(&a.step(done(2, 0))), [(attempt(J, 0), None)]);
}

#[test]
fn ending_worker_drops_attempts_silently() {
    let mut a = running(2, 2);
    a.step(Event::Assigned(task(attempt(2, 0), vec![])));
    let drop = |n| Action::DropJob { job: job(n), at_once: true };
    assert_eq!(a.step(Event::Stopping), [drop(J), drop(2)]);
    assert!(a.jobs.is_empty() && a.task(attempt(J, 0)).is_none());
}

#[test]
fn new_session_hears_running_and_done_attempts_only() {
    let mut a = running(3, 3);
    a.step(done(1, 1));
    a.step(Event::Revoked(attempt(J, 2)));
    let listed: Vec<_> = a.inventory().map(|(id, report)| (id, report.is_some())).collect();
    assert_eq!(listed, [(attempt(J, 1), true), (attempt(J, 0), false)]);
    let kept = AttemptId { incarnation: Incarnation(0), ..attempt(2, 0) };
    assert_eq!(a.step(Event::Kept(kept, TaskReport::default())), [Action::Serve(kept)]);
    assert_eq!(a.inventory().count(), 3);
    let drop = Action::DropJob { job: job(2), at_once: false };
    assert_eq!(a.step(Event::Revoked(kept)), [Action::Remove(kept), drop], "no later message ends its job");
}

#[test]
fn new_session_lists_attempts_in_slot_order() {
    let mut a = running(1, 0);
    for i in [3, 0, 2] {
        a.step(Event::Assigned(task(attempt(J, i), vec![TaskOutput::Broadcast])));
    }
    let listed: Vec<_> = a.inventory().map(|(id, _)| id.task.index).collect();
    assert_eq!(listed, [3, 0, 2]);
}

#[test]
fn any_event_order_keeps_slots_and_reports_once() {
    // A walk through random events (xorshift, seed printed on failure) against two promises.
    for seed in 1..300u64 {
        let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut next = |n: u64| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x % n
        };
        let mut a = Attempts::new(2);
        let mut ended_reports = BTreeMap::<AttemptId, u32>::new();
        let (mut generation, mut other) = (0, 0);
        for _ in 0..200 {
            let i = next(6) as u32;
            // Also attempts of another job, which share the slots.
            let of = if next(8) == 0 { 2 } else { J };
            let id = AttemptId { task: TaskId { job: job(of), stage: StageId(0), index: i }, ..attempt(of, 0) };
            let event = match next(12) {
                0 | 1 if !ended_reports.contains_key(&id) => Event::Assigned(task(id, vec![TaskOutput::Broadcast])),
                2 | 3 => Event::Staged(id),
                4 if of == 2 => Event::ExecutorReady { job: job(2), generation: other },
                4 => ready(generation),
                5 | 6 => done(generation, i),
                7 => failed(generation, i, Code::UserError),
                8 => ended(generation, next(2) == 0, false),
                9 => Event::Revoked(id),
                10 => Event::CancelOverdue(id),
                11 => Event::Cleared(id),
                _ => continue,
            };
            for action in a.step(event) {
                match action {
                    Action::StartExecutor { job: of, generation: g } if of == job(2) => other = g,
                    Action::StartExecutor { generation: g, .. } => {
                        assert!(g > generation, "seed {seed}");
                        generation = g;
                    }
                    Action::Report(Report::Done(id, _) | Report::Failed(id, _)) => {
                        *ended_reports.entry(id).or_default() += 1;
                        assert_eq!(ended_reports[&id], 1, "seed {seed}: {id} is answered twice");
                    }
                    _ => {}
                }
            }
            let with_slots: Vec<AttemptId> = a.queue.iter().take(2).collect();
            let runs = a.attempts.iter().filter(|(_, a)| a.state == State::Running);
            assert!(runs.clone().all(|(id, _)| with_slots.contains(id)), "seed {seed}: it runs without a slot");
            if let Some(Executor::Ready { running, .. }) = a.jobs.get(&job(J)).map(|j| &j.executor) {
                let suspects = running.iter().filter(|id| a.is_suspect(**id)).count();
                assert!(running.len() <= 2 && (suspects == 0 || running.len() == 1), "seed {seed}");
            }
        }
    }
}
