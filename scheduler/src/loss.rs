//! Loss of workers: what becomes of the attempts and outputs of a worker that drains or is gone.

use crate::action::Action;
use crate::ledger::Cause;
use crate::planted::{self, Planted};
use crate::state::State;
use crate::timers::Timer;
use windrow_model::{AttemptId, TaskId, WorkerId, WorkerState};

impl State {
    pub(crate) fn handle_drains(&mut self, id: WorkerId) {
        self.renew_lease(id);
        if self.workers.live(id).is_some() {
            self.workers.set_state(id, WorkerState::Draining);
            self.workers.change(id, |w| w.reason = Some("it drains or is stopping".to_string()));
            self.take_back_all(id);
            self.ensure_eligible_worker();
        }
    }

    /// Handles the loss of a worker: its session ended, or its lease ran out. The reason says which.
    pub(crate) fn lose_worker(&mut self, id: WorkerId, reason: &str) {
        if self.workers.live(id).is_none() {
            return;
        }
        self.timers.clear(Timer::Lease(id));
        let in_order = self.workers.live(id).is_some_and(|w| w.state == WorkerState::Draining);
        let (cause, what) = match in_order {
            true => (Cause::Drained, "its worker ended before it"),
            false => (Cause::WorkerLost, "its worker was lost"),
        };
        self.give_back(id, |_| Some((cause, what)));
        self.workers.set_state(id, WorkerState::Lost);
        self.workers.change(id, |w| (w.alone, w.reason) = (None, Some(reason.to_string())));
        self.out.push(Action::WorkerChanged { worker: id, state: WorkerState::Lost, reason: Some(reason.to_string()) });
        self.ensure_eligible_worker();
        if !planted::has(Planted::LossUnseen) {
            self.reopen_outputs_of(id);
        }
    }

    /// Takes back attempts whose worker is gone or does not have them, without a charge. `gone` gives the cause, or
    /// `None` if the attempt stays. Queued ones have not started: their tasks wait again.
    pub(crate) fn give_back(&mut self, id: WorkerId, gone: impl Fn(AttemptId) -> Option<(Cause, &'static str)>) {
        let Some(worker) = self.workers.get(id) else { return };
        let tasks: Vec<TaskId> =
            worker.running.iter().chain(&worker.ahead).chain(&worker.publishing).copied().collect();
        for task in tasks {
            let here = self.task(task).and_then(|t| t.runs().find(|run| run.worker == id));
            if let Some(run) = here
                && let Some((cause, what)) = gone(run.attempt)
            {
                self.lost_with_worker(run, cause, what);
            }
        }
    }
}
