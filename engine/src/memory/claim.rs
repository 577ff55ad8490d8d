//! The part of a process's memory that a running task and each of its consumers hold. A consumer owns its claim, reads
//! its size without a lock, and calls the accountant only to get more or to return bytes.

use super::{Held, Memory, RESIDENT_PART, Refused};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// The memory of a running task: a guaranteed part for its consumers, and access to the pool.
#[derive(Clone, Debug)]
pub struct Share(Arc<Task>);

#[derive(Debug)]
struct Task {
    id: u64,
    memory: Arc<Memory>,
    has_slot: bool,
    /// Guaranteed bytes of each consumer.
    floor: usize,
    /// Bytes of the guaranteed part that no claim has taken.
    left: AtomicUsize,
    /// Number of spills of consumers at the request of another.
    yielded: AtomicU64,
}

impl Drop for Task {
    fn drop(&mut self) {
        let mut state = self.memory.state();
        state.running -= 1;
        state.idle += usize::from(self.has_slot);
    }
}

impl Share {
    pub(super) fn new(id: u64, memory: Arc<Memory>, has_slot: bool, part: usize, consumers: usize) -> Share {
        let (floor, left, yielded) = (part / consumers.max(1), AtomicUsize::new(part), AtomicU64::new(0));
        Share(Arc::new(Task { id, memory, has_slot, floor, left, yielded }))
    }

    /// All memory of a process that has `limit` bytes and one task with this number of consumers.
    pub fn alone(limit: usize, consumers: usize) -> Share {
        Memory::new(limit, 1).begin(consumers)
    }

    /// Adds a consumer that can spill at any time.
    pub fn output(&self) -> Claim {
        self.claim(false)
    }

    /// Adds a consumer that cannot spill once it is complete.
    pub fn input(&self) -> Claim {
        self.claim(true)
    }

    /// Adds memory that can neither spill nor wait for others: see [`Claim::hold`]. It has no floor.
    pub fn fixed(&self) -> Claim {
        self.claim_with(0, false, false)
    }

    fn claim(&self, is_input: bool) -> Claim {
        let Task { floor, left, .. } = &*self.0;
        // The closure always returns `Some`, so this cannot fail.
        let had = left.fetch_update(Relaxed, Relaxed, |left| Some(left.saturating_sub(*floor))).unwrap_or(0);
        self.claim_with(had.min(*floor), is_input, true)
    }

    fn claim_with(&self, floor: usize, is_input: bool, spills: bool) -> Claim {
        let Task { id: task, memory, .. } = &*self.0;
        let asked = Arc::new(AtomicBool::new(false));
        let mut state = memory.state();
        state.next += 1;
        let id = state.next;
        let held = Held { task: *task, bytes: 0, floor, is_input, spills, asked: asked.clone() };
        state.claims.insert(id, held);
        Claim { share: self.clone(), id, floor, held: 0, asked }
    }

    /// Number of times that this task's consumers have spilled at the request of another.
    pub fn yielded(&self) -> u64 {
        self.0.yielded.load(Relaxed)
    }
}

/// The memory of one consumer of a task, returned when it is dropped.
#[derive(Debug)]
pub struct Claim {
    share: Share,
    id: u64,
    floor: usize,
    held: usize,
    asked: Arc<AtomicBool>,
}

impl Claim {
    fn memory(&self) -> &Memory {
        &self.share.0.memory
    }

    /// Bytes that the consumer may use.
    #[inline]
    pub fn held(&self) -> usize {
        self.held
    }

    /// Bytes that are guaranteed to the consumer.
    pub fn floor(&self) -> usize {
        self.floor
    }

    /// Bytes that an input could hold if the other inputs held no more than is due to them.
    pub fn due(&self) -> usize {
        let memory = self.memory();
        self.floor + memory.state().due(memory.pool())
    }

    /// Returns whether another consumer has asked this one to spill.
    #[inline]
    pub fn is_asked(&self) -> bool {
        self.asked.load(Relaxed)
    }

    /// Returns whether the consumer may use this many bytes, after asking for more if needed. If not, the consumer must
    /// spill.
    #[inline]
    pub fn cover(&mut self, bytes: usize) -> bool {
        (bytes <= self.held || self.grow(bytes).is_ok()) && !self.is_asked()
    }

    /// Grows the claim to at least `to` bytes; it may get a few more.
    ///
    /// # Errors
    /// The reason of a refusal. The largest other consumer has then been asked to spill if that helps.
    #[cold]
    #[inline(never)]
    pub fn grow(&mut self, to: usize) -> Result<(), Refused> {
        self.grow_quietly(to).map_err(|is_due| match is_due {
            true => Refused::Due,
            false => self.memory().state().ask_largest(self.id, to),
        })
    }

    /// Grows the claim as [`grow`](Self::grow) does, but asks no other consumer to spill. The error is true if the
    /// refusal is because no more is due.
    pub fn grow_quietly(&mut self, to: usize) -> Result<(), bool> {
        if to > self.held {
            self.held = self.memory().grow(self.id, to)?;
        }
        Ok(())
    }

    /// Holds this many bytes even if they are not free: the least that its consumer needs to work.
    pub fn force(&mut self, bytes: usize) {
        if self.grow_quietly(bytes).is_err() {
            // With `must` this cannot fail.
            let _ = self.memory().state().take(self.id, bytes, true);
            self.held = bytes;
        }
    }

    /// Holds exactly `bytes` bytes, if they are within the equal part of the pool that each slot may hold of memory
    /// which can neither spill nor wait. Other consumers then find less of the pool, and spill.
    ///
    /// # Errors
    /// The least memory of the process, in bytes, that would be enough.
    pub fn hold(&mut self, bytes: u64) -> Result<(), u64> {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        if bytes > self.memory().held_max() {
            return Err(self.memory().bytes_for(bytes));
        }
        self.shrink(bytes);
        if bytes > self.held {
            let id = self.id;
            if self.memory().with_room(|state| state.take(id, bytes, false)).is_none() {
                // With `must` this cannot fail.
                let _ = self.memory().state().take(id, bytes, true);
            }
            self.held = bytes;
        }
        Ok(())
    }

    /// Grows the claim towards `bytes` bytes as far as the pool allows, halving the step after each refusal.
    pub fn grow_towards(&mut self, bytes: usize) {
        let sure = self.held.max(self.floor);
        let mut to = bytes;
        // A claim is always granted its floor.
        while self.grow_quietly(to).is_err() && to > sure {
            to = sure + (to - sure) / 2;
        }
    }

    /// Returns all but `to` bytes.
    pub fn shrink(&mut self, to: usize) {
        if to < self.held {
            // Shrinking cannot fail.
            let _ = self.memory().state().take(self.id, to, true);
            self.held = to;
        }
    }

    /// Clears a request to spill after the consumer has returned memory.
    pub fn answer(&mut self) {
        if self.asked.swap(false, Relaxed) {
            self.share.0.yielded.fetch_add(1, Relaxed);
        }
    }

    /// Marks that the consumer cannot spill from now on.
    pub fn mark_unspillable(&mut self) {
        let mut state = self.share.0.memory.state();
        if let Some(held) = state.claims.get_mut(&self.id) {
            held.spills = false;
        }
        self.asked.store(false, Relaxed);
    }

    /// Passes bytes of this claim on to kept outputs, if those may hold them.
    pub(crate) fn keep(&mut self, bytes: usize) -> bool {
        let (left, id) = (self.held.saturating_sub(bytes), self.id);
        let memory = self.memory();
        let part = memory.limit / RESIDENT_PART;
        let kept = memory.with_room(|state| {
            let Some(held) = state.claims.get_mut(&id) else { return Err(0) };
            let returned = held.of_pool(held.bytes) - held.of_pool(left);
            let free = state.free + returned as isize - bytes as isize;
            let is_plenty = free + state.recycled as isize >= part as isize;
            if free < 0 || (state.resident + bytes > part && !is_plenty) {
                return Err(free.min(0).unsigned_abs());
            }
            held.bytes = left;
            state.free = free;
            state.resident += bytes;
            Ok(())
        });
        if kept.is_some() {
            self.held = left;
        }
        kept.is_some()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.shrink(0);
        self.share.0.memory.state().claims.remove(&self.id);
        self.share.0.left.fetch_add(self.floor, Relaxed);
    }
}
