//! Executors: which job has one, the tasks that it runs, and the attempt that is charged when it ends.

use crate::action::{Action, Report};
use crate::event::Exit;
use crate::planted::{self, Planted};
use crate::state::{Attempt, Attempts, Executor, KILLED_STARTS_MAX, STUCK_MAX, State, of_job};
use std::collections::{BTreeMap, BTreeSet};
use windrow_model::{AttemptId, Failure, JobId};

impl Attempts {
    pub(crate) fn not_started(
        &mut self,
        job: JobId,
        generation: u64,
        failure: Failure,
        killed: bool,
        out: &mut Vec<Action>,
    ) {
        let Some(j) = self.jobs.get_mut(&job) else { return };
        if !matches!(j.executor, Executor::Starting { generation: g } if g == generation) {
            return;
        }
        j.executor = Executor::None;
        if killed {
            j.killed_starts += 1;
            if j.killed_starts < KILLED_STARTS_MAX || planted::has(Planted::StartsUncounted) {
                return self.dispatch(job, out);
            }
        }
        for id in std::mem::take(&mut j.ready) {
            self.forget(id, out);
            out.push(Action::Report(Report::Failed(id, failure.clone())));
        }
        // Attempts that are still being staged or cleared start the next executor when they are ready, and fail with it.
    }

    pub(crate) fn ended(&mut self, job: JobId, generation: u64, exit: Exit, out: &mut Vec<Action>) {
        let Some(j) = self.jobs.get_mut(&job) else { return };
        let (running, condemned) = match &mut j.executor {
            Executor::Ready { generation: g, running, condemned } if *g == generation => {
                (std::mem::take(running), *condemned)
            }
            _ => return,
        };
        j.executor = Executor::None;
        let (stopped, left): (Vec<_>, Vec<_>) =
            running.into_iter().partition(|id| self.attempts.get(id).is_none_or(|a| a.state == State::Cancelling));
        // An attempt that was being stopped may have crashed it as well.
        let alone = left.len() == 1 && stopped.is_empty();
        let guilty = exit.guilty.filter(|id| left.contains(id) || stopped.contains(id));
        let innocent = (condemned || exit.killed_by_worker) && !planted::has(Planted::OwnKillCharged);
        j.stuck = if exit.stuck { j.stuck + 1 } else { 0 };
        let gives_up = j.stuck >= STUCK_MAX && !planted::has(Planted::StuckUncounted);
        for id in stopped {
            self.forget(id, out);
        }
        for id in left {
            let known = match guilty {
                Some(guilty) => guilty == id,
                None => alone && (exit.self_inflicted || self.is_suspect(id)),
            };
            if known && !innocent || gives_up || planted::has(Planted::NeighboursCharged) {
                self.forget(id, out);
                out.push(Action::Report(Report::Failed(id, exit.failure.clone())));
                continue;
            }
            let (Some(a), Some(j)) = (self.attempts.get_mut(&id), self.jobs.get_mut(&job)) else { continue };
            a.state = State::Clearing;
            out.push(Action::Clear(id));
            if !innocent && guilty.is_none() {
                j.suspects.insert(id.task);
            }
        }
        self.dispatch(job, out);
    }

    /// Takes the attempt off its executor, if it is of this generation and really had it.
    pub(crate) fn finished_running(&mut self, generation: u64, id: AttemptId) -> bool {
        self.running(generation, id.task.job).is_some_and(|running| running.remove(&id))
    }

    /// The running attempts of the executor of this generation, if it is the job's present one.
    pub(crate) fn running(&mut self, generation: u64, job: JobId) -> Option<&mut BTreeSet<AttemptId>> {
        match &mut self.jobs.get_mut(&job)?.executor {
            Executor::Ready { generation: g, running, .. }
                if *g == generation || planted::has(Planted::GenerationIgnored) =>
            {
                Some(running)
            }
            _ => None,
        }
    }

    /// Suspects run alone, each in a process of its own, so that state left by one cannot harm the next.
    pub(crate) fn renew_for_suspects(&mut self, job: JobId, out: &mut Vec<Action>) {
        let Some(j) = self.jobs.get_mut(&job) else { return };
        let waits = |a: &Attempt| matches!(a.state, State::Clearing | State::Ready);
        let more = of_job(&self.attempts, job).any(|(id, a)| waits(a) && j.suspects.contains(&id.task));
        if let Executor::Ready { running, condemned, .. } = &mut j.executor
            && more
            && running.is_empty()
            && !std::mem::replace(condemned, true)
        {
            out.push(Action::KillExecutor(job));
        }
    }

    pub(crate) fn is_suspect(&self, id: AttemptId) -> bool {
        self.jobs.get(&id.task.job).is_some_and(|j| j.suspects.contains(&id.task))
    }

    /// Starts an executor if there is work for one, and gives it the attempts that may run. Suspects go first and
    /// alone.
    pub(crate) fn dispatch(&mut self, job: JobId, out: &mut Vec<Action>) {
        let last = self.queue.last_with_slot();
        let has_slot = |attempts: &BTreeMap<AttemptId, Attempt>, id: &AttemptId| {
            attempts.get(id).is_some_and(|a| a.ticket.is_some() && a.ticket <= last)
        };
        let Some(j) = self.jobs.get_mut(&job) else { return };
        match &mut j.executor {
            Executor::None => {
                let wanted = |a: &Attempt| matches!(a.state, State::Staging | State::Clearing | State::Ready);
                if of_job(&self.attempts, job).any(|(_, a)| wanted(a)) {
                    self.generation += 1;
                    j.executor = Executor::Starting { generation: self.generation };
                    out.push(Action::StartExecutor { job, generation: self.generation });
                }
            }
            Executor::Starting { .. } | Executor::Ready { condemned: true, .. } => {}
            Executor::Ready { running, .. } => loop {
                let suspect_runs =
                    !planted::has(Planted::SuspectsTogether) && running.iter().any(|id| j.suspects.contains(&id.task));
                if suspect_runs || running.len() >= self.queue.slots() {
                    break;
                }
                let suspects = |id: &AttemptId| has_slot(&self.attempts, id) && j.suspects.contains(&id.task);
                let suspect = j.ready.iter().position(suspects);
                if suspect.is_some() && !running.is_empty() && !planted::has(Planted::SuspectsTogether) {
                    break;
                }
                let next = suspect.or_else(|| j.ready.iter().position(|id| has_slot(&self.attempts, id)));
                let Some(id) = next.and_then(|next| j.ready.remove(next)) else { break };
                let Some(a) = self.attempts.get_mut(&id) else { continue };
                a.state = State::Running;
                running.insert(id);
                out.push(Action::Run(id));
            },
        }
    }
}
