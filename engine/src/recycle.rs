//! Memory that outlives its task, so that the next one is not given fresh pages, which the system zeroes first.
//!
//! A part of the process's memory is set apart for it ([`reserve`]); without that nothing is kept. What is kept: buffers of blocks,
//! and mapped regions, of which some are known to be empty tables.

use memmap2::MmapMut;
use std::sync::{Mutex, PoisonError};

/// This part of all memory is set apart.
const PART: usize = 16;
/// A region is used for something smaller if that is at least so many times smaller, rounded up.
const SLACK: usize = 2;

struct Kept {
    limit: usize,
    bytes: usize,
    buffers: Vec<Vec<u8>>,
    maps: Vec<(MmapMut, Contents)>,
}

/// What is in a mapped region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Anything.
    Arbitrary,
    /// Empty slots of this many bytes each.
    EmptySlots(usize),
}

static KEPT: Mutex<Kept> = Mutex::new(Kept { limit: 0, bytes: 0, buffers: Vec::new(), maps: Vec::new() });

fn kept() -> std::sync::MutexGuard<'static, Kept> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sets a sixteenth of a process's memory apart, and says how many bytes are left for its tasks.
pub fn reserve(memory_bytes: usize) -> usize {
    let mut kept = kept();
    kept.limit = memory_bytes / PART;
    memory_bytes - kept.limit
}

/// A buffer that was used before, or else a new one of so many bytes.
pub fn take_buffer(bytes: usize) -> Vec<u8> {
    let mut kept = kept();
    match kept.buffers.pop() {
        Some(buffer) => {
            kept.bytes -= buffer.capacity();
            buffer
        }
        None => {
            drop(kept);
            vec![0; bytes]
        }
    }
}

/// Keeps a buffer if there is room.
pub fn give_buffer(buffer: Vec<u8>) {
    let mut kept = kept();
    if kept.bytes + buffer.capacity() <= kept.limit {
        kept.bytes += buffer.capacity();
        kept.buffers.push(buffer);
    }
}

/// A region of at least so many bytes with these contents, if there is one that is not much larger; one of empty slots is just
/// as large.
pub fn take_map(bytes: usize, contents: Contents) -> Option<MmapMut> {
    let mut kept = kept();
    let fits = |(map, have): &(MmapMut, Contents)| match contents {
        Contents::Arbitrary => (bytes..=bytes.saturating_mul(SLACK)).contains(&map.len()),
        Contents::EmptySlots(_) => map.len() == bytes && *have == contents,
    };
    let at = kept.maps.iter().rposition(fits)?;
    let (map, _) = kept.maps.swap_remove(at);
    kept.bytes -= map.len();
    Some(map)
}

/// Keeps a region, in the place of those that have waited longest if there is no other.
pub fn give_map(map: MmapMut, contents: Contents) {
    let mut kept = kept();
    while kept.bytes + map.len() > kept.limit {
        if kept.maps.is_empty() {
            return;
        }
        let (oldest, _) = kept.maps.remove(0);
        kept.bytes -= oldest.len();
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

    /// The only test that sets a part apart: everything here is the whole process's.
    #[test]
    fn what_is_kept_fits_and_stays_within_its_part() {
        assert_eq!(reserve(160 << 20), 150 << 20);
        let size = 4 << 20;
        assert!(take_map(size, Contents::Arbitrary).is_none_or(|map| map.len() >= size));
        give_map(map(size), Contents::EmptySlots(48));
        assert!(take_map(size, Contents::EmptySlots(32)).is_none(), "slots of another size");
        assert!(take_map(size / 2, Contents::EmptySlots(48)).is_none(), "fewer slots");
        assert!(take_map(size, Contents::EmptySlots(48)).is_some_and(|map| map.len() == size));
        give_map(map(size), Contents::EmptySlots(48));
        assert!(take_map(size / 2, Contents::Arbitrary).is_some(), "memory is memory");
        (0..9).for_each(|_| give_map(map(size), Contents::Arbitrary));
        give_map(map(11 << 20), Contents::Arbitrary);
        assert!(kept().bytes <= 10 << 20);
        while take_map(1, Contents::Arbitrary).or_else(|| take_map(size, Contents::Arbitrary)).is_some() {}
        // Empty slots at the beginning of a larger mapping do not make all of it empty.
        let words = size / 8;
        Region::<u64>::arbitrary(words).unwrap().as_mut_slice().fill(7);
        let mut slots = Region::<u64>::empty_slots(words / 4 * 3).unwrap();
        assert!(slots.as_slice().iter().all(|word| *word == 0));
        slots.declare_empty();
        drop(slots);
        assert!(Region::<u64>::empty_slots(words).unwrap().as_slice().iter().all(|word| *word == 0));
        assert_eq!(reserve(0), 0);
        give_map(map(size), Contents::Arbitrary);
        give_buffer(vec![0; 100]);
        assert_eq!(kept().bytes, 0);
    }
}
