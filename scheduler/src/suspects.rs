//! Tasks that may kill their workers: each runs alone, and is charged if its worker is lost again.
//!
//! The loss of a worker charges none of its tasks, since the machine may be at fault. A task that has lost its worker
//! several times is a suspect. A suspect runs on a worker that has nothing else: no other task, no prefetched attempt,
//! no backup beside it. For that it reserves a worker, which takes no new tasks from then on and finishes what it has.
//! If that worker is lost too, the task is charged with `POISON_TASK`; no neighbour of it ever is. If the suspect
//! succeeds, it is a task like any other.
//!
//! The next incarnation of a lost worker may report the record at which the attempt was. The charge waits for that
//! report, for a limited time. A worker that returns in the same incarnation was cut off and not killed: its loss does
//! not count, and a charge for it is taken back (`uncharged.rs`). Other attempts may still run beside a suspect, because a
//! worker that registers keeps its attempts. The loss of such a worker counts like that of any other.

use crate::bad_records::is_of;
use crate::event::Left;
use crate::job::Job;
use crate::ledger::{Cause, Pending};
use crate::note::{Stopped, Why};
use crate::planted::{self, Planted};
use crate::state::State;
use crate::task::{Run, TaskState};
use crate::timers::Timer;
use windrow_model::{Chunk, Code, Failure, JobId, JobState, StageId, TaskId, WorkerId, WorkerState};

impl Job {
    /// Suspects that wait for a worker of their own and may run now.
    pub(crate) fn suspects_ready(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let runs = self.state == JobState::Running && !self.held;
        let all = self.suspects.iter().copied().filter(move |_| runs);
        all.filter(|(s, _)| self.stages[*s].blocked_by == 0)
    }

    /// The files and ranges that a task reads, for a message.
    fn input_of(&self, s: usize, t: usize) -> String {
        let ranges = self.stages[s].chunks.get(t).map(|chunk: &Chunk| &chunk.ranges[..]).unwrap_or_default();
        let of = |r: &windrow_model::FileRange| {
            format!("{} from byte {} to {}", r.path.display(), r.offset, r.offset.saturating_add(r.length))
        };
        match ranges {
            [] => "shuffled data".to_string(),
            [one] => of(one),
            [first, .., last] => format!("{} files, from {} to {}", ranges.len(), of(first), of(last)),
        }
    }
}

impl State {
    /// Handles an attempt whose worker is gone or does not have it. Requeues its task, unless the bound of the cause
    /// is reached.
    pub(crate) fn lost_with_worker(&mut self, run: Run, cause: Cause, what: &str) {
        let id = run.attempt.task;
        let (ahead, publishing) = match self.task(id).map(|t| &t.state) {
            Some(TaskState::QueuedOnWorker { .. }) => (true, false),
            Some(TaskState::Publishing(..)) => (false, true),
            Some(_) => (false, false),
            None => return,
        };
        if !ahead {
            let host = self.workers.get(run.worker).map(|w| w.info.host.clone()).unwrap_or_default();
            let (now, failure) = (self.now, Failure::new(Code::WorkerLost, what));
            self.jobs.get_mut(&id.job).into_iter().for_each(|job| job.note_failed(run, &host, &failure, false, now));
        }
        match ahead {
            true => self.note_stopped(run, Stopped::WorkerLost),
            false => self.note_failure(run, &Failure::new(Code::WorkerLost, what), false, Some(cause)),
        }
        let cause = match cause {
            Cause::WorkerLost if publishing => Cause::LostPublishing,
            Cause::WorkerLost if self.ran_alone(run) => return self.lost_alone(run),
            other => other,
        };
        if ahead {
            self.put_back(id);
            self.task_mut(id).into_iter().for_each(|task| task.why = Why::Uncharged(cause));
            // The worker may have started it without a message. The task is requeued without a delay all the same.
            if cause == Cause::WorkerLost {
                self.count_loss_ahead(run, what);
            }
        } else if !self.stop_one(run.attempt) {
            self.retry_uncharged(run.worker, run.attempt, cause, what);
        } else if let Err(failure) = self.count_uncharged(run.worker, run.attempt, cause, what) {
            self.fail_job(run.worker, run.attempt, failure, None);
        }
    }

    fn count_loss_ahead(&mut self, run: Run, what: &str) {
        let id = run.attempt.task;
        match self.count_uncharged(run.worker, run.attempt, Cause::WorkerLost, what) {
            Err(failure) => self.fail_job(run.worker, run.attempt, failure, None),
            Ok(()) => {
                // It may have become a suspect, which waits in another queue.
                if let Some(job) = self.jobs.get_mut(&id.job) {
                    job.requeue_waiting(id.stage.0 as usize, id.index as usize);
                }
                self.requeue(id.job);
            }
        }
    }

    fn ran_alone(&self, run: Run) -> bool {
        let alone = self.workers.get(run.worker).is_some_and(|w| w.alone == Some(run.attempt.task));
        let suspect =
            self.task(run.attempt.task).is_some_and(|t| t.is_suspect() && matches!(t.state, TaskState::Running(_)));
        alone && suspect
    }

    /// Handles a suspect that has lost its own worker. Its charge waits for the report of that worker's next
    /// incarnation.
    fn lost_alone(&mut self, run: Run) {
        let id = run.attempt.task;
        let is_last = !self.stop_one(run.attempt);
        let due = self.now.plus_ms(self.config.poison_wait_ms).min(windrow_model::Time(u64::MAX - 1));
        if is_last && let Some(task) = self.task_mut(id) {
            task.state = TaskState::Delayed;
            task.ledger.get_or_insert_default().pending = Some(Pending { worker: run.worker, attempt: run.attempt });
            self.timers.set(Timer::Delay(id), due);
            self.pending.insert(id);
        }
    }

    /// Ends a task's wait for its charge. `None` if it got an attempt meanwhile, or need not run any more.
    fn take_pending(&mut self, id: TaskId) -> Option<Pending> {
        let task = self.task_mut(id)?;
        let pending = task.ledger.as_mut()?.pending.take()?;
        let waits = matches!(task.state, TaskState::Delayed);
        waits.then(|| self.timers.clear(Timer::Delay(id))).map(|()| pending)
    }

    /// Charges a suspect with what is known about its end by now.
    pub(crate) fn charge_suspect(&mut self, id: TaskId) {
        let Some(Pending { worker, attempt }) = self.take_pending(id) else { return };
        let place = self.task(id).and_then(|t| t.ledger.as_ref()).and_then(|l| l.last_place.clone());
        if planted::has(Planted::SuspectUncharged) {
            return self.retry_uncharged(worker, attempt, Cause::Unheard, "");
        }
        // A pardon may have made it an ordinary task again.
        if self.task(id).and_then(|t| t.ledger.as_ref()).is_some_and(|l| !l.suspect) {
            return self.retry_uncharged(worker, attempt, Cause::WorkerLost, "its worker was lost");
        }
        let alone = "its worker was lost while it ran nothing else";
        // Beyond the bound of this cause the charge fails the job.
        let exceeded = self.count_uncharged(worker, attempt, Cause::LostAlone, alone).err();
        let (s, t) = (id.stage.0 as usize, id.index as usize);
        let Some(job) = self.jobs.get(&id.job) else { return };
        let Some(ledger) = job.stages[s].tasks[t].ledger.as_ref() else { return };
        let lost = ledger.count(Cause::WorkerLost) + ledger.count(Cause::LostAlone);
        let message = format!(
            "{lost} workers were lost while they ran the task, the last one while it ran nothing else; it reads {}; {}",
            job.input_of(s, t),
            ledger.story()
        );
        let failure = Failure { place, ..Failure::new(Code::PoisonTask, message) };
        self.charge_poison(worker, attempt, failure, exceeded.is_some());
    }

    /// Records which input records the attempts of a worker's last incarnation were at. A task that ran alone there is
    /// charged now.
    pub(crate) fn hear_left(&mut self, worker: WorkerId, left: Vec<Left>) {
        for Left { attempt, mut place } in left {
            let TaskId { job, stage, index } = attempt.task;
            let chunk = self.jobs.get(&job).and_then(|j| j.stages.get(stage.0 as usize)?.chunks.get(index as usize));
            if let (Some(place), Some(chunk)) = (&mut place, chunk)
                && let Some(range) = chunk.ranges.iter().find(|range| is_of(range, place))
            {
                place.file.clone_from(&range.path);
            }
            let Some(ledger) = self.task_mut(attempt.task).and_then(|t| t.ledger.as_mut()) else { continue };
            let pending = ledger.pending.is_none_or(|p| p.attempt == attempt && p.worker == worker);
            if pending {
                ledger.last_place = place;
            }
        }
        for id in self.pending_on(worker) {
            self.charge_suspect(id);
        }
    }

    /// Tasks whose charge waits for this worker.
    fn pending_on(&mut self, worker: WorkerId) -> Vec<TaskId> {
        let pending = |id: &TaskId| self.task(*id).and_then(|t| t.ledger.as_ref()).and_then(|l| l.pending);
        let over: Vec<TaskId> = self.pending.iter().filter(|id| pending(id).is_none()).copied().collect();
        let here = |id: &&TaskId| pending(id).is_some_and(|p| p.worker == worker);
        let found: Vec<TaskId> = self.pending.iter().filter(here).copied().collect();
        self.pending.retain(|id| !over.contains(id) && !found.contains(id));
        found
    }

    /// Updates a task after a loss was taken back: it may no longer be a suspect, and then waits in another queue.
    pub(crate) fn reconsider(&mut self, id: TaskId) {
        let suspect_after = self.config.suspect_after;
        let Some(ledger) = self.task_mut(id).and_then(|t| t.ledger.as_mut()) else { return };
        ledger.suspect = ledger.count(Cause::WorkerLost) >= suspect_after;
        self.note_counts(id);
        if let Some(job) = self.jobs.get_mut(&id.job) {
            job.requeue_waiting(id.stage.0 as usize, id.index as usize);
        }
        self.requeue(id.job);
    }

    /// Handles the return of a worker in the incarnation in which it ran a suspect alone: the attempt continues, or is
    /// gone.
    pub(crate) fn forgive_pending(&mut self, worker: WorkerId) {
        for id in self.pending_on(worker) {
            if let Some(Pending { worker, attempt }) = self.take_pending(id) {
                self.retry_uncharged(worker, attempt, Cause::Unheard, "its worker was not heard for a lease");
            }
        }
    }

    /// Assigns a worker to each waiting suspect, and releases workers that no suspect needs any more.
    pub(crate) fn assign_suspects(&mut self) {
        self.free_reserved();
        if self.suspicious.is_empty() || planted::has(Planted::SuspectShares) {
            return;
        }
        let jobs: Vec<JobId> = self.suspicious.iter().copied().collect();
        for id in jobs {
            let ready: Vec<(usize, usize)> =
                self.jobs.get(&id).into_iter().flat_map(|job| job.suspects_ready()).collect();
            for (s, t) in ready {
                if self.jobs.get(&id).is_none_or(|job| job.spec.options.slots_max.is_some_and(|max| job.uses() >= max))
                {
                    break;
                }
                let task = TaskId { job: id, stage: StageId(s as u32), index: t as u32 };
                let Some(worker) = self.reserved_for(task).or_else(|| self.reserve(task)) else { continue };
                if self.workers.get(worker).is_some_and(|w| w.is_idle()) {
                    self.start_attempt_on(id, s, t, worker);
                    self.requeue(id);
                }
            }
        }
    }

    fn reserved_for(&self, task: TaskId) -> Option<WorkerId> {
        self.workers.reserved().find(|(_, of)| *of == task).map(|(worker, _)| worker)
    }

    /// Reserves the least loaded worker for this suspect. At most half of the workers are reserved, or the only one.
    fn reserve(&mut self, task: TaskId) -> Option<WorkerId> {
        let job = self.jobs.get(&task.job)?;
        let avoid = &job.stages[task.stage.0 as usize].tasks[task.index as usize].avoid;
        let all = self.workers.iter().filter(|(_, w)| w.takes_tasks()).count();
        if self.workers.reserved().count() >= (all / 2).max(1) {
            return None;
        }
        let free = self
            .workers
            .iter()
            .filter(|(id, w)| w.takes_tasks() && w.alone.is_none() && !job.left_out.contains_key(id));
        let (worker, _) = free.min_by_key(|(id, w)| (avoid.contains(id), w.load(), *id))?;
        self.workers.change(worker, |w| w.alone = Some(task));
        self.take_back_all(worker);
        Some(worker)
    }

    /// Releases workers that are reserved for a task that no longer needs them.
    fn free_reserved(&mut self) {
        let needless = |(worker, task): &(WorkerId, TaskId)| {
            let takes = self.workers.get(*worker).is_some_and(|w| w.state == WorkerState::Live && !w.is_set_aside());
            match self.task(*task).map(|t| &t.state) {
                // A worker that registers may bring other attempts with it, or the suspect itself beside others: then
                // the suspect is not alone, and the loss of that worker is not its fault.
                Some(TaskState::Running(run) | TaskState::Publishing(run, _)) => {
                    run.worker != *worker || self.workers.get(*worker).is_some_and(|w| w.load() > 1)
                }
                Some(TaskState::Waiting) => {
                    let place = (task.stage.0 as usize, task.index as usize);
                    let wants = |job: &Job| {
                        let free = job.spec.options.slots_max.is_none_or(|max| job.uses() < max);
                        let sees = !job.left_out.contains_key(worker);
                        free && sees && job.suspects_ready().any(|ready| ready == place)
                    };
                    !takes || !self.jobs.get(&task.job).is_some_and(wants)
                }
                _ => true,
            }
        };
        let freed: Vec<WorkerId> = self.workers.reserved().filter(needless).map(|(worker, _)| worker).collect();
        freed.into_iter().for_each(|worker| self.workers.change(worker, |w| w.alone = None));
    }
}
