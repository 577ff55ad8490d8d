//! A step: the dispatch of an event to the file that handles it, then what is due, then assignment.

use crate::action::Action;
use crate::check;
use crate::event::Event;
use crate::state::State;
use windrow_model::Time;

impl State {
    pub(crate) fn step(&mut self, now: Time, event: Event) -> Vec<Action> {
        self.now = self.now.max(now);
        self.forget_ended();
        self.dispatch(event);
        self.expire();
        self.assign();
        self.update_starvation();
        self.discarded.free_some();
        if cfg!(debug_assertions) {
            self.check_now_and_then();
        }
        std::mem::take(&mut self.out)
    }

    fn dispatch(&mut self, event: Event) {
        match event {
            Event::Submitted { spec, unix_ms } => self.handle_submitted(spec, unix_ms),
            Event::Planned { job, input_bytes, stages } => self.handle_planned(job, input_bytes, stages),
            Event::PlanFailed { job, failure } => self.handle_plan_failed(job, failure),
            Event::Cancelled { job } => self.handle_cancelled(job),
            Event::WorkerJoined { node, held, left } => self.handle_joined(node, held, left),
            Event::WorkerLeft { worker } => self.lose_worker(worker, "its session ended"),
            Event::WorkerBeat { worker, progress, lists_all, full } => {
                self.handle_beat(worker, progress, full);
                self.enforce_limits(worker, lists_all);
            }
            Event::WorkerDrains { worker } => self.handle_drains(worker),
            Event::AttemptDone { worker, attempt, report } => self.handle_done(worker, attempt, report),
            Event::AttemptFailed { worker, attempt, failure } => self.handle_failed(worker, attempt, failure),
            Event::Published { worker, attempt } => self.handle_published(worker, attempt),
            Event::PublishFailed { worker, attempt, failure } => self.handle_publish_failed(worker, attempt, failure),
            Event::SegmentLost { worker, reader, lost, failure } => {
                self.handle_segment_lost(worker, reader, lost, failure)
            }
            Event::LeftOut { job, worker, failure } => self.handle_left_out(job, worker, failure),
            Event::TakenIn { job, worker } => self.handle_taken_in(job, worker),
            Event::Committed { job } => self.handle_committed(job),
            Event::CommitFailed { job, failure } => self.handle_commit_failed(job, failure),
            Event::CommitWaits { job, reason } => self.handle_commit_waits(job, reason),
            Event::CommitGivenUp { job, failure } => self.handle_commit_given_up(job, failure),
            Event::InputLost { job, failure } => self.handle_input_lost(job, failure),
            Event::Restored { job } => self.handle_restored(*job),
            Event::Awaited { workers, ms } => self.handle_awaited(workers, ms),
            Event::Tick => {}
        }
    }

    /// Checks the invariants at a rate that keeps the cost per step constant: after every step in small states.
    fn check_now_and_then(&mut self) {
        let tasks: usize = self.jobs.values().flat_map(|j| &j.stages).map(|s| s.tasks.len()).sum();
        self.unchecked += 1;
        if self.unchecked * 16 >= tasks {
            self.unchecked = 0;
            if let Err(broken) = check::check(self) {
                panic!("the scheduler's state is broken: {broken}");
            }
        }
    }
}
