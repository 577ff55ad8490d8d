//! Workers as seen from here: slots, who waits for them, incarnation, drain, and orders by load of those that take tasks.
//!
//! A worker is `live → draining → lost`, or `live → lost`; a new incarnation starts over. It owns who runs what; it
//! knows nothing of jobs beyond the ids of their tasks.

use crate::action::Action;
use crate::lease::Timer;
use crate::planted::{self, Planted};
use crate::state::State;
use crate::uncharged::Cause;
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
    /// Tasks with an attempt here that waits for one, in the order in which they get it.
    pub ahead: VecDeque<TaskId>,
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
    /// Why it is excluded, drains or is lost.
    pub reason: Option<String>,
    /// Outputs of it that readers found damaged, since it was excluded last.
    pub damaged: u32,
    /// It is kept for this suspect: it gets nothing else.
    pub alone: Option<TaskId>,
    /// When the deadlines of its attempts were checked last.
    pub checked: Time,
    /// Its lease was extended once because we ourselves had slept.
    pub graced: bool,
}

/// What a task can get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placement {
    /// It can begin.
    Slot,
    /// It waits behind what runs there.
    Queue,
}

/// What a worker has to offer. The numbers say how full it is, comparable among workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Capacity {
    Slot(u64),
    /// A slot, for whoever waits there already.
    Next,
    Queue(u64),
    None,
}

impl Worker {
    fn capacity(&self, prefetch_per_slot: u32) -> Capacity {
        let (running, ahead, slots) = (self.running.len() as u64, self.ahead.len() as u64, u64::from(self.info.slots));
        let places = slots * u64::from(prefetch_per_slot) + u64::from(planted::has(Planted::OverAhead));
        let slots = slots + u64::from(planted::has(Planted::OverSlots));
        let takes = self.state == WorkerState::Live && !self.excluded && self.alone.is_none();
        match (running < slots, ahead > 0) {
            (true, true) => Capacity::Next,
            (true, false) if takes => Capacity::Slot((running << 32) / slots),
            (false, _) if takes && ahead < places => Capacity::Queue((ahead << 32) / places),
            _ => Capacity::None,
        }
    }

    /// It has nothing to do.
    pub fn is_idle(&self) -> bool {
        self.load() == 0
    }

    /// Attempts that it has.
    pub fn load(&self) -> usize {
        self.running.len() + self.ahead.len() + self.publishing.len()
    }

    fn no_longer_ahead(&mut self, task: TaskId) {
        if let Some(at) = self.ahead.iter().position(|t| *t == task) {
            self.ahead.remove(at);
        }
    }

    /// Whether an attempt that it tells of could have a slot now, or else could wait for one.
    pub fn placement(&self, prefetch_per_slot: u32) -> Option<Placement> {
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
    /// For each slot of a worker so many attempts may wait there.
    prefetch_per_slot: u32,
    /// Those that take tasks, emptiest first.
    free: BTreeSet<(u64, WorkerId)>,
    /// Those whose slots are taken, and that let others wait; the one with the fewest first.
    places: BTreeSet<(u64, WorkerId)>,
    /// Those with a free slot that somebody waits for there.
    next: BTreeSet<WorkerId>,
    lost: VecDeque<WorkerId>,
    excluded: BTreeSet<WorkerId>,
    /// Those that are kept for a suspect.
    reserved: BTreeSet<WorkerId>,
}

impl Workers {
    /// Nobody yet.
    pub fn new(prefetch_per_slot: u32) -> Self {
        Workers { prefetch_per_slot, ..Workers::default() }
    }

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

    /// Workers that have such a placement to give, the emptiest first.
    pub fn with(&self, placement: Placement) -> impl Iterator<Item = (u64, WorkerId)> + '_ {
        let list = match placement {
            Placement::Slot => &self.free,
            Placement::Queue => &self.places,
        };
        list.iter().copied()
    }

    pub fn has(&self, id: WorkerId, placement: Placement) -> bool {
        self.all.get(&id).is_some_and(|w| match w.capacity(self.prefetch_per_slot) {
            Capacity::Slot(_) => placement == Placement::Slot,
            Capacity::Queue(_) => placement == Placement::Queue,
            Capacity::Next | Capacity::None => false,
        })
    }

    /// A worker with a free slot for whoever waits there first, and that task.
    pub fn next(&self) -> Option<(WorkerId, TaskId)> {
        let id = *self.next.first()?;
        Some((id, *self.all.get(&id)?.ahead.front()?))
    }

    /// Slots of all workers that live.
    pub fn slots(&self) -> u64 {
        self.all.values().filter(|w| w.state != WorkerState::Lost).map(|w| u64::from(w.info.slots)).sum()
    }

    /// Whether any worker takes tasks, now or when a slot becomes free, but for those that `shunned` says.
    pub fn any_takes_tasks(&self, shunned: impl Fn(&WorkerId) -> bool) -> bool {
        let takes = |w: &Worker| w.state == WorkerState::Live && !w.excluded && w.info.slots > 0;
        self.all.iter().any(|(id, w)| takes(w) && !shunned(id))
    }

    /// Workers that are kept for a suspect each.
    pub fn reserved(&self) -> impl Iterator<Item = (WorkerId, TaskId)> + '_ {
        self.reserved.iter().filter_map(|id| Some((*id, self.all.get(id)?.alone?)))
    }

    /// Registers a life of a worker, or the same one again; what it runs stays for now.
    pub fn join(&mut self, info: NodeInfo, now: Time) {
        let id = info.worker;
        self.lost.retain(|lost| *lost != id);
        if let Some(capacity) = self.all.get(&id).map(|w| w.capacity(self.prefetch_per_slot)) {
            self.unlist(id, capacity);
        }
        let before = self.all.remove(&id);
        let since = before.as_ref().filter(|w| w.info.incarnation == info.incarnation).map_or(now, |w| w.since);
        // Also in a new life: what its last one ran alone is given back next.
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
                self.note_reservation(oldest);
            }
        }
    }

    pub fn start(&mut self, id: WorkerId, task: TaskId) {
        self.change(id, |w| assert!(w.running.insert(task), "a task has one attempt at a time"));
    }

    /// It gets the next slot that is free there once those before it have theirs.
    pub fn wait(&mut self, id: WorkerId, task: TaskId) {
        self.change(id, |w| w.ahead.push_back(task));
    }

    /// Whoever has waited gets a slot.
    pub fn begin(&mut self, id: WorkerId, task: TaskId) {
        self.change(id, |w| {
            w.no_longer_ahead(task);
            w.running.insert(task);
        });
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
            if !w.running.remove(&task) && !w.publishing.remove(&task) {
                w.no_longer_ahead(task);
            }
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
            reason: w.reason.clone(),
        };
        self.all.values().map(status).collect()
    }

    /// The orders by load hold exactly the workers that take tasks. Between two steps nobody waits for a slot that is free.
    pub fn check(&self) -> Result<(), String> {
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
            if !w.ahead.is_empty() && (w.excluded || w.state != WorkerState::Live) {
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

    pub fn change(&mut self, id: WorkerId, change: impl FnOnce(&mut Worker)) {
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

    /// Those that get no tasks for a while.
    pub fn excluded(&self) -> impl Iterator<Item = (WorkerId, &Worker)> {
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

impl State {
    pub fn handle_drains(&mut self, id: WorkerId) {
        self.renew_lease(id);
        if self.workers.live(id).is_some() {
            self.workers.set_state(id, WorkerState::Draining);
            self.workers.change(id, |w| w.reason = Some("it was told to drain, or is stopping".to_string()));
            self.take_back_all(id);
            self.ensure_eligible_worker();
        }
    }

    /// Its session ended, or its lease ran out: the reason says which.
    pub fn lose_worker(&mut self, id: WorkerId, reason: &str) {
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

    /// Attempts that were on a worker which is gone or does not have them are not charged: `gone` says why, if they are. Those
    /// that waited there have not even begun: they wait again.
    pub fn give_back(&mut self, id: WorkerId, gone: impl Fn(AttemptId) -> Option<(Cause, &'static str)>) {
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
