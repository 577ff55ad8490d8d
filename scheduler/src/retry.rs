//! Decides the effect of a failure: charge the task, run it elsewhere, or fail the job.
//!
//! The class of a failure is a property of its code. Charged failures count towards the job's limit. Uncharged ones have
//! a bound by cause (`ledger.rs`), and several in a row delay the task, doubling each time, so that a cluster that
//! cannot make progress does not spin.

use crate::action::Action;
use crate::bad_records::Verdict;
use crate::ledger::Cause;
use crate::left_out::is_not_shared;
use crate::note::Why;
use crate::planted::{self, Planted};
use crate::state::State;
use crate::task::{Run, TaskState};
use crate::timers::Timer;
use windrow_model::{AttemptId, Class, Code, Failure, JobState, TaskId, WorkerId};

/// Uncharged failures in a row that are retried at once.
const AT_ONCE: u32 = 2;

impl State {
    pub(crate) fn handle_failed(&mut self, worker: WorkerId, attempt: AttemptId, failure: Failure) {
        self.heard(worker, attempt);
        self.attempt_failed(worker, attempt, failure);
    }

    /// A failed publication is charged to the task, for any reason that is not fatal.
    pub(crate) fn handle_publish_failed(&mut self, worker: WorkerId, attempt: AttemptId, failure: Failure) {
        self.heard(worker, attempt);
        let class = match failure.code.class() {
            Class::Fatal => Class::Fatal,
            Class::Charge | Class::Retry => Class::Charge,
        };
        self.failed(worker, attempt, failure, class);
    }

    pub(crate) fn attempt_failed(&mut self, worker: WorkerId, attempt: AttemptId, failure: Failure) {
        let class = match failure.code {
            // The worker has no room for any task, and gets none until it has.
            Code::NoSpace if self.workers.live(worker).is_some_and(|w| w.full) => Class::Retry,
            Code::ResourceLimit => {
                self.reached_a_limit(worker, attempt, &failure);
                Class::Retry
            }
            code => code.class(),
        };
        self.failed(worker, attempt, failure, class);
    }

    fn failed(&mut self, worker: WorkerId, attempt: AttemptId, failure: Failure, class: Class) {
        let id = attempt.task;
        let here = Run { worker, attempt };
        if !self.task(id).is_some_and(|t| t.runs().any(|run| run == here)) {
            return;
        }
        let host = self.workers.get(worker).map(|w| w.info.host.clone()).unwrap_or_default();
        let now = self.now;
        let unseen = is_not_shared(failure.code) && class == Class::Fatal;
        if let Some(job) = self.jobs.get_mut(&id.job) {
            job.note_failed(here, &host, &failure, class != Class::Retry && !unseen, now);
        }
        let cause = match class {
            Class::Retry => Some(Cause::of(failure.code)),
            Class::Charge | Class::Fatal => unseen.then_some(Cause::NotShared),
        };
        self.note_failure(here, &failure, cause.is_none(), cause);
        let mut other_goes_on = self.stop_one(attempt);
        if planted::has(Planted::OtherForgotten) && other_goes_on {
            self.stop(id);
            other_goes_on = false;
        }
        if let Some(task) = self.task_mut(id) {
            task.avoid(worker);
            // The worker does not see the job's files; others may.
            if unseen {
                return self.failed_for_worker(worker, attempt, failure, other_goes_on);
            }
            // The other attempt decides: a fault of the task itself shows there, too.
            if other_goes_on {
                if class == Class::Charge {
                    task.failed_there(worker);
                }
                return;
            }
        }
        match class {
            Class::Fatal => self.fail_job(worker, attempt, failure, None),
            Class::Retry => self.retry_uncharged(worker, attempt, Cause::of(failure.code), &failure.message),
            Class::Charge => {
                self.task_mut(id).into_iter().for_each(|task| task.failed_there(worker));
                self.charge(worker, attempt, failure, false);
            }
        }
    }

    /// Charges a task that has lost workers reserved for it. `exceeded`: the job fails unless the record is left out.
    pub(crate) fn charge_poison(&mut self, worker: WorkerId, attempt: AttemptId, failure: Failure, exceeded: bool) {
        self.charge(worker, attempt, failure, exceeded);
    }

    fn charge(&mut self, worker: WorkerId, attempt: AttemptId, failure: Failure, exceeded: bool) {
        let (s, t) = (attempt.task.stage.0 as usize, attempt.task.index as usize);
        let Some(job) = self.jobs.get_mut(&attempt.task.job) else { return };
        let stage = &mut job.stages[s];
        stage.failed += 1;
        stage.tasks[t].why = Why::Retry;
        stage.tasks[t].uncharged = 0;
        stage.tasks[t].failures += 1;
        match job.judge_record(attempt.task, &failure) {
            Verdict::Unknown => {}
            Verdict::SetAside(record) => {
                self.out.push(Action::SetAside { record: Box::new(record) });
                self.out.push(Action::Charged { task: attempt.task, failures: 0 });
                // The record killed the workers. The task stays a suspect: it may have another such record.
                if let Some(ledger) = &mut job.stages[s].tasks[t].ledger {
                    ledger.clear(Cause::LostAlone);
                    ledger.last_place = None;
                }
                job.enqueue(s, t);
                self.note_counts_if_any(attempt.task);
                return self.requeue(attempt.task.job);
            }
            Verdict::TooMany => {
                let limit = job.spec.options.skip_bad_records;
                let message = format!("more than {limit} bad records, the last one: {}", failure.message);
                return self.fail_job(worker, attempt, Failure { message, ..failure }, None);
            }
        }
        let failures = job.stages[s].tasks[t].failures;
        if exceeded || failures >= job.spec.options.attempts_max.max(1) {
            self.fail_job(worker, attempt, failure, Some(failures));
        } else {
            job.enqueue(s, t);
            self.out.push(Action::Charged { task: attempt.task, failures });
            self.requeue(attempt.task.job);
        }
    }

    /// Takes back charges that were not the task's fault.
    pub(crate) fn uncharge(&mut self, id: TaskId, charges: u32) {
        let Some(job) = self.jobs.get_mut(&id.job) else { return };
        let stage = &mut job.stages[id.stage.0 as usize];
        let task = &mut stage.tasks[id.index as usize];
        let taken = charges.min(task.failures);
        if taken > 0 {
            task.failures -= taken;
            stage.failed = stage.failed.saturating_sub(u64::from(taken));
            self.out.push(Action::Charged { task: id, failures: task.failures });
        }
    }

    /// Requeues a task whose attempt has ended, perhaps with a delay, without a charge. At the bound of the cause the
    /// job fails.
    pub(crate) fn retry_uncharged(&mut self, worker: WorkerId, attempt: AttemptId, cause: Cause, what: &str) {
        if let Err(failure) = self.count_uncharged(worker, attempt, cause, what) {
            return self.fail_job(worker, attempt, failure, None);
        }
        self.retry_uncounted(attempt);
    }

    /// The same without counting: the caller has counted the attempt.
    pub(crate) fn retry_uncounted(&mut self, attempt: AttemptId) {
        let id = attempt.task;
        let (first, longest) = (self.config.retry_delay_ms, self.config.retry_delay_max_ms);
        let Some(job) = self.jobs.get_mut(&id.job) else { return };
        let (s, t) = (id.stage.0 as usize, id.index as usize);
        let task = &mut job.stages[s].tasks[t];
        task.uncharged += 1;
        if planted::has(Planted::LossCharged) {
            task.failures += 1;
        }
        if task.uncharged <= AT_ONCE {
            job.enqueue(s, t);
            self.requeue(id.job);
        } else {
            let doublings = (task.uncharged - AT_ONCE - 1).min(32);
            let delay_ms = first.saturating_mul(1 << doublings).min(longest);
            task.state = TaskState::Delayed;
            // A delay must end, even with a very long configured one.
            let due = self.now.plus_ms(delay_ms).min(windrow_model::Time(u64::MAX - 1));
            if !planted::has(Planted::NoWake) {
                self.timers.set(Timer::Delay(id), due);
            }
        }
    }

    pub(crate) fn delay_is_over(&mut self, id: TaskId) {
        if self.task(id).and_then(|t| t.ledger.as_ref()).is_some_and(|l| l.pending.is_some()) {
            return self.charge_suspect(id);
        }
        if self.task(id).is_some_and(|t| matches!(t.state, TaskState::Delayed))
            && let Some(job) = self.jobs.get_mut(&id.job)
        {
            job.enqueue(id.stage.0 as usize, id.index as usize);
            self.requeue(id.job);
        }
    }

    /// Fails the job with this failure, and adds where it happened.
    pub(crate) fn fail_job(
        &mut self,
        worker: WorkerId,
        attempt: AttemptId,
        mut failure: Failure,
        failures: Option<u32>,
    ) {
        let id = attempt.task;
        let Some(stage) = self.jobs.get(&id.job).and_then(|j| j.spec.plan.stages.get(id.stage.0 as usize)) else {
            return;
        };
        // A run in one process has a node without a name, which the message omits.
        let host = match self.workers.get(worker) {
            Some(w) if w.info.host.is_empty() => String::new(),
            Some(w) => format!(" on {} ({worker})", w.info.host),
            None => format!(" on {worker}"),
        };
        let times = failures.map(|n| format!(", failed {n} times")).unwrap_or_default();
        failure.message = format!(
            "stage {} `{}` ({}), task {}, attempt {}{host}{times}: {}",
            id.stage, stage.label, stage.place, id.index, attempt.number, failure.message
        );
        self.end_job(id.job, JobState::Failed, Some(failure));
    }
}
