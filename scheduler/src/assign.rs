//! Chooses the task that gets the next free slot, and the worker; when all slots are taken, chooses the tasks to
//! prefetch.
//!
//! The queue says which job is next. Within a job, earlier stages come first because they unblock others, then lower
//! task numbers. A task goes to a worker that holds more than half of the bytes it reads if such a worker has a free
//! slot, otherwise to the least loaded one. It avoids a worker on which it failed while there is another one, even if
//! that is busy now: a broken worker always has free slots.
//!
//! Free slots of all workers are assigned before any attempt is queued on a worker. The choice of a queued attempt
//! follows the same rules; `prefetch.rs` says what happens to it afterwards.

use crate::action::Action;
use crate::job::Job;
use crate::left_out::Shunned;
use crate::locality::Locality;
use crate::planted::{self, Planted};
use crate::state::State;
use crate::task::Run;
use crate::workers::{Placement, Workers};
use windrow_model::{AttemptId, JobId, StageId, Task, TaskId, TaskInput, WorkerId, total};

/// Number of tasks waiting for another worker that are examined before the job loses its turn.
pub(crate) const PICKY_SCAN: usize = 32;
/// Number of equally loaded workers among which the one with the most local bytes is chosen.
const TIES_MAX: usize = 64;

impl State {
    /// Assigns slots until none is free or no job wants one, then queues attempts on busy workers.
    pub(crate) fn assign(&mut self) {
        self.begin_next();
        self.assign_suspects();
        self.give(Placement::Slot);
        // A slot that is still free suits none of the waiting tasks, so they need not be queued elsewhere.
        if self.workers.free().next().is_none() {
            self.give(Placement::Queue);
        }
    }

    fn give(&mut self, placement: Placement) {
        let mut passed = Vec::new();
        while self.workers.with(placement).next().is_some() {
            if placement == Placement::Slot && self.move_to_free_slot() {
                continue;
            }
            let Some((_, id)) = self.queue.first() else { break };
            match self.next_task(id, placement) {
                Some((s, t)) => {
                    self.start_attempt(id, s, t, placement);
                    self.requeue(id);
                }
                None => {
                    self.queue.set(id, None);
                    passed.push(id);
                }
            }
        }
        passed.into_iter().for_each(|id| self.requeue(id));
    }

    /// The next task of the job that may get such a placement on some worker.
    fn next_task(&self, id: JobId, placement: Placement) -> Option<(usize, usize)> {
        let job = self.jobs.get(&id)?;
        job.runnable.iter().find_map(|s| {
            let stage = &job.stages[*s];
            let picky = stage.picky.iter().take(PICKY_SCAN);
            let suited = picky.copied().find(|t| suits(&self.workers, placement, job.shunned(*s, *t)));
            let any =
                || stage.waiting.first().copied().filter(|t| suits(&self.workers, placement, job.shunned(*s, *t)));
            suited.or_else(any).map(|t| (*s, t))
        })
    }

    /// Starts an attempt of a waiting task on the worker that suits it best.
    pub(crate) fn start_attempt(&mut self, id: JobId, s: usize, t: usize, placement: Placement) {
        let (now, place) = (self.now, self.placed);
        let avoid = match self.jobs.get(&id) {
            Some(job) => job.stages[s].tasks[t].avoid.clone(),
            None => return,
        };
        self.placed += u64::from(placement == Placement::Queue);
        self.assign_to_one(id, s, t, Choice::Best(placement, &avoid), |job, run, bytes| match placement {
            Placement::Slot => job.begin(s, t, run, bytes, now),
            Placement::Queue => job.wait_ahead(s, t, run, place, bytes, now),
        });
    }

    /// Starts an attempt on this worker, which is reserved for the task.
    pub(crate) fn start_attempt_on(&mut self, id: JobId, s: usize, t: usize, worker: WorkerId) {
        let now = self.now;
        self.assign_to_one(id, s, t, Choice::This(worker), |job, run, bytes| job.begin(s, t, run, bytes, now));
    }

    /// Starts a second attempt of a running task on another worker that has a free slot and on which the task has not
    /// failed.
    pub(crate) fn start_backup(&mut self, id: JobId, s: usize, t: usize) {
        let now = self.now;
        let Some(job) = self.jobs.get(&id) else { return };
        let task = &job.stages[s].tasks[t];
        let mut avoid = task.avoid.clone();
        avoid.extend(job.left_out.keys());
        if !planted::has(Planted::BackupBeside) {
            avoid.extend(task.run().map(|run| run.worker));
        }
        if self.workers.free().any(|(_, w)| !avoid.contains(&w)) {
            self.assign_to_one(id, s, t, Choice::Best(Placement::Slot, &avoid), |job, run, _| {
                job.add_backup(s, t, run, now);
                job.stages[s].tasks[t].backups += 1;
                job.backups += 1;
            });
        }
    }

    /// Chooses a worker and sends it the task. `begin` records the attempt first, with the number of bytes that it
    /// reads.
    fn assign_to_one(&mut self, id: JobId, s: usize, t: usize, choice: Choice, begin: impl FnOnce(&mut Job, Run, u64)) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let inputs = job.inputs(s, t);
        let (worker, placement) = match choice {
            Choice::This(worker) => (Some(worker), Placement::Slot),
            Choice::Best(placement, avoid) => {
                let shunned = Shunned { job: &job.left_out, task: avoid };
                (pick(&self.workers, placement, &job.locality(s, t), shunned), placement)
            }
        };
        let Some(worker) = worker else { return };
        let Some(incarnation) = self.workers.get(worker).map(|w| w.info.incarnation) else { return };
        let name = TaskId { job: id, stage: StageId(s as u32), index: t as u32 };
        let number = job.stages[s].tasks[t].attempts;
        let attempt = AttemptId { task: name, number, epoch: self.epoch, incarnation };
        let outputs = job.stages[s].outputs.clone();
        let skip_keys = job.stages[s].skip_keys.get(&t).cloned().unwrap_or_default();
        let task = Task { attempt, inputs, outputs, job_input_bytes: job.input_bytes, skip_keys };
        // Broadcasts are the same for every task of the stage, so they do not count towards its progress.
        let bytes = total(task.inputs.iter().map(bytes_of));
        begin(job, Run { worker, attempt }, bytes);
        let reopened = job.inputs_reopened(s);
        if let Some((_, pace)) = job.stages[s].tasks[t].pace_on(worker) {
            pace.inputs_reopened = Some(reopened);
        }
        self.served += 1;
        job.served = self.served;
        match placement {
            Placement::Slot => self.workers.start(worker, name),
            Placement::Queue => self.workers.wait(worker, name),
        }
        let tables = job.stages[s].inputs.as_ref().map(|inputs| inputs.tables.clone()).unwrap_or_default();
        self.out.push(Action::Assign { worker, task: Box::new(task), tables });
    }
}

/// The workers to which an attempt may go.
enum Choice<'a> {
    /// The best worker with such a placement; one of these only if there is no other.
    Best(Placement, &'a [WorkerId]),
    This(WorkerId),
}

impl Job {
    /// Workers to which the task must not go.
    pub(crate) fn shunned(&self, s: usize, t: usize) -> Shunned<'_> {
        Shunned { job: &self.left_out, task: &self.stages[s].tasks[t].avoid }
    }
}

fn bytes_of(input: &TaskInput) -> u64 {
    match input {
        TaskInput::Chunk(chunk) => chunk.length(),
        TaskInput::Edge(edge) => edge.bytes,
        TaskInput::Inline(_) => 0,
    }
}

/// Whether some worker with such a placement may run a task that avoids these, or whether no other worker ever could.
pub(crate) fn suits(workers: &Workers, placement: Placement, shunned: Shunned) -> bool {
    let mut with = workers.with(placement);
    if shunned.job.is_empty() && shunned.task.is_empty() {
        return with.next().is_some();
    }
    let mut any = false;
    let suited = with.any(|(_, w)| {
        any |= !shunned.never(&w);
        !shunned.has(&w)
    });
    suited || any && !workers.any_takes_tasks(|w| shunned.has(w))
}

/// The best worker with such a placement for a task.
fn pick(workers: &Workers, placement: Placement, locality: &Locality, shunned: Shunned) -> Option<WorkerId> {
    if let Some(holder) = locality.holders_of_most().find(|w| workers.has(*w, placement) && !shunned.has(w)) {
        return Some(holder);
    }
    let mut suited = workers.with(placement).filter(|(_, w)| !shunned.has(w)).peekable();
    let Some((emptiest, first)) = suited.peek().copied() else {
        return workers.with(placement).map(|(_, w)| w).find(|w| !shunned.never(w));
    };
    if locality.is_unknown() {
        return Some(first);
    }
    let ties = suited.take_while(|(load, _)| *load == emptiest).take(TIES_MAX).map(|(_, w)| w);
    ties.max_by_key(|w| (locality.local(*w), std::cmp::Reverse(*w)))
}
