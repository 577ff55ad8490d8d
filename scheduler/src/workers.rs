//! The table of workers: slots, queued attempts, incarnation, state, and orders by load of the workers that take
//! tasks.
//!
//! A worker is `live → draining → lost`, or `live → lost`; a new incarnation starts over. The table owns which worker
//! runs which task; it knows nothing of jobs beyond the ids of their tasks.

use crate::planted::{self, Planted};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use windrow_model::{Incarnation, NodeInfo, TaskId, Time, WorkerId, WorkerState, WorkerStatus};

/// Number of lost workers that lists still show.
const LOST_MAX: usize = 100;

pub(crate) struct Worker {
    pub info: NodeInfo,
    pub state: WorkerState,
    /// When the scheduler first heard of this incarnation.
    pub since: Time,
    /// Tasks with an attempt here that holds a slot.
    pub running: BTreeSet<TaskId>,
    /// Tasks with an attempt queued here, in the order in which they get a slot.
    pub ahead: VecDeque<TaskId>,
    /// Tasks whose granted attempt publishes from here.
    pub publishing: BTreeSet<TaskId>,
    /// Tasks that failed here and succeeded elsewhere, since it was excluded last.
    pub faults: u32,
    /// How often it was excluded.
    pub exclusions: u32,
    /// It gets no tasks at present.
    pub excluded: bool,
    /// Its disk is full: it gets no tasks until it has room.
    pub full: bool,
    /// Why it is excluded, drains or is lost.
    pub reason: Option<String>,
    /// Its outputs that readers found damaged, since it was excluded last.
    pub damaged: u32,
    /// The suspect for which it is reserved: it gets no other task.
    pub alone: Option<TaskId>,
    /// When the deadlines of its attempts were checked last.
    pub checked: Time,
    /// Its lease was extended once because this process had slept.
    pub graced: bool,
}

/// What a worker can give to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// A free slot: the attempt starts at once.
    Slot,
    /// A place in the queue behind running attempts.
    Queue,
}

/// What a worker has to offer, with its load in a form that can be compared among workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Capacity {
    Slot(u64),
    /// A free slot that belongs to the first queued attempt.
    Next,
    Queue(u64),
    None,
}

impl Worker {
    fn capacity(&self, prefetch_per_slot: u32) -> Capacity {
        let (running, ahead, slots) = (self.running.len() as u64, self.ahead.len() as u64, u64::from(self.info.slots));
        let places = slots * u64::from(prefetch_per_slot) + u64::from(planted::has(Planted::OverAhead));
        let slots = slots + u64::from(planted::has(Planted::OverSlots));
        let takes = self.state == WorkerState::Live && !self.is_set_aside() && self.alone.is_none();
        match (running < slots, ahead > 0) {
            (true, true) => Capacity::Next,
            (true, false) if takes => Capacity::Slot((running << 32) / slots),
            (false, _) if takes && ahead < places => Capacity::Queue((ahead << 32) / places),
            _ => Capacity::None,
        }
    }

    /// Whether it gets tasks, now or when a slot becomes free.
    pub(crate) fn takes_tasks(&self) -> bool {
        self.state == WorkerState::Live && !self.is_set_aside() && self.info.slots > 0
    }

    /// Whether it gets no tasks for a while although it is alive.
    pub(crate) fn is_set_aside(&self) -> bool {
        self.excluded || self.full
    }

    /// Whether it has no attempts.
    pub(crate) fn is_idle(&self) -> bool {
        self.load() == 0
    }

    /// Number of its attempts.
    pub(crate) fn load(&self) -> usize {
        self.running.len() + self.ahead.len() + self.publishing.len()
    }

    fn no_longer_ahead(&mut self, task: TaskId) {
        if let Some(at) = self.ahead.iter().position(|t| *t == task) {
            self.ahead.remove(at);
        }
    }

    /// The placement of an attempt that the worker reports: a free slot, or else a place in the queue.
    pub(crate) fn placement(&self, prefetch_per_slot: u32) -> Option<Placement> {
        let slots = self.info.slots as usize;
        match self.running.len() < slots {
            true if self.ahead.is_empty() => Some(Placement::Slot),
            _ => (self.ahead.len() < slots * prefetch_per_slot as usize).then_some(Placement::Queue),
        }
    }
}

#[derive(Default)]
pub(crate) struct Workers {
    all: BTreeMap<WorkerId, Worker>,
    /// Attempts that may be queued per slot of a worker.
    prefetch_per_slot: u32,
    /// Workers with a free slot that take tasks, least loaded first.
    free: BTreeSet<(u64, WorkerId)>,
    /// Workers with all slots taken and places in the queue, shortest queue first.
    places: BTreeSet<(u64, WorkerId)>,
    /// Workers with a free slot and a queued attempt.
    next: BTreeSet<WorkerId>,
    lost: VecDeque<WorkerId>,
    excluded: BTreeSet<WorkerId>,
    /// Workers reserved for a suspect.
    reserved: BTreeSet<WorkerId>,
}

impl Workers {
    /// An empty table.
    pub(crate) fn new(prefetch_per_slot: u32) -> Self {
        Workers { prefetch_per_slot, ..Workers::default() }
    }

    pub(crate) fn get(&self, id: WorkerId) -> Option<&Worker> {
        self.all.get(&id)
    }

    /// A worker that is alive, draining or not.
    pub(crate) fn live(&self, id: WorkerId) -> Option<&Worker> {
        self.all.get(&id).filter(|w| w.state != WorkerState::Lost)
    }

    pub(crate) fn live_mut(&mut self, id: WorkerId) -> Option<&mut Worker> {
        self.all.get_mut(&id).filter(|w| w.state != WorkerState::Lost)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (WorkerId, &Worker)> {
        self.all.iter().map(|(id, w)| (*id, w))
    }

    pub(crate) fn live_count(&self) -> usize {
        self.all.values().filter(|w| w.state != WorkerState::Lost).count()
    }

    /// Whether outputs of this incarnation can still be fetched.
    pub(crate) fn is_live(&self, id: WorkerId, incarnation: Incarnation) -> bool {
        self.live(id).is_some_and(|w| w.info.incarnation == incarnation)
    }

    /// Workers with a free slot, least loaded first.
    pub(crate) fn free(&self) -> impl Iterator<Item = (u64, WorkerId)> + '_ {
        self.free.iter().copied()
    }

    /// Workers that have such a placement to give, least loaded first.
    pub(crate) fn with(&self, placement: Placement) -> impl Iterator<Item = (u64, WorkerId)> + '_ {
        let list = match placement {
            Placement::Slot => &self.free,
            Placement::Queue => &self.places,
        };
        list.iter().copied()
    }

    pub(crate) fn has(&self, id: WorkerId, placement: Placement) -> bool {
        self.all.get(&id).is_some_and(|w| match w.capacity(self.prefetch_per_slot) {
            Capacity::Slot(_) => placement == Placement::Slot,
            Capacity::Queue(_) => placement == Placement::Queue,
            Capacity::Next | Capacity::None => false,
        })
    }

    /// A worker with a free slot and a queued attempt, and the task that is first in its queue.
    pub(crate) fn next(&self) -> Option<(WorkerId, TaskId)> {
        let id = *self.next.first()?;
        Some((id, *self.all.get(&id)?.ahead.front()?))
    }

    /// Slots of all live workers.
    pub(crate) fn slots(&self) -> u64 {
        self.all.values().filter(|w| w.state != WorkerState::Lost).map(|w| u64::from(w.info.slots)).sum()
    }

    /// Whether any worker takes tasks, now or when a slot becomes free, except those for which `shunned` is true.
    pub(crate) fn any_takes_tasks(&self, shunned: impl Fn(&WorkerId) -> bool) -> bool {
        self.all.iter().any(|(id, w)| w.takes_tasks() && !shunned(id))
    }

    /// Workers that are reserved, each with its suspect.
    pub(crate) fn reserved(&self) -> impl Iterator<Item = (WorkerId, TaskId)> + '_ {
        self.reserved.iter().filter_map(|id| Some((*id, self.all.get(id)?.alone?)))
    }

    /// Registers an incarnation of a worker, or the same one again; it keeps its attempts for now.
    pub(crate) fn join(&mut self, info: NodeInfo, now: Time) {
        let id = info.worker;
        self.lost.retain(|lost| *lost != id);
        if let Some(capacity) = self.all.get(&id).map(|w| w.capacity(self.prefetch_per_slot)) {
            self.unlist(id, capacity);
        }
        let before = self.all.remove(&id);
        let since = before.as_ref().filter(|w| w.info.incarnation == info.incarnation).map_or(now, |w| w.since);
        // Also for a new incarnation: the attempt that the last one ran alone is given back next.
        let alone = before.as_ref().and_then(|w| w.alone);
        let (running, ahead, publishing) = before.map(|w| (w.running, w.ahead, w.publishing)).unwrap_or_default();
        let worker = Worker {
            info,
            state: WorkerState::Live,
            since,
            running,
            ahead,
            publishing,
            faults: 0,
            exclusions: 0,
            excluded: false,
            full: false,
            reason: None,
            damaged: 0,
            alone,
            checked: now,
            graced: false,
        };
        let capacity = worker.capacity(self.prefetch_per_slot);
        self.all.insert(id, worker);
        self.note_exclusion(id);
        self.note_reservation(id);
        self.list(id, capacity);
    }

    pub(crate) fn set_state(&mut self, id: WorkerId, state: WorkerState) {
        self.change(id, |w| w.state = state);
        if state == WorkerState::Lost && self.all.contains_key(&id) {
            self.lost.retain(|lost| *lost != id);
            self.lost.push_back(id);
            if self.lost.len() > LOST_MAX
                && let Some(oldest) = self.lost.pop_front()
            {
                self.all.remove(&oldest);
                self.note_exclusion(oldest);
                self.note_reservation(oldest);
            }
        }
    }

    pub(crate) fn start(&mut self, id: WorkerId, task: TaskId) {
        self.change(id, |w| assert!(w.running.insert(task), "a task has one attempt at a time"));
    }

    /// Appends the task to the worker's queue.
    pub(crate) fn wait(&mut self, id: WorkerId, task: TaskId) {
        self.change(id, |w| w.ahead.push_back(task));
    }

    /// Gives a slot to a queued task.
    pub(crate) fn begin(&mut self, id: WorkerId, task: TaskId) {
        self.change(id, |w| {
            w.no_longer_ahead(task);
            w.running.insert(task);
        });
    }

    /// Moves the attempt from its slot to the publishing ones of its worker.
    pub(crate) fn publish(&mut self, id: WorkerId, task: TaskId) {
        self.change(id, |w| {
            w.running.remove(&task);
            w.publishing.insert(task);
        });
    }

    pub(crate) fn release(&mut self, id: WorkerId, task: TaskId) {
        self.change(id, |w| {
            if !w.running.remove(&task) && !w.publishing.remove(&task) {
                w.no_longer_ahead(task);
            }
        });
    }

    pub(crate) fn statuses(&self) -> Vec<WorkerStatus> {
        let status = |w: &Worker| WorkerStatus {
            id: w.info.worker,
            address: w.info.address.clone(),
            host: w.info.host.clone(),
            state: if w.state == WorkerState::Live && w.is_set_aside() { WorkerState::Excluded } else { w.state },
            slots: w.info.slots,
            running: w.running.len() as u32,
            memory_bytes: w.info.memory_bytes,
            version: w.info.version.clone(),
            reason: w.reason.clone(),
        };
        self.all.values().map(status).collect()
    }

    /// The orders by load hold exactly the workers that take tasks. Between two steps no attempt is queued where a
    /// slot is free.
    pub(crate) fn check(&self) -> Result<(), String> {
        let (mut free, mut places) = (BTreeSet::new(), BTreeSet::new());
        for (id, w) in &self.all {
            match w.capacity(self.prefetch_per_slot) {
                Capacity::Slot(load) => drop(free.insert((load, *id))),
                Capacity::Queue(load) => drop(places.insert((load, *id))),
                Capacity::Next => return Err(format!("{id} has a free slot, and {:?} waits there", w.ahead.front())),
                Capacity::None => {}
            }
            let most = u64::from(w.info.slots) * u64::from(self.prefetch_per_slot);
            if w.ahead.len() as u64 > most {
                return Err(format!("more wait on {id} than may"));
            }
            if !w.ahead.is_empty() && (w.is_set_aside() || w.state != WorkerState::Live) {
                return Err(format!("{id} takes no tasks, and {:?} waits there", w.ahead.front()));
            }
        }
        if free != self.free || places != self.places || !self.next.is_empty() {
            return Err("the order of workers by load is stale".into());
        }
        if !self.all.iter().filter(|(_, w)| w.excluded).map(|(id, _)| id).eq(&self.excluded) {
            return Err("the list of excluded workers is stale".into());
        }
        if !self.all.iter().filter(|(_, w)| w.alone.is_some()).map(|(id, _)| id).eq(&self.reserved) {
            return Err("the list of workers that are kept for suspects is stale".into());
        }
        Ok(())
    }

    pub(crate) fn change(&mut self, id: WorkerId, change: impl FnOnce(&mut Worker)) {
        let Some(w) = self.all.get_mut(&id) else { return };
        let before = (w.capacity(self.prefetch_per_slot), w.excluded, w.alone);
        change(w);
        let after = (w.capacity(self.prefetch_per_slot), w.excluded, w.alone);
        if after.0 != before.0 {
            self.unlist(id, before.0);
            self.list(id, after.0);
        }
        if after.1 != before.1 {
            self.note_exclusion(id);
        }
        if after.2 != before.2 {
            self.note_reservation(id);
        }
    }

    fn note_reservation(&mut self, id: WorkerId) {
        match self.all.get(&id).is_some_and(|w| w.alone.is_some()) {
            true => self.reserved.insert(id),
            false => self.reserved.remove(&id),
        };
    }

    fn note_exclusion(&mut self, id: WorkerId) {
        match self.all.get(&id).is_some_and(|w| w.excluded) {
            true => self.excluded.insert(id),
            false => self.excluded.remove(&id),
        };
    }

    /// Workers that get no tasks for a while.
    pub(crate) fn excluded(&self) -> impl Iterator<Item = (WorkerId, &Worker)> {
        self.excluded.iter().filter_map(|id| Some((*id, self.all.get(id)?)))
    }

    fn unlist(&mut self, id: WorkerId, capacity: Capacity) {
        match capacity {
            Capacity::Slot(load) => drop(self.free.remove(&(load, id))),
            Capacity::Next => drop(self.next.remove(&id)),
            Capacity::Queue(load) => drop(self.places.remove(&(load, id))),
            Capacity::None => {}
        }
    }

    fn list(&mut self, id: WorkerId, capacity: Capacity) {
        match capacity {
            Capacity::Slot(load) => drop(self.free.insert((load, id))),
            Capacity::Next => drop(self.next.insert(id)),
            Capacity::Queue(load) => drop(self.places.insert((load, id))),
            Capacity::None => {}
        }
    }
}
