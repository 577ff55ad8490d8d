//! The values of one key, kept while user code reads them.
//!
//! A bump allocator whose bytes live until [`GroupArena::reset`]. It takes chunks from the heap as long as it is
//! granted memory; further chunks are mapped from an unlinked file in the scratch folder, whose pages the system can
//! write out, so a key with 10^8 values needs disk instead of memory.

mod spill_file;

use crate::error::EngineError;
use crate::memory::{Claim, Share};
use crate::recycle;
use spill_file::SpillFile;
use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};

/// Smallest and largest size of a heap chunk in bytes.
const CHUNK_BYTES: [usize; 2] = [16 << 10, 1 << 20];

/// Holds the bytes of one group.
pub struct GroupArena {
    scratch: PathBuf,
    /// The address of the next free byte, and the number of free bytes after it.
    next: Cell<*mut u8>,
    left: Cell<usize>,
    chunks: RefCell<Chunks>,
}

struct Chunks {
    claim: Claim,
    /// Empty vectors; only their capacity is used.
    heap: Vec<Vec<u8>>,
    heap_bytes: usize,
    /// Number of chunks in `heap` that this group has used.
    heap_used: usize,
    file: Option<SpillFile>,
    failure: Option<EngineError>,
}

// SAFETY: `next` points into a chunk that the arena owns, also after the arena has moved.
unsafe impl Send for GroupArena {}

impl GroupArena {
    /// Creates an arena that takes memory of `share` and spills the rest to `scratch`. Allocates nothing yet.
    pub fn new(scratch: &Path, share: &Share) -> Self {
        let mut claim = share.input();
        claim.mark_unspillable();
        let chunks = Chunks { claim, heap: Vec::new(), heap_bytes: 0, heap_used: 0, file: None, failure: None };
        GroupArena {
            scratch: scratch.to_path_buf(),
            next: Cell::new(std::ptr::null_mut()),
            left: Cell::new(0),
            chunks: RefCell::new(chunks),
        }
    }

    /// Copies bytes into the arena; they stay until [`reset`](Self::reset).
    #[inline]
    pub fn alloc(&self, bytes: &[u8]) -> &[u8] {
        if bytes.is_empty() {
            return &[];
        }
        if bytes.len() > self.left.get() {
            self.open_chunk(bytes.len());
        }
        let to = self.next.get();
        // SAFETY: `to` has `left >= bytes.len()` writable bytes behind it, in a chunk that does not move and is
        // referenced only here. They are handed out once, and only `reset`, which borrows the arena mutably, frees or
        // reuses them.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
            self.next.set(to.add(bytes.len()));
            self.left.set(self.left.get() - bytes.len());
            std::slice::from_raw_parts(to, bytes.len())
        }
    }

    /// The error of the scratch file, if it could not be used. The bytes then went to the heap beyond the budget, so
    /// that lent values stay valid; the caller should fail the task.
    pub fn failure(&self) -> Option<EngineError> {
        self.chunks.borrow_mut().failure.take()
    }

    /// Frees all bytes and keeps heap chunks for the next group.
    pub fn reset(&mut self) {
        let chunks = self.chunks.get_mut();
        chunks.heap_used = 0;
        if let Some(file) = &mut chunks.file
            && let Err(e) = file.clear()
        {
            chunks.failure = Some(EngineError::io("truncate a file in", &self.scratch)(e));
            chunks.file = None;
        }
        // Return what came from the pool: most groups are small.
        let kept = chunks.claim.floor().max(CHUNK_BYTES[0]);
        while chunks.heap_bytes > kept {
            let Some(chunk) = chunks.heap.pop() else {
                break;
            };
            chunks.heap_bytes -= chunk.capacity();
            recycle::free_buffer(chunk);
        }
        chunks.claim.shrink(kept);
        self.left.set(0);
        self.next.set(std::ptr::null_mut());
    }

    #[cold]
    #[inline(never)]
    fn open_chunk(&self, bytes: usize) {
        let mut chunks = self.chunks.borrow_mut();
        let chunks = &mut *chunks;
        while let Some(chunk) = chunks.heap.get_mut(chunks.heap_used) {
            chunks.heap_used += 1;
            if chunk.capacity() >= bytes {
                return self.use_chunk(chunk.as_mut_ptr(), chunk.capacity());
            }
        }
        let size = chunks.heap_bytes.clamp(CHUNK_BYTES[0], CHUNK_BYTES[1]).max(bytes);
        if !chunks.claim.cover(chunks.heap_bytes + size) && chunks.failure.is_none() {
            match self.open_mapped(&mut chunks.file, bytes) {
                Ok((start, size)) => return self.use_chunk(start, size),
                Err(e) => chunks.failure = Some(EngineError::io("spill a group to", &self.scratch)(e)),
            }
        }
        let mut chunk = Vec::with_capacity(size);
        self.use_chunk(chunk.as_mut_ptr(), chunk.capacity());
        chunks.heap_bytes += chunk.capacity();
        chunks.heap.push(chunk);
        chunks.heap_used = chunks.heap.len();
    }

    fn open_mapped(&self, file: &mut Option<SpillFile>, bytes: usize) -> std::io::Result<(*mut u8, usize)> {
        let file = match file {
            Some(file) => file,
            None => file.insert(SpillFile::create(&self.scratch)?),
        };
        file.chunk(bytes)
    }

    fn use_chunk(&self, start: *mut u8, size: usize) {
        self.next.set(start);
        self.left.set(size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(bytes: usize) -> Share {
        Share::alone(bytes, 1)
    }

    #[test]
    fn bytes_stay_until_the_reset() {
        let mut arena = GroupArena::new(Path::new("/nonexistent"), &share(1 << 20));
        for round in 0..3u8 {
            let kept: Vec<&[u8]> = (0..2000u32).map(|i| arena.alloc(&vec![round ^ i as u8; i as usize % 50])).collect();
            for (i, bytes) in kept.iter().enumerate() {
                assert_eq!(*bytes, vec![round ^ i as u8; i % 50]);
            }
            arena.reset();
        }
        assert!(arena.failure().is_none());
    }

    #[test]
    #[cfg_attr(miri, ignore)]
    fn a_group_beyond_the_budget_lives_in_a_file() {
        let scratch = tempfile::tempdir().unwrap();
        let mut arena = GroupArena::new(scratch.path(), &share(64 << 10));
        for _ in 0..2 {
            let kept: Vec<&[u8]> = (0..30_000u32).map(|i| arena.alloc(&[i as u8; 1000])).collect();
            assert!(kept.iter().enumerate().all(|(i, b)| **b == [i as u8; 1000]));
            assert!(arena.chunks.borrow().heap_bytes <= 64 << 10);
            let huge = vec![7; 20 << 20];
            assert_eq!(arena.alloc(&huge), huge);
            arena.reset();
        }
        assert!(arena.failure().is_none());
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "the file is unlinked");
    }

    #[test]
    #[cfg_attr(miri, ignore)]
    fn failure_of_the_scratch_folder_loses_no_values() {
        let arena = GroupArena::new(Path::new("/proc/nonexistent"), &share(0));
        assert_eq!(arena.alloc(b"abc"), b"abc");
        assert!(arena.failure().is_some());
    }
}
