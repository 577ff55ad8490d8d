//! Deadlines for attempts on a worker: delivery, start, progress and publication, independent of what its beats say.
//!
//! Workers enforce the time-outs of attempts and know best when an attempt starts. A worker that does not enforce them
//! must not block a job for ever, so with each beat the scheduler checks its attempts as well, with a margin:
//!
//! - An attempt beyond a time-out of its job is charged with `TASK_TIMEOUT`, and the worker is excluded for a while,
//!   because it should have ended the attempt itself.
//! - An attempt that the worker does not list, or does not start in time, is requeued without a charge, within the
//!   bound of its cause.
//! - A granted attempt that does not publish in time counts as a failed publication.
//!
//! These rules need no timers, since a worker that sends no beats is lost.

use crate::Config;
use crate::action::Action;
use crate::ledger::Cause;
use crate::planted::{self, Planted};
use crate::speculate::Pace;
use crate::state::State;
use crate::task::{Run, Task, TaskState};
use windrow_model::{Code, Failure, JobOptions, TaskId, Time, WorkerId};

/// Minimum interval between checks of a worker's attempts, in milliseconds: beats may come much faster, and each check
/// visits every attempt of the worker.
const CHECK_MS: u64 = 100;

/// Why an attempt is given up.
#[derive(Debug, PartialEq)]
enum Overdue {
    /// The worker does not list it.
    Missing,
    /// The worker has it and does not start it.
    NotBegun,
    /// It runs beyond a time-out of its job; the worker should have ended it.
    Limit(String),
    /// It does not publish.
    Unpublished(String),
}

/// How much later than a worker the scheduler enforces a time-out, in milliseconds.
fn margin_ms(limit_ms: u64, config: &Config) -> u64 {
    config.limit_margin_ms.max(limit_ms / 4)
}

fn pace_of(task: &Task, worker: WorkerId) -> &Pace {
    match &task.backup {
        Some(backup) if backup.run.worker == worker => &backup.pace,
        _ => &task.pace,
    }
}

/// Checks an attempt that has a slot.
fn judge_running(pace: &Pace, options: &JobOptions, config: &Config, now: Time) -> Option<Overdue> {
    if planted::has(Planted::LimitsTrusted) {
        return None;
    }
    let Some(begun) = pace.begun() else {
        return (now.since_ms(pace.since) >= config.begin_ms).then_some(Overdue::NotBegun);
    };
    let over = |since: Time, limit: Option<u64>| {
        let ms = now.since_ms(since);
        limit.filter(|limit| ms >= limit.saturating_add(margin_ms(*limit, config))).map(|_| ms / 1_000)
    };
    let task = over(begun, options.task_timeout_ms).map(|s| format!("the task was not done after {s} s"));
    let progress = || over(pace.changed(), options.progress_timeout_ms).map(|s| format!("no progress for {s} s"));
    task.or_else(progress).map(|what| Overdue::Limit(format!("{what}, and its worker did not end it")))
}

impl State {
    /// Checks the attempts of a worker after a beat. `lists_all`: the worker does not have an attempt that the beat does
    /// not name.
    pub(crate) fn enforce_limits(&mut self, worker: WorkerId, lists_all: bool) {
        let now = self.now;
        let Some(w) = self.workers.live_mut(worker) else { return };
        let is_due = now.since_ms(w.checked) >= CHECK_MS;
        if is_due {
            w.checked = now;
        }
        if lists_all {
            self.note_missing(worker);
        }
        if !is_due {
            return;
        }
        let Some(w) = self.workers.live(worker) else { return };
        let all = w.running.iter().chain(&w.ahead).chain(&w.publishing);
        let overdue: Vec<(TaskId, Overdue)> = all.filter_map(|id| Some((*id, self.overdue(*id, worker)?))).collect();
        for (id, what) in overdue {
            let here = self.task(id).and_then(|t| t.runs().find(|run| run.worker == worker));
            here.into_iter().for_each(|run| self.give_up(run, what_of(&what), &what));
        }
    }

    /// Counts a beat that lists all attempts for each attempt that it did not name.
    fn note_missing(&mut self, worker: WorkerId) {
        let Some(w) = self.workers.live(worker) else { return };
        let unlisted = |id: &&TaskId| self.pace(**id, worker).is_some_and(|pace| !pace.is_heard(self.now));
        let missed: Vec<TaskId> = w.running.iter().chain(&w.ahead).filter(unlisted).copied().collect();
        for id in missed {
            if let Some((_, pace)) = self.task_mut(id).and_then(|t| t.pace_on(worker)) {
                pace.miss();
            }
        }
    }

    /// The progress of the attempt of a task on this worker.
    fn pace(&self, id: TaskId, worker: WorkerId) -> Option<&Pace> {
        self.task(id).map(|task| pace_of(task, worker))
    }

    fn overdue(&self, id: TaskId, worker: WorkerId) -> Option<Overdue> {
        let job = self.jobs.get(&id.job)?;
        let options = &job.spec.options;
        let task = job.stages.get(id.stage.0 as usize)?.tasks.get(id.index as usize)?;
        let pace = pace_of(task, worker);
        let (now, config) = (self.now, &self.config);
        match &task.state {
            TaskState::Publishing(..) => {
                let ms = now.since_ms(pace.since);
                (ms >= config.publish_ms).then(|| Overdue::Unpublished(format!("not published after {} s", ms / 1_000)))
            }
            _ if pace.is_missing(now, config.delivery_ms) && !planted::has(Planted::DeliveryTrusted) => {
                Some(Overdue::Missing)
            }
            TaskState::Running(_) => judge_running(pace, options, config, now),
            _ => None,
        }
    }

    /// Ends the attempt in the scheduler and revokes it on its worker.
    fn give_up(&mut self, run: Run, what: &str, overdue: &Overdue) {
        let Run { worker, attempt } = run;
        self.out.push(Action::Revoke { worker, attempt });
        match overdue {
            Overdue::Missing => self.lost_with_worker(run, Cause::Undelivered, what),
            Overdue::NotBegun => self.lost_with_worker(run, Cause::NotBegun, what),
            Overdue::Limit(_) => {
                self.exclude(worker, format!("it did not enforce the time-outs of attempt {attempt}"));
                self.attempt_failed(worker, attempt, Failure::new(Code::TaskTimeout, what));
            }
            Overdue::Unpublished(_) => {
                self.handle_publish_failed(worker, attempt, Failure::new(Code::IoError, what));
            }
        }
    }
}

fn what_of(overdue: &Overdue) -> &str {
    match overdue {
        Overdue::Missing => "its worker does not list it",
        Overdue::NotBegun => "its worker did not begin it",
        Overdue::Limit(what) | Overdue::Unpublished(what) => what,
    }
}
