//! What a running task, and each of its consumers, has of a process's memory. A consumer owns its claim, looks at what it holds without
//! a lock, and talks to the accountant only when it needs more or gives back.

use super::{Held, Memory, RESIDENT_PART, Refused};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// What a running task has: a guaranteed part for its consumers, and access to the pool.
#[derive(Clone, Debug)]
pub struct Share(Arc<Task>);

#[derive(Debug)]
struct Task {
    id: u64,
    memory: Arc<Memory>,
    has_slot: bool,
    /// For each consumer.
    floor: usize,
    /// What of the guaranteed part no claim has.
    left: AtomicUsize,
    /// Times that consumers have spilled because others asked.
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

    /// All of a process that has so many bytes and one task with so many consumers.
    pub fn alone(limit: usize, consumers: usize) -> Share {
        Memory::new(limit, 1).begin(consumers)
    }

    /// A consumer that can spill at any time.
    pub fn output(&self) -> Claim {
        self.claim(false)
    }

    /// A consumer that cannot spill once it is complete.
    pub fn input(&self) -> Claim {
        self.claim(true)
    }

    /// Memory that can neither spill nor wait for others: see [`Claim::hold`]. It has no floor.
    pub fn fixed(&self) -> Claim {
        self.claim_with(0, false, false)
    }

    fn claim(&self, is_input: bool) -> Claim {
        let Task { floor, left, .. } = &*self.0;
        // Told to succeed always.
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

    /// Times that this task's consumers have spilled because others asked.
    pub fn yielded(&self) -> u64 {
        self.0.yielded.load(Relaxed)
    }
}

/// What one consumer of a task holds. It goes back when it is dropped.
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

    /// Bytes that it may use.
    #[inline]
    pub fn held(&self) -> usize {
        self.held
    }

    /// Bytes that it gets in any case.
    pub fn floor(&self) -> usize {
        self.floor
    }

    /// Bytes that an input could hold if others had no more than is due to theirs.
    pub fn due(&self) -> usize {
        let memory = self.memory();
        self.floor + memory.state().due(memory.pool())
    }

    /// Whether another consumer wants this one to spill.
    #[inline]
    pub fn is_asked(&self) -> bool {
        self.asked.load(Relaxed)
    }

    /// Whether so many bytes may be used, asking for more if need be; false: spill.
    #[inline]
    pub fn cover(&mut self, bytes: usize) -> bool {
        (bytes <= self.held || self.grow(bytes).is_ok()) && !self.is_asked()
    }

    /// Asks to hold so many bytes; may get a few more.
    #[cold]
    #[inline(never)]
    pub fn grow(&mut self, to: usize) -> Result<(), Refused> {
        self.grow_quietly(to).map_err(|is_due| match is_due {
            true => Refused::Due,
            false => self.memory().state().ask_largest(self.id, to),
        })
    }

    /// The same, but asks nobody to spill. An error says whether no more is due.
    pub fn grow_quietly(&mut self, to: usize) -> Result<(), bool> {
        if to > self.held {
            self.held = self.memory().grow(self.id, to)?;
        }
        Ok(())
    }

    /// Holds so many bytes even if they are not there: the least with which its consumer works at all.
    pub fn force(&mut self, bytes: usize) {
        if self.grow_quietly(bytes).is_err() {
            // Told that it must, it does.
            let _ = self.memory().state().take(self.id, bytes, true);
            self.held = bytes;
        }
    }

    /// Holds exactly so many bytes, if a task may hold so many of what can neither spill nor wait: an equal part of the pool for each slot.
    /// Others find less of the pool then, and spill.
    ///
    /// # Errors
    /// The least memory of the process, in bytes, with which it may.
    pub fn hold(&mut self, bytes: u64) -> Result<(), u64> {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        if bytes > self.memory().held_max() {
            return Err(self.memory().bytes_for(bytes));
        }
        self.shrink(bytes);
        if bytes > self.held {
            let id = self.id;
            if self.memory().with_room(|state| state.take(id, bytes, false)).is_none() {
                // Told that it must, it does.
                let _ = self.memory().state().take(id, bytes, true);
            }
            self.held = bytes;
        }
        Ok(())
    }

    /// Holds what there is, up to so many bytes; in halves of what it lacks.
    pub fn grow_towards(&mut self, bytes: usize) {
        let sure = self.held.max(self.floor);
        let mut to = bytes;
        // The floor is refused to nobody.
        while self.grow_quietly(to).is_err() && to > sure {
            to = sure + (to - sure) / 2;
        }
    }

    /// Gives back all but so many bytes.
    pub fn shrink(&mut self, to: usize) {
        if to < self.held {
            // Less is always there.
            let _ = self.memory().state().take(self.id, to, true);
            self.held = to;
        }
    }

    /// What was asked for has been given back.
    pub fn answer(&mut self) {
        if self.asked.swap(false, Relaxed) {
            self.share.0.yielded.fetch_add(1, Relaxed);
        }
    }

    /// From now on it cannot spill.
    pub fn stay(&mut self) {
        let mut state = self.share.0.memory.state();
        if let Some(held) = state.claims.get_mut(&self.id) {
            held.spills = false;
        }
        self.asked.store(false, Relaxed);
    }

    /// Passes bytes of this claim on to outputs that are kept, if they may hold them.
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
