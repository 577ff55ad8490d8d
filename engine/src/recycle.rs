//! Recycles memory between tasks, so that the next task does not get fresh pages, which the system zeroes first.
//!
//! Recycled memory counts as part of a process's [memory](crate::memory) from [`attach`] on; before that nothing is
//! kept. It is returned first when a consumer needs more. Kept are the buffers of blocks, and mapped regions, some of
//! which are known to be empty tables.

use crate::heap;
use crate::memory::{Memory, Reserve};
use memmap2::MmapMut;
use std::sync::{Arc, Mutex, PoisonError};
use windrow_format::block::{HEADER_BYTES, RAW_TARGET};

/// A region may serve a smaller request if it is at most this many times larger.
const SLACK: usize = 2;
/// Bytes are claimed and returned in multiples of this, because buffers come and go.
const STEP: usize = 1 << 20;

struct Kept {
    memory: Option<Arc<Memory>>,
    /// Bytes that are claimed from `memory`.
    granted: usize,
    /// Bytes of buffers and regions, including the unused rest of regions in use.
    bytes: usize,
    buffers: Vec<Vec<u8>>,
    maps: Vec<(MmapMut, Contents)>,
}

/// The contents of a mapped region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Arbitrary bytes.
    Arbitrary,
    /// Empty slots of this many bytes each.
    EmptySlots(usize),
}

static KEPT: Mutex<Kept> =
    Mutex::new(Kept { memory: None, granted: 0, bytes: 0, buffers: Vec::new(), maps: Vec::new() });

fn kept() -> std::sync::MutexGuard<'static, Kept> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Kept {
    /// Returns whether this many more bytes may be kept; claims more memory if needed.
    fn has_room(&mut self, bytes: usize) -> bool {
        let Some(memory) = &self.memory else { return false };
        let lacks = (self.bytes + bytes).saturating_sub(self.granted);
        if lacks == 0 {
            return true;
        }
        // Claim a whole step, or else only the missing bytes.
        let asked = [lacks.next_multiple_of(STEP), lacks].into_iter().find(|bytes| memory.take_recycled(*bytes));
        self.granted += asked.unwrap_or(0);
        asked.is_some()
    }

    /// Returns memory that is claimed but unused: all of it, or only if it is worth a call.
    fn settle(&mut self, all: bool) {
        let spare = self.granted.saturating_sub(self.bytes);
        if let Some(memory) = &self.memory
            && spare >= if all { 1 } else { 2 * STEP }
        {
            memory.return_recycled(spare);
            self.granted -= spare;
        }
    }

    fn drop_oldest_map(&mut self) -> bool {
        if self.maps.is_empty() {
            return false;
        }
        let (oldest, _) = self.maps.remove(0);
        self.bytes -= oldest.len();
        true
    }

    /// Drops buffers and regions until `bytes` fewer bytes are kept, or none is left. Returns the bytes that were freed
    /// on the heap.
    #[must_use]
    fn drop_bytes(&mut self, bytes: usize) -> usize {
        let target = self.bytes.saturating_sub(bytes);
        let mut freed = 0;
        while self.bytes > target {
            match self.buffers.pop() {
                Some(buffer) => {
                    self.bytes -= buffer.capacity();
                    freed += buffer.capacity();
                }
                None if !self.drop_oldest_map() => break,
                None => {}
            }
        }
        freed
    }
}

impl Memory {
    /// The memory of this process, which may use `bytes` bytes of its own. Recycled memory is a part of it.
    pub fn of_process(bytes: u64, slots: usize) -> Arc<Memory> {
        let memory = Memory::new(Memory::limit_of_process(bytes), slots);
        attach(&memory);
        memory
    }
}

/// Makes recycled memory a part of this memory from now on.
pub fn attach(memory: &Arc<Memory>) {
    memory.set_reserve(&Recycler);
    heap::keep_at_most(memory.heap_max());
    let mut kept = kept();
    let had = std::mem::take(&mut kept.granted);
    if let Some(before) = kept.memory.replace(memory.clone()) {
        before.return_recycled(had);
    }
    let freed = if kept.has_room(0) { 0 } else { kept.drop_bytes(usize::MAX) };
    drop(kept);
    heap::freed(freed);
}

/// The recycled memory of the process, as the accountant of its memory sees it.
#[derive(Debug)]
struct Recycler;

impl Reserve for Recycler {
    fn give_back(&self, memory: &Memory, bytes: usize) {
        let mut kept = kept();
        if kept.memory.as_ref().is_some_and(|attached| std::ptr::eq(&**attached, memory)) {
            let spare = kept.granted.saturating_sub(kept.bytes);
            // Drop no more than is needed: a consumer that asks often must not empty the cache.
            let freed = kept.drop_bytes(bytes.saturating_sub(spare));
            kept.settle(true);
            drop(kept);
            heap::freed(freed);
        }
    }
}

/// A buffer of about `bytes` bytes. A request of the usual block size may get a recycled buffer.
pub fn take_buffer(bytes: usize) -> Vec<u8> {
    if bytes >= RAW_TARGET {
        let mut kept = kept();
        if let Some(buffer) = kept.buffers.pop() {
            kept.bytes -= buffer.capacity();
            kept.settle(false);
            return buffer;
        }
    }
    vec![0; bytes]
}

/// Recycles a buffer of the usual block size if there is room.
pub fn give_buffer(buffer: Vec<u8>) {
    // Buffers grow by doubling; one that has grown for a long record is not worth keeping.
    if !(RAW_TARGET..=SLACK * (RAW_TARGET + HEADER_BYTES)).contains(&buffer.capacity()) {
        return free_buffer(buffer);
    }
    let mut kept = kept();
    if kept.has_room(buffer.capacity()) {
        kept.bytes += buffer.capacity();
        kept.buffers.push(buffer);
    } else {
        drop(kept);
        free_buffer(buffer);
    }
}

/// Frees a buffer without recycling it.
pub(crate) fn free_buffer(buffer: Vec<u8>) {
    let bytes = buffer.capacity();
    drop(buffer);
    heap::freed(bytes);
}

/// A region of at least `bytes` bytes with these contents, if there is one that is not much larger; a region of empty
/// slots has exactly this size. Its unused rest still counts here.
pub fn take_map(bytes: usize, contents: Contents) -> Option<MmapMut> {
    let mut kept = kept();
    let fits = |(map, have): &(MmapMut, Contents)| match contents {
        Contents::Arbitrary => (bytes..=bytes.saturating_mul(SLACK)).contains(&map.len()),
        Contents::EmptySlots(_) => map.len() == bytes && *have == contents,
    };
    let at = kept.maps.iter().rposition(fits)?;
    let (map, _) = kept.maps.swap_remove(at);
    kept.bytes -= bytes;
    kept.settle(false);
    Some(map)
}

/// Recycles a region of which `used` bytes were used; the oldest regions make room for it.
pub fn give_map(map: MmapMut, used: usize, contents: Contents) {
    let mut kept = kept();
    // Regions that were newly mapped, or whose rest was returned with an earlier memory, are not counted yet.
    kept.bytes = kept.bytes.saturating_sub(map.len() - used);
    let fits = kept.memory.as_ref().is_some_and(|memory| map.len() <= memory.recycled_max());
    if !fits {
        return kept.settle(false);
    }
    while !kept.has_room(map.len()) {
        if !kept.drop_oldest_map() {
            return kept.settle(false);
        }
    }
    kept.bytes += map.len();
    kept.maps.push((map, contents));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::region::Region;

    fn map(bytes: usize) -> MmapMut {
        MmapMut::map_anon(bytes).unwrap()
    }

    /// The only test of this crate that attaches memory, because the recycler is global to the process.
    #[test]
    fn recycled_memory_fits_and_stays_within_its_part() {
        let memory = Memory::new(160 << 20, 1);
        attach(&memory);
        let size = 4 << 20;
        let give = |bytes, contents| give_map(map(bytes), bytes, contents);
        assert!(take_map(size, Contents::Arbitrary).is_none_or(|map| map.len() >= size));
        give(size, Contents::EmptySlots(48));
        assert!(take_map(size, Contents::EmptySlots(32)).is_none(), "slots of another size");
        assert!(take_map(size / 2, Contents::EmptySlots(48)).is_none(), "fewer slots");
        assert!(take_map(size, Contents::EmptySlots(48)).is_some_and(|map| map.len() == size));
        give(size, Contents::EmptySlots(48));
        let smaller = take_map(size / 2, Contents::Arbitrary);
        assert!(smaller.is_some(), "memory is memory");
        assert_eq!(kept().bytes, size / 2, "what it has beyond what was asked for still counts");
        give_map(smaller.unwrap(), size / 2, Contents::Arbitrary);
        assert_eq!(kept().bytes, size);
        (0..25).for_each(|_| give(size, Contents::Arbitrary));
        give(81 << 20, Contents::Arbitrary);
        assert!((size..=80 << 20).contains(&kept().bytes));
        assert!(memory.free() < memory.pool());
        // A consumer needs all memory.
        let share = memory.begin(1);
        let mut claim = share.output();
        assert!(claim.cover(160 << 20));
        assert_eq!((kept().bytes, memory.free()), (0, 0));
        give(size, Contents::Arbitrary);
        give_buffer(vec![0; RAW_TARGET]);
        assert_eq!(kept().bytes, 0);
        drop(claim);
        give_buffer(vec![0; 100]);
        assert_eq!(kept().bytes, 0);
        give_buffer(vec![0; RAW_TARGET]);
        assert!(kept().bytes > 0 && take_buffer(RAW_TARGET).len() == RAW_TARGET);
        // Empty slots at the start of a larger mapping do not make all of it empty.
        let words = size / 8;
        Region::<u64>::arbitrary(words).unwrap().as_mut_slice().fill(7);
        let mut slots = Region::<u64>::empty_slots(words / 4 * 3).unwrap();
        assert!(slots.as_slice().iter().all(|word| *word == 0));
        slots.declare_empty();
        drop(slots);
        assert!(Region::<u64>::empty_slots(words).unwrap().as_slice().iter().all(|word| *word == 0));
        attach(&Memory::new(0, 1));
        assert_eq!((kept().bytes, memory.free()), (0, memory.pool()));
        give(size, Contents::Arbitrary);
        give_buffer(vec![0; RAW_TARGET]);
        assert_eq!(kept().bytes, 0);
    }
}
