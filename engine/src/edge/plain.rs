//! The edge that keeps every pair.

use super::{EdgeResult, EdgeSpec, Shares};
use crate::buffer::Buffer;
use crate::error::{EngineError, Result};
use crate::merge::Cursor;
use crate::partition::Router;
use crate::run::{Output, Runs, Sorted, Through};
use crate::sort::{Entry, PREFETCH};
use windrow_format::block::{self, FormatError};

/// Pairs by partition, sorted or as they arrive. Equal keys keep the order of their arrival.
pub struct PlainEdge {
    spec: EdgeSpec,
    router: Router,
    shares: Shares,
    buffer: Buffer,
    runs: Runs,
}

impl PlainEdge {
    /// An edge without pairs. Files appear when they are needed.
    pub fn new(spec: EdgeSpec) -> Result<Self> {
        let shares = Shares::of(&spec);
        let buffer = Buffer::new(shares.data).map_err(EngineError::io("reserve memory for", &spec.file))?;
        let runs = Runs::new(spec.folder.clone(), spec.identity, spec.codec, spec.order, shares.write);
        Ok(PlainEdge { router: Router::new(spec.partitioning.clone()), shares, buffer, runs, spec })
    }

    /// Adds a pair to its key's partition.
    #[inline]
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.push_to(self.router.of(key), key, value)
    }

    /// The partition that a pair with this key goes to.
    #[inline]
    pub fn partition(&self, key: &[u8]) -> u32 {
        self.router.of(key)
    }

    /// Adds a pair to this partition.
    #[inline]
    pub fn push_to(&mut self, partition: u32, key: &[u8], value: &[u8]) -> Result<()> {
        block::check_record(key, value).map_err(EngineError::Record)?;
        match self.buffer.push(partition, key, value) {
            Ok(true) => Ok(()),
            full => self.push_when_full(full.is_err(), partition, key, value),
        }
    }

    #[cold]
    #[inline(never)]
    fn push_when_full(&mut self, failed: bool, partition: u32, key: &[u8], value: &[u8]) -> Result<()> {
        self.spill()?;
        let error = EngineError::io("reserve memory for", &self.spec.file);
        if !failed && self.buffer.push(partition, key, value).map_err(error)? {
            return Ok(());
        }
        // A record beyond the whole budget is a run of its own, written from where the caller has it.
        self.runs.spill(|out| out.push(partition, key, value))
    }

    fn spill(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.buffer.sort(self.spec.order);
        let buffer = &self.buffer;
        self.runs.spill(|out| write_all(buffer, out))?;
        self.buffer.clear();
        Ok(())
    }

    /// Writes the shuffle file.
    pub fn finish(mut self) -> Result<EdgeResult> {
        let together = self.runs.fit(self.shares.merge);
        if together {
            self.buffer.sort(self.spec.order);
        } else {
            self.spill()?;
            self.buffer = Buffer::new(0).map_err(EngineError::io("release memory for", &self.spec.file))?;
            self.runs.reduce(self.shares.merge_alone, &mut Copied)?;
        }
        let mut out = Output::create(self.spec.file.clone(), self.spec.identity, self.spec.codec, self.shares.write)?;
        if self.runs.is_empty() {
            write_all(&self.buffer, &mut out)?;
        } else {
            self.runs.merge(Some(&self.buffer), &mut Copied, &mut out)?;
        }
        let segments = out.finish()?;
        Ok(EdgeResult { segments, runs: self.runs.written(), spilled_bytes: self.runs.bytes() })
    }
}

fn write_all(buffer: &Buffer, out: &mut Output) -> Result<()> {
    let entries = buffer.entries();
    for (i, entry) in entries.iter().enumerate() {
        if let Some(ahead) = entries.get(i + PREFETCH) {
            buffer.prefetch(ahead);
        }
        let (key, value) = buffer.record(entry);
        out.push(entry.partition, key, value)?;
    }
    Ok(())
}

/// Records go through a merge as they are.
struct Copied;

impl Through for Copied {
    #[inline]
    fn record(&mut self, out: &mut Output, partition: u32, key: &[u8], value: &[u8]) -> Result<()> {
        out.push(partition, key, value)
    }
    fn end(&mut self, _: &mut Output) -> Result<()> {
        Ok(())
    }
}

impl Sorted for Buffer {
    type Cursor<'a> = BufferCursor<'a>;
    fn entries(&self) -> &[Entry] {
        Buffer::entries(self)
    }
    fn cursor<'a>(&'a self, entries: &'a [Entry]) -> BufferCursor<'a> {
        BufferCursor { buffer: self, entries, next: 0 }
    }
}

/// Walks records of a sorted buffer.
pub struct BufferCursor<'a> {
    buffer: &'a Buffer,
    entries: &'a [Entry],
    next: usize,
}

impl Cursor for BufferCursor<'_> {
    #[inline]
    fn advance(&mut self) -> Result<bool, FormatError> {
        self.next += 1;
        if let Some(ahead) = self.entries.get(self.next + PREFETCH) {
            self.buffer.prefetch(ahead);
        }
        Ok(self.next <= self.entries.len())
    }
    #[inline]
    fn record(&self) -> (&[u8], &[u8]) {
        self.buffer.record(&self.entries[self.next - 1])
    }
}
