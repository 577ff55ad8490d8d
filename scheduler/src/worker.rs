//! Workers as seen from here: slots, incarnation, drain, and an order by load of those that take tasks.
//!
//! A worker is `live → draining → lost`, or `live → lost`; a new incarnation starts over. It owns who runs what; it
//! knows nothing of jobs beyond the ids of their tasks.

use crate::lease::Timer;
use crate::planted::{self, Planted};
use crate::state::State;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use windrow_model::{AttemptId, Incarnation, NodeInfo, TaskId, Time, WorkerId, WorkerState, WorkerStatus};

/// Lost workers that lists still show.
const LOST_MAX: usize = 100;

pub(crate) struct Worker {
    pub info: NodeInfo,
    pub state: WorkerState,
    /// When this life of it was heard of first.
    pub since: Time,
    /// Tasks with an attempt here that takes a slot.
    pub running: BTreeSet<TaskId>,
    /// Tasks whose granted attempt publishes from here.
    pub publishing: BTreeSet<TaskId>,
    /// Tasks that failed here and succeeded elsewhere, since it was excluded last.
    pub faults: u32,
    /// How often it was excluded.
    pub exclusions: u32,
    /// It gets no tasks at present.
    pub excluded: bool,
    /// It is excluded because its disk is full.
    pub full: bool,
    /// Its lease was extended once because we ourselves had slept.
    pub graced: bool,
}

impl Worker {
    /// How full it is, comparable among workers; `None` if it takes no task now.
    fn load(&self) -> Option<u64> {
        let (running, slots) = (self.running.len() as u64, u64::from(self.info.slots));
        let slots = slots + u64::from(planted::has(Planted::OverSlots));
        (self.state == WorkerState::Live && !self.excluded && running < slots).then(|| (running << 32) / slots)
    }
}

#[derive(Default)]
pub(crate) struct Workers {
    all: BTreeMap<WorkerId, Worker>,
    /// Those that take tasks, emptiest first.
    free: BTreeSet<(u64, WorkerId)>,
    lost: VecDeque<WorkerId>,
    excluded: BTreeSet<WorkerId>,
}

impl Workers {
    pub fn get(&self, id: WorkerId) -> Option<&Worker> {
        self.all.get(&id)
    }

    /// A worker that lives, draining or not.
    pub fn live(&self, id: WorkerId) -> Option<&Worker> {
        self.all.get(&id).filter(|w| w.state != WorkerState::Lost)
    }

    pub fn live_mut(&mut self, id: WorkerId) -> Option<&mut Worker> {
        self.all.get_mut(&id).filter(|w| w.state != WorkerState::Lost)
    }

    pub fn iter(&self) -> impl Iterator<Item = (WorkerId, &Worker)> {
        self.all.iter().map(|(id, w)| (*id, w))
    }

    pub fn live_count(&self) -> usize {
        self.all.values().filter(|w| w.state != WorkerState::Lost).count()
    }

    /// What this life of the worker made can still be had.
    pub fn lives(&self, id: WorkerId, incarnation: Incarnation) -> bool {
        self.live(id).is_some_and(|w| w.info.incarnation == incarnation)
    }

    /// The emptiest first.
    pub fn free(&self) -> impl Iterator<Item = (u64, WorkerId)> + '_ {
        self.free.iter().copied()
    }

    pub fn is_free(&self, id: WorkerId) -> bool {
        self.all.get(&id).is_some_and(|w| w.load().is_some())
    }

    /// Slots of all workers that live.
    pub fn slots(&self) -> u64 {
        self.all.values().filter(|w| w.state != WorkerState::Lost).map(|w| u64::from(w.info.slots)).sum()
    }

    /// Whether any worker takes tasks, now or when a slot becomes free, leaving out those to `avoid`.
    pub fn any_takes_tasks(&self, avoid: &[WorkerId]) -> bool {
        let takes = |w: &Worker| w.state == WorkerState::Live && !w.excluded && w.info.slots > 0;
        self.all.iter().any(|(id, w)| takes(w) && !avoid.contains(id))
    }

    /// Registers a life of a worker, or the same one again; what it runs stays for now.
    pub fn join(&mut self, info: NodeInfo, now: Time) {
        let id = info.worker;
        self.lost.retain(|lost| *lost != id);
        self.unlist(id);
        let before = self.all.remove(&id);
        let since = before.as_ref().filter(|w| w.info.incarnation == info.incarnation).map_or(now, |w| w.since);
        let (running, publishing) = before.map(|w| (w.running, w.publishing)).unwrap_or_default();
        let worker = Worker {
            info,
            state: WorkerState::Live,
            since,
            running,
            publishing,
            faults: 0,
            exclusions: 0,
            excluded: false,
            full: false,
            graced: false,
        };
        self.all.insert(id, worker);
        self.note_exclusion(id);
        self.list(id);
    }

    pub fn set_state(&mut self, id: WorkerId, state: WorkerState) {
        self.change(id, |w| w.state = state);
        if state == WorkerState::Lost && self.all.contains_key(&id) {
            self.lost.retain(|lost| *lost != id);
            self.lost.push_back(id);
            if self.lost.len() > LOST_MAX
                && let Some(oldest) = self.lost.pop_front()
            {
                self.all.remove(&oldest);
                self.note_exclusion(oldest);
            }
        }
    }

    pub fn start(&mut self, id: WorkerId, task: TaskId) {
        self.change(id, |w| assert!(w.running.insert(task), "a task has one attempt at a time"));
    }

    /// The attempt keeps its worker but not its slot.
    pub fn publish(&mut self, id: WorkerId, task: TaskId) {
        self.change(id, |w| {
            w.running.remove(&task);
            w.publishing.insert(task);
        });
    }

    pub fn release(&mut self, id: WorkerId, task: TaskId) {
        self.change(id, |w| {
            w.running.remove(&task);
            w.publishing.remove(&task);
        });
    }

    pub fn statuses(&self) -> Vec<WorkerStatus> {
        let status = |w: &Worker| WorkerStatus {
            id: w.info.worker,
            address: w.info.address.clone(),
            host: w.info.host.clone(),
            state: if w.state == WorkerState::Live && w.excluded { WorkerState::Excluded } else { w.state },
            slots: w.info.slots,
            running: w.running.len() as u32,
            memory_bytes: w.info.memory_bytes,
            version: w.info.version.clone(),
        };
        self.all.values().map(status).collect()
    }

    /// The order by load holds exactly the workers that take tasks.
    pub fn check(&self) -> Result<(), String> {
        let free: BTreeSet<_> = self.all.iter().filter_map(|(id, w)| Some((w.load()?, *id))).collect();
        if free != self.free {
            return Err("the order of workers by load is stale".into());
        }
        if !self.all.iter().filter(|(_, w)| w.excluded).map(|(id, _)| id).eq(&self.excluded) {
            return Err("the list of excluded workers is stale".into());
        }
        Ok(())
    }

    pub fn change(&mut self, id: WorkerId, change: impl FnOnce(&mut Worker)) {
        let Some(w) = self.all.get_mut(&id) else { return };
        let before = (w.load(), w.excluded);
        change(w);
        let after = (w.load(), w.excluded);
        if after.0 != before.0 {
            if let Some(load) = before.0 {
                self.free.remove(&(load, id));
            }
            if let Some(load) = after.0 {
                self.free.insert((load, id));
            }
        }
        if after.1 != before.1 {
            self.note_exclusion(id);
        }
    }

    fn note_exclusion(&mut self, id: WorkerId) {
        match self.all.get(&id).is_some_and(|w| w.excluded) {
            true => self.excluded.insert(id),
            false => self.excluded.remove(&id),
        };
    }

    /// Those that get no tasks for a while.
    pub fn excluded(&self) -> impl Iterator<Item = (WorkerId, &Worker)> {
        self.excluded.iter().filter_map(|id| Some((*id, self.all.get(id)?)))
    }

    fn unlist(&mut self, id: WorkerId) {
        if let Some(load) = self.all.get(&id).and_then(Worker::load) {
            self.free.remove(&(load, id));
        }
    }

    fn list(&mut self, id: WorkerId) {
        if let Some(load) = self.all.get(&id).and_then(Worker::load) {
            self.free.insert((load, id));
        }
    }
}

impl State {
    pub fn handle_drains(&mut self, id: WorkerId) {
        self.renew_lease(id);
        if self.workers.live(id).is_some() {
            self.workers.set_state(id, WorkerState::Draining);
            self.keep_somebody();
        }
    }

    /// Its session ended, or its lease ran out.
    pub fn lose_worker(&mut self, id: WorkerId) {
        if self.workers.live(id).is_none() {
            return;
        }
        self.timers.clear(Timer::Lease(id));
        self.give_back(id, |_| true);
        self.workers.set_state(id, WorkerState::Lost);
        self.keep_somebody();
        if !planted::has(Planted::LossUnseen) {
            self.reopen_outputs_of(id);
        }
    }

    /// Nobody is charged for attempts that were on a worker which is gone or does not have them.
    pub fn give_back(&mut self, id: WorkerId, gone: impl Fn(AttemptId) -> bool) {
        let Some(worker) = self.workers.get(id) else { return };
        let tasks: Vec<TaskId> = worker.running.iter().chain(&worker.publishing).copied().collect();
        for task in tasks {
            let here = self.task(task).and_then(|t| t.runs().find(|run| run.worker == id));
            if let Some(run) = here.filter(|run| gone(run.attempt))
                && !self.stop_one(run.attempt)
            {
                self.retry_uncharged(task);
            }
        }
    }
}
