//! Faults that last longer than one crash: a task that kills its worker whenever it runs, a worker
//! that does not see the files of a job, an assignment that is lost in a session that goes on, an attempt that never ends on a
//! worker that beats. Each must end, and cost nothing but its own job.

use super::Cluster;
use std::collections::{BTreeMap, BTreeSet};
use windrow_model::*;
use windrow_scheduler::{Action, Cause, Counts, Event, HeldAttempt, RestoredJob};

/// Workers that a poison task may kill: some before it runs alone, and some on which it runs alone.
const KILLS_AT_LEAST: u64 = 5;
/// Losses that a crash of the coordinator may make it forget, each time.
const KILLS_FORGOTTEN: u64 = 6;
const KILLS_MOST: u64 = 24;
/// Attempts of one task that one incarnation of a worker may give back at once.
const ATTEMPTS_AT_ONCE: u32 = 2;
const LOST_WHEN_HEALED: u64 = 2;
const STUCK_WHEN_HEALED: u64 = 1;
/// Charges that leave a task one attempt.
const STUCK_OF_TASK: usize = 3;

/// The job has failed because a task killed its workers.
pub(super) fn is_poisoned(status: &JobStatus) -> bool {
    status.error.as_ref().is_some_and(|e| e.code == Code::PoisonTask)
}

impl Cluster {
    /// Limits of a job's attempts: much more than any takes, unless it never ends.
    pub(super) fn time_outs(&mut self) -> (Option<u64>, Option<u64>) {
        let ms = 8_000 * u64::from(self.scale);
        match self.kinds.traps.then(|| self.third.below(3)) {
            Some(0) => (Some(ms), None),
            Some(1) => (None, Some(ms)),
            _ => (None, None),
        }
    }

    /// One task of a job may kill its workers, and one worker may not see its files.
    pub(super) fn set_traps(&mut self, job: JobId) {
        if !self.kinds.traps {
            return;
        }
        if self.kinds.executors && self.user_errors && self.fourth.percent(10) {
            self.hung.insert(job);
        }
        let (plan, counts) = &self.plans[&job];
        let sources = plan.stages.iter().enumerate().filter(|(_, s)| s.source().is_some()).zip(counts);
        let tasks: Vec<TaskId> = sources
            .flat_map(|((s, _), n)| (0..*n).map(move |index| TaskId { job, stage: StageId(s as u32), index }))
            .collect();
        if !tasks.is_empty() && self.third.percent(30) {
            self.poison.insert(tasks[self.third.below(tasks.len())]);
        }
        if !tasks.is_empty() && self.third.percent(15) {
            self.rotten.insert(tasks[self.third.below(tasks.len())]);
        }
        if self.ids.len() > 1 && self.third.percent(30) {
            let one = (self.ids[self.third.below(self.ids.len())], job);
            self.blind.insert(one);
            self.blind_ever.insert(one);
        }
    }

    /// Lets every worker see all files from now on; the scheduler hears of it.
    pub(super) fn take_in_all(&mut self) {
        self.answers.retain(|answer| !matches!(answer, Event::LeftOut { .. }));
        self.left_out.clear();
        for (worker, job) in std::mem::take(&mut self.blind) {
            self.step(Event::TakenIn { job, worker });
        }
    }

    /// An output that is damaged whenever its task makes it.
    pub(super) fn rotten_input(&self, reads: &[OutputRef]) -> Option<OutputRef> {
        reads.iter().find(|s| self.rotten.contains(&s.attempt.task)).copied()
    }

    /// What is not charged is counted on, also after a restart, until the task is done. A loss that was none counts no more.
    pub(super) fn check_counts(&mut self, task: TaskId, now: &Counts) {
        let of = |counts: &Counts, cause| counts.iter().find(|(c, _)| *c == cause).map_or(0, |(_, n)| *n);
        let before = self.counts.insert(task, now.clone()).unwrap_or_default();
        let taken_back = [Cause::WorkerLost, Cause::LostAlone];
        let outputs = [Cause::OutputDamaged, Cause::OutputUnreachable];
        let is_settled = now.iter().all(|(cause, _)| outputs.contains(cause));
        for cause in Cause::ALL.iter().filter(|c| !is_settled || outputs.contains(c)) {
            let least =
                of(&before, *cause).saturating_sub(if taken_back.contains(cause) { ATTEMPTS_AT_ONCE } else { 0 });
            assert!(of(now, *cause) >= least, "{task} had {before:?}, and now {now:?}");
        }
    }

    /// An assignment is lost in a session that goes on.
    pub(super) fn is_lost_on_the_way(&mut self, id: WorkerId) -> bool {
        let is_assign = matches!(self.nodes[&id].inbox.front(), Some(Action::Assign { .. }));
        // A few more in a healed cluster, where no broken session gives them back.
        let may = self.broken || self.lost_when_healed < LOST_WHEN_HEALED;
        let lost = self.kinds.traps && may && is_assign && self.third.percent(8);
        if lost {
            self.lost_when_healed += u64::from(!self.broken);
            self.count("assignment lost in a session");
        }
        lost
    }

    /// A worker is about to finish an attempt: true if it dies of it, or the attempt does not end.
    pub(super) fn springs_trap(&mut self, id: WorkerId, attempt: AttemptId) -> bool {
        if self.poison.contains(&attempt.task) {
            *self.kills.entry(attempt.task).or_default() += 1;
            self.crash(id);
            self.fallen.insert(id);
            return true;
        }
        let options = &self.specs[&attempt.task.job].options;
        let limited = options.task_timeout_ms.or(options.progress_timeout_ms).is_some();
        // Four of one task would fail its job.
        let few = self.stuck.iter().filter(|a| a.task == attempt.task).count() < STUCK_OF_TASK;
        // One more in a healed cluster, where no crash ends it. Kept seeds of runs without executors have none.
        let may = self.broken || self.kinds.executors && self.stuck_when_healed < STUCK_WHEN_HEALED;
        if self.kinds.traps && limited && may && self.third.percent(4) && few && self.stuck.insert(attempt) {
            self.stuck_when_healed += u64::from(!self.broken);
            self.count("attempt that does not end");
        }
        self.stuck.contains(&attempt)
    }

    /// Restarts workers that a task has killed, in a healed cluster, too, as a service manager does.
    pub(super) fn restart_fallen(&mut self, id: WorkerId) {
        if !self.broken && self.fallen.contains(&id) && self.third.percent(20) {
            self.fallen.remove(&id);
            self.start(id);
        }
    }

    /// Workers that are registered with the scheduler; none in large clusters, where the question would cost too much.
    pub(super) fn living(&self) -> BTreeSet<WorkerId> {
        if self.scale > 1 {
            return BTreeSet::new();
        }
        self.ids.iter().copied().filter(|id| self.scheduler.worker_address(*id).is_some()).collect()
    }

    /// What the scheduler hears of is over.
    pub(super) fn note_ended(&mut self, event: &Event) {
        // It was on its way when the worker began to see the files.
        if let Event::AttemptFailed { worker, attempt, failure } = event
            && failure.code == Code::InputNotShared
            && !self.broken
        {
            self.answers.push(Event::TakenIn { job: attempt.task.job, worker: *worker });
        }
        match event {
            Event::AttemptDone { attempt, .. }
            | Event::AttemptFailed { attempt, .. }
            | Event::PublishFailed { attempt, .. }
            | Event::SegmentLost { reader: attempt, .. } => drop(self.open.remove(attempt)),
            Event::LeftOut { job, worker, .. } => drop(self.left_out.insert((*worker, *job))),
            _ => {}
        }
    }

    /// A worker is lost with all that it had.
    pub(super) fn note_deaths(&mut self, worker: WorkerId) {
        self.deaths.extend(self.open.extract_if(.., |_, on| *on == worker));
    }

    /// A worker registers: it has the attempts of its inventory, unless the scheduler revokes them. Attempts of an earlier incarnation
    /// are lost, also those that were sent while it was down; attempts of this incarnation are not.
    pub(super) fn note_held(&mut self, worker: WorkerId, incarnation: Incarnation, held: &[HeldAttempt]) {
        let here = self.open.extract_if(.., |_, on| *on == worker);
        self.deaths.extend(here.filter(|(attempt, _)| attempt.incarnation != incarnation));
        self.pardoned
            .extend(self.deaths.extract_if(.., |attempt, on| *on == worker && attempt.incarnation == incarnation));
        self.open.extend(held.iter().filter(|t| t.report.is_none()).map(|t| (t.attempt, worker)));
    }

    /// What the journal still counts as lost is lost for a scheduler that starts on it: a pardon that was not written is
    /// forgotten.
    pub(super) fn forget_unwritten_pardons(&mut self, jobs: &[RestoredJob]) {
        let losses = jobs.iter().flat_map(|job| &job.uncharged).flat_map(|(_, tally)| &tally.losses);
        for loss in losses.filter(|loss| self.pardoned.contains_key(&loss.attempt)) {
            self.deaths.insert(loss.attempt, loss.worker);
        }
    }

    /// Attempts that the unluckiest task of a job lost with their workers.
    pub(super) fn most_deaths(&self, job: JobId) -> u64 {
        let mut of_task: BTreeMap<TaskId, u64> = BTreeMap::new();
        for attempt in self.deaths.keys().filter(|attempt| attempt.task.job == job) {
            *of_task.entry(attempt.task).or_default() += 1;
        }
        of_task.into_values().max().unwrap_or(0)
    }

    /// A job may fail for a task that had enough workers when they were lost, whatever they were lost to.
    pub(super) fn may_be_trapped(&self, job: JobId, status: &JobStatus) -> bool {
        let code = status.error.as_ref().map(|e| e.code);
        if code == Some(Code::InputNotShared) && self.blind_ever.iter().any(|(_, j)| *j == job) {
            return true;
        }
        if code == Some(Code::SegmentCorrupt) && self.rotten.iter().any(|task| task.job == job) {
            return true;
        }
        // Charges for lost workers stay when the task gets through, so one attempt that does not end may be the last of them.
        let stuck = code == Some(Code::TaskTimeout) && self.stuck.iter().any(|a| a.task.job == job);
        (stuck || is_poisoned(status))
            && (self.scale > 1 || self.deaths_at_end.get(&job).copied().unwrap_or(0) >= KILLS_AT_LEAST)
    }

    /// A job fails for files that a worker does not see only if no live one does.
    pub(super) fn check_blindness(&self, job: JobId, status: &JobStatus) {
        if status.error.as_ref().is_some_and(|e| e.code == Code::InputNotShared) {
            let living = self.ids.iter().filter(|id| self.scheduler.worker_address(**id).is_some());
            let sees: Vec<&WorkerId> = living.filter(|id| !self.blind_ever.contains(&(**id, job))).collect();
            assert!(sees.is_empty(), "{job} fails, and {sees:?} see its files");
        }
    }

    /// No task takes more workers with it than it may.
    pub(super) fn check_kills(&self) {
        let forgotten = KILLS_FORGOTTEN * self.faults.get("coordinator crash").copied().unwrap_or(0);
        for (task, kills) in &self.kills {
            assert!(*kills <= KILLS_MOST + forgotten, "{task} has killed {kills} workers");
        }
    }
}
