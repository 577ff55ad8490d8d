//! Which task gets the next free slot, and on which worker; when there is none left, which ones wait ahead of slots.
//!
//! The queue says whose turn it is. Within a job, earlier stages come first (they unblock the others), then lower
//! tasks. A task goes to a worker that holds more than half of the bytes it reads, if one of those has a free slot, else to
//! the emptiest one; and not to one that it failed on while there is another, even if that one is busy now: a broken
//! worker always has free slots.
//!
//! Slots come first, over all workers. Who gets a place ahead of them is chosen in the same way; what becomes of those that
//! wait there `ahead.rs` says.

use crate::action::Action;
use crate::job::Job;
use crate::left_out::Shunned;
use crate::planted::{self, Planted};
use crate::state::State;
use crate::task::Run;
use crate::worker::{Seat, Workers};
use std::collections::BTreeMap;
use windrow_model::{AttemptId, JobId, StageId, Task, TaskId, TaskInput, WorkerId};

/// Tasks that wait for another worker and are looked at before their turn passes.
pub(crate) const PICKY_SCAN: usize = 32;
/// Workers among which the one with the most local bytes is chosen if they are equally empty.
const TIES_MAX: usize = 64;

impl State {
    /// Gives out slots until there are none or no one wants one, then places ahead of them.
    pub fn assign(&mut self) {
        self.begin_next();
        self.assign_suspects();
        self.give(Seat::Slot);
        // A free slot that is left suits none of those that wait: no reason to let them wait elsewhere.
        if self.workers.free().next().is_none() {
            self.give(Seat::Ahead);
        }
    }

    fn give(&mut self, seat: Seat) {
        let mut passed = Vec::new();
        while self.workers.with(seat).next().is_some() {
            if seat == Seat::Slot && self.move_to_free_slot() {
                continue;
            }
            let Some((_, id)) = self.queue.first() else { break };
            match self.next_task(id, seat) {
                Some((s, t)) => {
                    self.start_attempt(id, s, t, seat);
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

    /// The job's next task that may get such a seat on some worker.
    fn next_task(&self, id: JobId, seat: Seat) -> Option<(usize, usize)> {
        let job = self.jobs.get(&id)?;
        job.runnable.iter().find_map(|s| {
            let stage = &job.stages[*s];
            let picky = stage.picky.iter().take(PICKY_SCAN);
            let suited = picky.copied().find(|t| suits(&self.workers, seat, job.shunned(*s, *t)));
            let any = || stage.waiting.first().copied().filter(|t| suits(&self.workers, seat, job.shunned(*s, *t)));
            suited.or_else(any).map(|t| (*s, t))
        })
    }

    /// Gives a waiting task an attempt on the worker that suits it best.
    pub fn start_attempt(&mut self, id: JobId, s: usize, t: usize, seat: Seat) {
        let (now, place) = (self.now, self.placed);
        let avoid = match self.jobs.get(&id) {
            Some(job) => job.stages[s].tasks[t].avoid.clone(),
            None => return,
        };
        self.placed += u64::from(seat == Seat::Ahead);
        self.assign_to_one(id, s, t, Choice::Best(seat, &avoid), |job, run, bytes| match seat {
            Seat::Slot => job.begin(s, t, run, bytes, now),
            Seat::Ahead => job.wait_ahead(s, t, run, place, bytes, now),
        });
    }

    /// The same on this worker, which is kept for the task.
    pub fn start_attempt_on(&mut self, id: JobId, s: usize, t: usize, worker: WorkerId) {
        let now = self.now;
        self.assign_to_one(id, s, t, Choice::This(worker), |job, run, bytes| job.begin(s, t, run, bytes, now));
    }

    /// Gives a running task a second attempt on another worker, if one has a free slot that it has not failed on.
    pub fn start_backup(&mut self, id: JobId, s: usize, t: usize) {
        let now = self.now;
        let Some(job) = self.jobs.get(&id) else { return };
        let task = &job.stages[s].tasks[t];
        let mut avoid = task.avoid.clone();
        avoid.extend(job.left_out.keys());
        if !planted::has(Planted::BackupBeside) {
            avoid.extend(task.run().map(|run| run.worker));
        }
        if self.workers.free().any(|(_, w)| !avoid.contains(&w)) {
            self.assign_to_one(id, s, t, Choice::Best(Seat::Slot, &avoid), |job, run, _| {
                job.add_backup(s, t, run, now);
                job.stages[s].tasks[t].backups += 1;
                job.backups += 1;
            });
        }
    }

    /// Chooses a worker and sends it the task, after `begin` has noted the attempt, which reads so many bytes.
    fn assign_to_one(&mut self, id: JobId, s: usize, t: usize, choice: Choice, begin: impl FnOnce(&mut Job, Run, u64)) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let inputs = job.inputs(s, t);
        job.note_expected(s, t, &inputs);
        let (worker, seat) = match choice {
            Choice::This(worker) => (Some(worker), Seat::Slot),
            Choice::Best(seat, avoid) => {
                let (local, bytes) = bytes_by_holder(&inputs);
                let shunned = Shunned { job: &job.left_out, task: avoid };
                (pick(&self.workers, seat, &local, bytes, shunned), seat)
            }
        };
        let Some(worker) = worker else { return };
        let Some(incarnation) = self.workers.get(worker).map(|w| w.info.incarnation) else { return };
        let name = TaskId { job: id, stage: StageId(s as u32), index: t as u32 };
        let number = job.stages[s].tasks[t].attempts;
        let attempt = AttemptId { task: name, number, epoch: self.epoch, incarnation };
        let outputs = job.stages[s].outputs.clone();
        let told = Task { attempt, inputs, outputs, job_input_bytes: job.input_bytes };
        // Broadcasts are the same for every task of the stage: they are no measure of its progress.
        let bytes = told.inputs.iter().map(bytes_of).sum();
        begin(job, Run { worker, attempt }, bytes);
        match seat {
            Seat::Slot => self.workers.start(worker, name),
            Seat::Ahead => self.workers.wait(worker, name),
        }
        self.out.push(Action::Assign { worker, task: Box::new(told) });
    }
}

/// Where an attempt goes.
enum Choice<'a> {
    /// To the worker that suits best among those with such a seat, to one of these only if there is no other.
    Best(Seat, &'a [WorkerId]),
    This(WorkerId),
}

impl Job {
    /// Where a task does not go.
    pub fn shunned(&self, s: usize, t: usize) -> Shunned<'_> {
        Shunned { job: &self.left_out, task: &self.stages[s].tasks[t].avoid }
    }
}

fn bytes_of(input: &TaskInput) -> u64 {
    match input {
        TaskInput::Chunk(chunk) => chunk.length(),
        TaskInput::Segments(segments) => segments.iter().map(|s| s.segment.length).sum(),
        TaskInput::Inline(_) => 0,
    }
}

/// A worker with such a seat may run a task that shuns these, or no other worker ever could.
pub(crate) fn suits(workers: &Workers, seat: Seat, shunned: Shunned) -> bool {
    let mut with = workers.with(seat);
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

fn bytes_by_holder(inputs: &[TaskInput]) -> (BTreeMap<WorkerId, u64>, u64) {
    let mut local: BTreeMap<WorkerId, u64> = BTreeMap::new();
    let mut bytes = 0;
    for input in inputs {
        match input {
            TaskInput::Segments(segments) => {
                for s in segments {
                    *local.entry(s.worker).or_default() += s.segment.length;
                    bytes += s.segment.length;
                }
            }
            TaskInput::Chunk(chunk) => {
                chunk.holders.iter().for_each(|w| *local.entry(*w).or_default() += chunk.length());
                bytes += chunk.length();
            }
            TaskInput::Inline(_) => {}
        }
    }
    (local, bytes)
}

/// The worker with such a seat for a task that reads `bytes`, of which each holder has its share in `local`.
fn pick(
    workers: &Workers,
    seat: Seat,
    local: &BTreeMap<WorkerId, u64>,
    bytes: u64,
    shunned: Shunned,
) -> Option<WorkerId> {
    let mut most = local.iter().filter(|(_, n)| **n > bytes / 2).map(|(w, _)| *w);
    if let Some(holder) = most.find(|w| workers.has(*w, seat) && !shunned.has(w)) {
        return Some(holder);
    }
    let mut suited = workers.with(seat).filter(|(_, w)| !shunned.has(w)).peekable();
    let Some((emptiest, first)) = suited.peek().copied() else {
        return workers.with(seat).map(|(_, w)| w).find(|w| !shunned.never(w));
    };
    if local.is_empty() {
        return Some(first);
    }
    let ties = suited.take_while(|(load, _)| *load == emptiest).take(TIES_MAX).map(|(_, w)| w);
    ties.max_by_key(|w| (local.get(w).copied().unwrap_or(0), std::cmp::Reverse(*w)))
}
