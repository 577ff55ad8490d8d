//! Who may hold how much of a process's memory.
//!
//! A quarter of the limit is guaranteed: divided by the slots, and what a slot's task gets by its consumers. It is never lent, so
//! every consumer can always work with its floor. The rest is a pool, first come, first served. A consumer that finds the pool
//! empty is refused and spills; if another holds more of the pool and can spill, that one is asked to, and sees it when it looks next.
//! Nobody waits for anybody. (Spark's memory manager, whose tasks wait for their least part, is the nearest relative.)
//!
//! What cannot spill once it is complete (a sorted input, a folded one, a table for look-ups, the values of a key) takes no more of
//! the pool than an equal part for each running task: nobody could ask it for more back.

mod claim;

pub use claim::{Claim, Share};

use crate::recycle;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// This part of a process's memory is for what nobody counts: stacks, code's own data, what the heap has free.
const UNCOUNTED_PART: usize = 16;
/// This part of the limit is guaranteed to the slots.
const GUARANTEED_PART: usize = 4;
/// What can neither spill nor wait may hold so much in any case: a decoder's tables, an ordinary window, a block.
const HELD_MIN: usize = 16 << 20;
/// Kept outputs may have this part of the limit if there is that much; beyond it they leave as much free.
const RESIDENT_PART: usize = 4;
/// Used memory that waits for its next use may have this part. It is there for whoever asks, but a process between two tasks should
/// not have all.
const RECYCLED_PART: usize = 2;
/// Of what the heap has free no more than this part stays there.
const HEAP_PART: usize = 32;
/// Consumers ask for this part of the limit at a time …
const STEP_PART: usize = 64;
/// … but for no more than this.
const STEP_MAX: usize = 1 << 20;

/// The memory of one process.
#[derive(Debug)]
pub struct Memory {
    limit: usize,
    slots: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes of the pool that nobody has. Negative while a least amount is held that was not there.
    free: isize,
    /// Slots whose guaranteed part no task has.
    idle: usize,
    /// Running tasks.
    running: usize,
    /// Bytes of kept outputs.
    resident: usize,
    /// Bytes that wait for their next use.
    recycled: usize,
    next: u64,
    claims: BTreeMap<u64, Held>,
}

/// What a claim has.
#[derive(Debug)]
struct Held {
    task: u64,
    bytes: usize,
    floor: usize,
    is_input: bool,
    /// Whether it can spill.
    spills: bool,
    asked: Arc<AtomicBool>,
}

impl Held {
    /// What so many bytes take from the pool.
    fn of_pool(&self, bytes: usize) -> usize {
        bytes.saturating_sub(self.floor)
    }
}

/// Why a claim was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The pool is empty, and no other consumer that can spill holds more of it.
    Largest,
    /// The pool is empty, and the one that holds most of it has been asked to spill.
    AnotherIsAsked,
    /// A running task's inputs hold what is due to them.
    Due,
}

impl Memory {
    /// The memory of this process, which may have so many bytes of its own. What waits for its next use is a part of it.
    pub fn of_process(bytes: u64, slots: usize) -> Arc<Memory> {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let memory = Memory::new(bytes - bytes / UNCOUNTED_PART, slots);
        recycle::attach(&memory);
        memory
    }

    /// So many bytes for so many tasks at a time.
    pub fn new(limit: usize, slots: usize) -> Arc<Memory> {
        let slots = slots.max(1);
        let memory = Memory { limit, slots, state: Mutex::default() };
        let mut state = memory.state();
        (state.free, state.idle) = (memory.pool() as isize, slots);
        drop(state);
        Arc::new(memory)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of it is complete before anything could panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a slot's task has in any case.
    fn part(&self) -> usize {
        self.limit / GUARANTEED_PART / self.slots
    }

    /// Bytes that are not guaranteed to anybody.
    pub fn pool(&self) -> usize {
        self.limit - self.part() * self.slots
    }

    /// As many bytes each slot's task may hold of what can neither spill nor wait. It follows from the limit and the slots alone, so
    /// that what is refused does not depend on what else runs.
    fn held_max(&self) -> usize {
        (self.pool() / self.slots).max(HELD_MIN)
    }

    /// The least memory of a process with as many slots in which a task may hold so many bytes.
    fn bytes_for(&self, held: usize) -> u64 {
        // What `pool` and `of_process` leave out, and what they lose in dividing.
        let pool = held as u128 * self.slots as u128;
        let limit = pool * GUARANTEED_PART as u128 / (GUARANTEED_PART as u128 - 1) + self.slots as u128 + 1;
        let bytes = limit * UNCOUNTED_PART as u128 / (UNCOUNTED_PART as u128 - 1) + 1;
        u64::try_from(bytes).unwrap_or(u64::MAX).div_ceil(1 << 20).saturating_mul(1 << 20)
    }

    /// Bytes of the pool that nobody has.
    pub fn free(&self) -> usize {
        self.state().free.max(0) as usize
    }

    /// The share of a task that begins, with so many consumers. It ends when the share and all its claims are dropped. A task
    /// beyond the number of slots has the pool alone.
    pub fn begin(self: &Arc<Self>, consumers: usize) -> Share {
        let mut state = self.state();
        state.running += 1;
        state.next += 1;
        let has_slot = state.idle > 0;
        state.idle -= usize::from(has_slot);
        let part = if has_slot { self.part() } else { 0 };
        Share::new(state.next, self.clone(), has_slot, part, consumers)
    }

    /// Runs `f` until it has found room, at most once more after recycled memory has been given back. `f` says how much it lacks.
    fn with_room<X>(&self, mut f: impl FnMut(&mut State) -> Result<X, usize>) -> Option<X> {
        let mut state = self.state();
        let lacks = match f(&mut state) {
            Ok(x) => return Some(x),
            Err(lacks) => lacks,
        };
        if lacks == 0 || state.recycled == 0 {
            return None;
        }
        // It locks its own state first, then this one.
        drop(state);
        recycle::give_back(self, lacks);
        f(&mut self.state()).ok()
    }

    fn grow(&self, id: u64, to: usize) -> Result<usize, bool> {
        let step = (self.limit / STEP_PART).clamp(1, STEP_MAX);
        let stepped = to.checked_next_multiple_of(step).unwrap_or(to);
        let mut is_due = false;
        let granted = self.with_room(|state| {
            if state.exceeds_due(id, to, self.pool()) {
                is_due = true;
                return Err(0);
            }
            let fits = |state: &mut State, to| state.take(id, to, false).map(|()| to);
            if !state.exceeds_due(id, stepped, self.pool()) && fits(state, stepped).is_ok() {
                return Ok(stepped);
            }
            fits(state, to)
        });
        granted.ok_or(is_due)
    }

    /// Changes what kept outputs hold to what they turned out to need.
    pub(crate) fn resize_resident(&self, from: usize, to: usize) {
        let mut state = self.state();
        state.resident = state.resident + to - from;
        state.free += from as isize - to as isize;
    }

    /// As many bytes may be free and still in the heap.
    pub(crate) fn heap_max(&self) -> usize {
        self.limit / HEAP_PART
    }

    /// As many bytes may wait for their next use, if nobody needs them.
    pub(crate) fn recycled_max(&self) -> usize {
        self.limit / RECYCLED_PART
    }

    /// Whether so many more bytes may wait for their next use.
    pub(crate) fn take_recycled(&self, bytes: usize) -> bool {
        let mut state = self.state();
        let fits = state.free >= bytes as isize && state.recycled + bytes <= self.recycled_max();
        if fits {
            state.free -= bytes as isize;
            state.recycled += bytes;
        }
        fits
    }

    pub(crate) fn return_recycled(&self, bytes: usize) {
        let mut state = self.state();
        state.free += bytes as isize;
        state.recycled -= bytes;
    }
}

impl State {
    /// What of the pool is due to a running task's inputs.
    fn due(&self, pool: usize) -> usize {
        pool.saturating_sub(self.resident) / self.running.max(1)
    }

    /// Whether an input would have more of the pool than is due to a running task's.
    fn exceeds_due(&self, id: u64, to: usize, pool: usize) -> bool {
        let Some(mine) = self.claims.get(&id).filter(|held| held.is_input) else { return false };
        let others =
            self.claims.iter().filter(|(other, held)| **other != id && held.is_input && held.task == mine.task);
        let others: usize = others.map(|(_, held)| held.of_pool(held.bytes)).sum();
        let wanted = mine.of_pool(to);
        wanted > 0 && others + wanted > self.due(pool)
    }

    /// Lets a claim hold so many bytes, even if they are not there if it must. An error says how many lack.
    fn take(&mut self, id: u64, to: usize, must: bool) -> Result<(), usize> {
        let State { free, claims, .. } = self;
        let Some(held) = claims.get_mut(&id) else { return Ok(()) };
        let more = held.of_pool(to) as isize - held.of_pool(held.bytes) as isize;
        if more > *free && more > 0 && !must {
            return Err(more.saturating_sub(*free) as usize);
        }
        *free -= more;
        held.bytes = to;
        Ok(())
    }

    fn ask_largest(&self, id: u64, to: usize) -> Refused {
        let mine = self.claims.get(&id).map_or(0, |held| held.of_pool(to));
        let others = self.claims.iter().filter(|(other, held)| **other != id && held.spills);
        match others.map(|(_, held)| held).max_by_key(|held| held.of_pool(held.bytes)) {
            Some(largest) if largest.of_pool(largest.bytes) > mine => {
                largest.asked.store(true, Relaxed);
                Refused::AnotherIsAsked
            }
            _ => Refused::Largest,
        }
    }
}
