//! Pairs in any order, sorted by key in a fixed amount of memory: in a buffer, and beyond it in runs that are merged.

use crate::buffer::Buffer;
use crate::error::{EngineError, Result};
use crate::run::{Copied, MergedRuns, Runs};
use crate::segments::Pairs;
use crate::sort::PREFETCH;
use std::path::{Path, PathBuf};
use windrow_format::codec::Codec;

/// Less would make more runs than can be merged.
const MEMORY_MIN: usize = 64 << 10;

/// Takes pairs; equal keys keep the order of their arrival.
pub struct Sorter {
    folder: PathBuf,
    memory: usize,
    buffer: Buffer,
    runs: Runs,
}

/// What a sorter gives back.
pub struct Sorted {
    /// The pairs in order of their keys.
    pub pairs: Box<dyn Pairs>,
    /// Runs that were written, and their bytes.
    pub spilled: (u64, u64),
}

impl Sorter {
    /// Holds `memory` bytes (64 KiB at least), one record aside; runs are written to `folder`.
    pub fn new(folder: &Path, memory: usize) -> Result<Self> {
        let memory = memory.max(MEMORY_MIN);
        let buffer = Buffer::new(memory).map_err(EngineError::io("reserve memory in", folder))?;
        // Compressed: what does not fit is large.
        Ok(Sorter { folder: folder.to_path_buf(), memory, buffer, runs: Runs::new(folder, Codec::Lz4) })
    }

    /// Adds a pair.
    #[inline]
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        match self.buffer.push(key, value) {
            Ok(true) => Ok(()),
            full => self.push_when_full(full.is_err(), key, value),
        }
    }

    #[cold]
    #[inline(never)]
    fn push_when_full(&mut self, failed: bool, key: &[u8], value: &[u8]) -> Result<()> {
        self.spill()?;
        let error = EngineError::io("reserve memory in", &self.folder);
        if !failed && self.buffer.push(key, value).map_err(error)? {
            return Ok(());
        }
        // A record beyond the whole budget is a run of its own, written from where the caller has it.
        self.runs.spill(|out| out.push(key, value))?;
        self.runs.compact(&mut Copied)
    }

    fn spill(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.buffer.sort();
        let buffer = &self.buffer;
        self.runs.spill(|out| {
            let entries = buffer.entries();
            for (i, entry) in entries.iter().enumerate() {
                if let Some(ahead) = entries.get(i + PREFETCH) {
                    buffer.prefetch(ahead);
                }
                let (key, value) = buffer.record(entry);
                out.push(key, value)?;
            }
            Ok(())
        })?;
        self.buffer.clear();
        self.runs.compact(&mut Copied)
    }

    /// All pairs in order.
    pub fn finish(mut self) -> Result<Sorted> {
        if self.runs.is_empty() {
            self.buffer.sort();
            return Ok(Sorted { pairs: Box::new(Buffered { buffer: self.buffer, next: 0 }), spilled: (0, 0) });
        }
        self.spill()?;
        drop(self.buffer);
        let before = self.runs.written();
        let merged: MergedRuns = self.runs.merge(self.memory, &mut Copied)?;
        Ok(Sorted { pairs: Box::new(merged), spilled: before })
    }
}

/// A sorted buffer and the place in it.
struct Buffered {
    buffer: Buffer,
    next: usize,
}

impl Pairs for Buffered {
    #[inline]
    fn peek(&self) -> Option<(&[u8], &[u8])> {
        self.buffer.entries().get(self.next).map(|e| self.buffer.record(e))
    }
    #[inline]
    fn advance(&mut self) -> Result<()> {
        let entries = self.buffer.entries();
        if let Some(ahead) = entries.get(self.next + PREFETCH) {
            self.buffer.prefetch(ahead);
        }
        self.next += usize::from(self.next < entries.len());
        Ok(())
    }
}
