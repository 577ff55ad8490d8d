//! Memory for blocks: from the heap, or a part of a slab.
//!
//! Blocks are many and of one size, and each is written once. Cut from large mappings they share huge pages, which come with one fault
//! instead of hundreds. A slab goes when its last part does.

use memmap2::MmapMut;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// Bytes that are initialised as far as they are long.
pub struct Buffer(Memory);

enum Memory {
    Heap(Vec<u8>),
    Part(Part),
}

/// A range of a slab that nobody else reaches.
struct Part {
    start: *mut u8,
    length: usize,
    slab: Arc<Slab>,
}

// SAFETY: a part is the only way to its bytes, as a `Vec` is to its own, and the slab that it keeps alive is never looked at while
// parts exist.
unsafe impl Send for Part {}
// SAFETY: shared, a part only lends its bytes for reading.
unsafe impl Sync for Part {}

/// A mapping that is cut into parts.
struct Slab {
    /// `None` only while it is dropped.
    map: Option<MmapMut>,
    give_back: fn(MmapMut),
}

impl Drop for Slab {
    fn drop(&mut self) {
        if let Some(map) = self.map.take() {
            (self.give_back)(map);
        }
    }
}

/// Cuts a mapping into buffers of so many bytes; what is left at its end is not used. When the last of them is gone, `give_back` is
/// given the mapping.
pub fn cut(mut map: MmapMut, bytes: usize, give_back: fn(MmapMut)) -> Vec<Buffer> {
    let count = map.len() / bytes.max(1);
    let start = map.as_mut_ptr();
    let slab = Arc::new(Slab { map: Some(map), give_back });
    let part = |i: usize| {
        // SAFETY: `i` is below `count`, so the part lies in the mapping, whose address does not change when it is moved.
        let start = unsafe { start.add(i * bytes) };
        Buffer(Memory::Part(Part { start, length: bytes, slab: slab.clone() }))
    };
    (0..count).map(part).collect()
}

impl Buffer {
    /// Makes it at least so long: at once, and by moving to the heap if it was a part.
    pub fn grow(&mut self, length: usize) {
        match &mut self.0 {
            Memory::Heap(bytes) => bytes.resize(length.max(bytes.len()), 0),
            Memory::Part(part) if length > part.length => {
                let mut bytes = Vec::with_capacity(length);
                bytes.extend_from_slice(self);
                bytes.resize(length, 0);
                self.0 = Memory::Heap(bytes);
            }
            Memory::Part(_) => {}
        }
    }

    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        match &self.0 {
            Memory::Heap(bytes) => bytes.capacity(),
            Memory::Part(part) => part.length,
        }
    }

    /// Which slab it is a part of, if it is one (parts of the same have the same number), and how many parts of it there are at
    /// present.
    pub fn slab(&self) -> Option<(usize, usize)> {
        match &self.0 {
            Memory::Heap(_) => None,
            Memory::Part(part) => Some((Arc::as_ptr(&part.slab).addr(), Arc::strong_count(&part.slab))),
        }
    }
}

impl Default for Buffer {
    /// Nothing, on the heap.
    fn default() -> Self {
        Buffer(Memory::Heap(Vec::new()))
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        Buffer(Memory::Heap(bytes))
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} bytes)", self.len())
    }
}

impl Deref for Buffer {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Memory::Heap(bytes) => bytes,
            // SAFETY: the part lies in a mapping that the slab keeps alive, all bytes of a mapping are initialised, and nobody but
            // this part reaches them.
            Memory::Part(part) => unsafe { std::slice::from_raw_parts(part.start, part.length) },
        }
    }
}

impl DerefMut for Buffer {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.0 {
            Memory::Heap(bytes) => bytes,
            // SAFETY: as above, and the borrow is exclusive.
            Memory::Part(part) => unsafe { std::slice::from_raw_parts_mut(part.start, part.length) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    static GIVEN_BACK: AtomicUsize = AtomicUsize::new(0);

    /// With threads, so that Miri sees what the parts share.
    #[test]
    fn parts_do_not_touch_each_other_and_the_slab_goes_with_the_last() {
        let map = MmapMut::map_anon(1000).unwrap();
        let mut parts = cut(map, 300, |map| drop(GIVEN_BACK.fetch_add(map.len(), Ordering::Relaxed)));
        assert_eq!(parts.len(), 3);
        std::thread::scope(|scope| {
            for (i, part) in parts.iter_mut().enumerate() {
                scope.spawn(move || part.fill(i as u8 + 1));
            }
        });
        assert!(parts.iter().enumerate().all(|(i, part)| part[..] == [i as u8 + 1; 300]));
        assert!(parts[0].slab().is_some_and(|slab| slab.1 == 3) && parts[0].slab() == parts[2].slab());
        parts[1].grow(300);
        assert!(parts[1].slab().is_some(), "it is long enough");
        parts[1].grow(301);
        assert!(parts[1].slab().is_none() && parts[1][..] == [&[2; 300][..], &[0]].concat());
        parts.drain(1..);
        assert_eq!(GIVEN_BACK.load(Ordering::Relaxed), 0);
        drop(parts);
        assert_eq!(GIVEN_BACK.load(Ordering::Relaxed), 1000);
    }
}
