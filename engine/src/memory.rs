//! The accountant of a process's memory: which consumer may hold how many bytes.
//!
//! A quarter of the limit is guaranteed: divided among the slots, and within a slot among the consumers of its task. It
//! is never lent, so every consumer can always work with its floor. The rest is a pool, first come, first served. A
//! consumer that finds the pool empty is refused and spills. If another consumer holds more of the pool and can spill,
//! the accountant asks that one to spill; it sees the request at its next check. No consumer waits for another. (The
//! nearest relative is Spark's memory manager, whose tasks wait for their least part.)
//!
//! Consumers that cannot spill once they are complete (a sorted input, a folded one, a table for look-ups, the values
//! of a key) take no more of the pool than an equal part for each running task, because they could not be asked to
//! return more.

mod claim;

pub use claim::{Claim, Share};

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Part of a process's memory for uncounted uses: stacks, data of the code, free memory of the heap.
const UNCOUNTED_PART: usize = 16;
/// Part of the limit that is guaranteed to the slots.
const GUARANTEED_PART: usize = 4;
/// Least number of bytes that memory which can neither spill nor wait may hold: the tables of a decoder, an ordinary
/// window, a block.
const HELD_MIN: usize = 16 << 20;
/// Part of the limit that kept outputs may always hold if it is free; beyond it they must leave as much free.
const RESIDENT_PART: usize = 4;
/// Part of the limit that recycled memory may hold. It is returned on demand, but must not fill the memory of a process
/// between two tasks.
const RECYCLED_PART: usize = 2;
/// Part of the limit that may be free in the heap without being returned to the system.
const HEAP_PART: usize = 32;
/// Consumers ask for this part of the limit at a time …
const STEP_PART: usize = 64;
/// … but for no more than this many bytes.
const STEP_MAX: usize = 1 << 20;

/// Holds memory of the pool for later use, and returns it on demand.
pub(crate) trait Reserve: fmt::Debug + Send + Sync {
    /// Returns about `bytes` bytes to this memory with [`Memory::return_recycled`]. Called without a lock on the memory.
    fn give_back(&self, memory: &Memory, bytes: usize);
}

/// The memory of one process.
#[derive(Debug)]
pub struct Memory {
    limit: usize,
    slots: usize,
    state: Mutex<State>,
    /// Set if recycled memory is a part of it.
    reserve: OnceLock<&'static dyn Reserve>,
}

#[derive(Debug, Default)]
struct State {
    /// Free bytes of the pool. Negative while a forced claim exceeds the pool.
    free: isize,
    /// Number of slots whose guaranteed part is not taken by a task.
    idle: usize,
    /// Number of running tasks.
    running: usize,
    /// Bytes of kept outputs.
    resident: usize,
    /// Bytes of recycled memory.
    recycled: usize,
    next: u64,
    claims: BTreeMap<u64, Held>,
}

/// The bytes and limits of a claim.
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
    /// The part of `bytes` that is taken from the pool.
    fn of_pool(&self, bytes: usize) -> usize {
        bytes.saturating_sub(self.floor)
    }
}

/// The reason why a claim was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The pool is empty, and no other consumer that can spill holds more of it.
    Largest,
    /// The pool is empty, and the consumer that holds most of it has been asked to spill.
    AnotherIsAsked,
    /// The inputs of a task already hold the part of the pool that is due to them.
    Due,
}

impl Memory {
    /// Creates an accountant of `limit` bytes for `slots` tasks at a time.
    pub fn new(limit: usize, slots: usize) -> Arc<Memory> {
        let slots = slots.max(1);
        let memory = Memory { limit, slots, state: Mutex::default(), reserve: OnceLock::new() };
        let mut state = memory.state();
        (state.free, state.idle) = (memory.pool() as isize, slots);
        drop(state);
        Arc::new(memory)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of the state is complete before a panic is possible.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that are guaranteed to the task of each slot.
    fn part(&self) -> usize {
        self.limit / GUARANTEED_PART / self.slots
    }

    /// Bytes of the pool: all that is not guaranteed to a slot.
    pub fn pool(&self) -> usize {
        self.limit - self.part() * self.slots
    }

    /// Most bytes that each task may hold of memory which can neither spill nor wait. It follows from the limit and the
    /// slots alone, so that a refusal does not depend on other tasks.
    fn held_max(&self) -> usize {
        (self.pool() / self.slots).max(HELD_MIN)
    }

    /// Least memory in bytes of a process with the same number of slots in which a task may hold `held` bytes.
    fn bytes_for(&self, held: usize) -> u64 {
        // Adds what `pool` and `of_process` leave out and lose by division.
        let pool = held as u128 * self.slots as u128;
        let limit = pool * GUARANTEED_PART as u128 / (GUARANTEED_PART as u128 - 1) + self.slots as u128 + 1;
        let bytes = limit * UNCOUNTED_PART as u128 / (UNCOUNTED_PART as u128 - 1) + 1;
        u64::try_from(bytes).unwrap_or(u64::MAX).div_ceil(1 << 20).saturating_mul(1 << 20)
    }

    /// Free bytes of the pool.
    pub fn free(&self) -> usize {
        self.state().free.max(0) as usize
    }

    /// Starts a task with `consumers` consumers and returns its share. The task ends when the share and all its claims
    /// are dropped. A task beyond the number of slots has no guaranteed part.
    pub fn begin(self: &Arc<Self>, consumers: usize) -> Share {
        let mut state = self.state();
        state.running += 1;
        state.next += 1;
        let has_slot = state.idle > 0;
        state.idle -= usize::from(has_slot);
        let part = if has_slot { self.part() } else { 0 };
        Share::new(state.next, self.clone(), has_slot, part, consumers)
    }

    /// Runs `f`, and once more after recycled memory has been returned if `f` fails. The error of `f` is the number of
    /// bytes that it lacks.
    fn with_room<X>(&self, mut f: impl FnMut(&mut State) -> Result<X, usize>) -> Option<X> {
        let mut state = self.state();
        let lacks = match f(&mut state) {
            Ok(x) => return Some(x),
            Err(lacks) => lacks,
        };
        let reserve = self.reserve.get().filter(|_| lacks > 0 && state.recycled > 0)?;
        // The reserve locks itself before this state.
        drop(state);
        reserve.give_back(self, lacks);
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

    /// All bytes that the process may hold.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Changes the bytes of kept outputs from an estimate to the actual number.
    pub(crate) fn resize_resident(&self, from: usize, to: usize) {
        let mut state = self.state();
        state.resident = state.resident + to - from;
        state.free += from as isize - to as isize;
    }

    /// Recycled memory is a part of this memory from now on, and `reserve` holds it.
    pub(crate) fn set_reserve(&self, reserve: &'static dyn Reserve) {
        // The process has one reserve: a second call sets the same one.
        let _ = self.reserve.set(reserve);
    }

    /// Bytes of an accountant for a process that may use `bytes` bytes of its own.
    pub(crate) fn limit_of_process(bytes: u64) -> usize {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        bytes - bytes / UNCOUNTED_PART
    }

    /// Most bytes that may be free in the heap without being returned.
    pub(crate) fn heap_max(&self) -> usize {
        self.limit / HEAP_PART
    }

    /// Most bytes of recycled memory, if no consumer needs them.
    pub(crate) fn recycled_max(&self) -> usize {
        self.limit / RECYCLED_PART
    }

    /// Takes bytes of the pool for recycled memory; returns false if they are not free.
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
    /// Bytes of the pool that are due to the inputs of each running task.
    fn due(&self, pool: usize) -> usize {
        pool.saturating_sub(self.resident) / self.running.max(1)
    }

    /// Returns whether an input would hold more of the pool than is due to the inputs of a task.
    fn exceeds_due(&self, id: u64, to: usize, pool: usize) -> bool {
        let Some(mine) = self.claims.get(&id).filter(|held| held.is_input) else { return false };
        let others =
            self.claims.iter().filter(|(other, held)| **other != id && held.is_input && held.task == mine.task);
        let others: usize = others.map(|(_, held)| held.of_pool(held.bytes)).sum();
        let wanted = mine.of_pool(to);
        wanted > 0 && others + wanted > self.due(pool)
    }

    /// Sets the bytes of a claim; with `must`, even if they are not free. The error is the number of missing bytes.
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
