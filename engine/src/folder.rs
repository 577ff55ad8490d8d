//! Folds accumulators that arrive in any order by key in bounded memory: in a table, and beyond it in sorted runs that
//! are merged.

use crate::accumulate::Accumulate;
use crate::combine::{Folding, Key, Refused, Table, Waited};
use crate::error::{EngineError, Result};
use crate::memory::Share;
use crate::pairs::Pairs;
use crate::run::{MergeTransform, Output, Runs};
use std::path::{Path, PathBuf};
use windrow_format::codec::Codec;

/// Least memory in bytes: less would make more runs than can be merged.
const MEMORY_MIN: usize = 64 << 10;

/// Takes accumulators in any order and returns one for each key.
pub struct Folder<A: Accumulate> {
    scratch: PathBuf,
    folding: Folding<A>,
    runs: Runs,
}

impl<A: Accumulate> Folder<A> {
    /// Creates a folder that uses the memory of `share` (at least 64 KiB), expects about `keys` keys and writes runs to
    /// `scratch`.
    pub fn new(accumulate: A, scratch: &Path, share: &Share, keys: usize) -> Result<Self> {
        let mut claim = share.input();
        claim.force(MEMORY_MIN);
        let table = Table::new(accumulate, claim, keys).map_err(EngineError::io("reserve memory in", scratch))?;
        let runs = Runs::new(scratch, Codec::Lz4);
        Ok(Folder { scratch: scratch.to_path_buf(), folding: Folding::new(table), runs })
    }

    /// The operations that fold values.
    pub fn accumulate(&self) -> &A {
        self.folding.table().accumulate()
    }

    /// Folds an accumulator into that of its key.
    #[inline]
    pub fn push(&mut self, key: &[u8], acc: A::Acc) -> Result<()> {
        match self.folding.push(Key::new(key), acc) {
            Ok(()) if self.folding.table().is_over() => self.check_room(),
            Ok(()) => Ok(()),
            Err(Refused { waited, acc }) => self.push_when_full(waited.as_ref().map_or(key, Waited::key), acc),
        }
    }

    #[cold]
    #[inline(never)]
    fn check_room(&mut self) -> Result<()> {
        if self.folding.table_mut().is_covered() { Ok(()) } else { self.spill() }
    }

    #[cold]
    #[inline(never)]
    fn push_when_full(&mut self, key: &[u8], acc: A::Acc) -> Result<()> {
        self.spill()?;
        // An empty table accepts any key unless the system refuses memory.
        self.folding
            .fold(key, acc)
            .map_err(|_| EngineError::io("reserve memory in", &self.scratch)(std::io::ErrorKind::OutOfMemory.into()))
    }

    #[cold]
    #[inline(never)]
    fn spill(&mut self) -> Result<()> {
        let Folder { folding, runs, .. } = self;
        if folding.table().is_empty() {
            return Ok(());
        }
        let mut value = Vec::new();
        runs.spill(|out| {
            folding.table_mut().drain_sorted(|accumulate, key, acc| {
                value.clear();
                accumulate.encode(&acc, &mut value);
                out.push(key, &value)
            })
        })?;
        runs.compact(&mut Folded::by(folding.table().accumulate()))
    }

    /// Calls `f` with every key and its accumulator, in key order if `sorted` is set, in any order otherwise. Returns
    /// the number of runs and their size in bytes.
    pub fn finish(mut self, sorted: bool, mut f: impl FnMut(&A, &[u8], A::Acc) -> Result<()>) -> Result<(u64, u64)> {
        while let Some(Refused { waited, acc }) = self.folding.flush() {
            self.push_when_full(waited.as_ref().map_or(&[], Waited::key), acc)?;
        }
        if self.runs.is_empty() {
            let table = self.folding.table_mut();
            table.claim_mut().0.mark_unspillable();
            if sorted {
                table.drain_sorted(f)?
            } else {
                table.drain(f)?
            }
            return Ok((0, 0));
        }
        self.spill()?;
        self.folding.table_mut().release();
        let spilled = self.runs.written();
        let (claim, accumulate) = self.folding.table_mut().claim_mut();
        let mut merged = self.runs.merge(claim, &mut Folded::by(accumulate))?;
        let mut key = Vec::new();
        while let Some((k, value)) = merged.peek() {
            key.clear();
            key.extend_from_slice(k);
            let mut acc = accumulate.decode(value)?;
            merged.advance()?;
            while let Some((_, value)) = merged.peek().filter(|(k, _)| *k == key) {
                accumulate.merge(&mut acc, accumulate.decode(value)?);
                merged.advance()?;
            }
            f(accumulate, &key, acc)?;
        }
        Ok(spilled)
    }
}

/// Folds neighbours with equal keys on their way through a merge.
struct Folded<'a, A: Accumulate> {
    accumulate: &'a A,
    open: Option<(Vec<u8>, A::Acc)>,
    value: Vec<u8>,
}

impl<'a, A: Accumulate> Folded<'a, A> {
    fn by(accumulate: &'a A) -> Self {
        Folded { accumulate, open: None, value: Vec::new() }
    }
}

impl<A: Accumulate> MergeTransform for Folded<'_, A> {
    fn record(&mut self, out: &mut Output, key: &[u8], value: &[u8]) -> Result<()> {
        let decoded = self.accumulate.decode(value)?;
        if let Some((open, acc)) = &mut self.open
            && open == key
        {
            self.accumulate.merge(acc, decoded);
            return Ok(());
        }
        self.end(out)?;
        self.open = Some((key.to_vec(), decoded));
        Ok(())
    }

    fn end(&mut self, out: &mut Output) -> Result<()> {
        if let Some((key, acc)) = self.open.take() {
            self.value.clear();
            self.accumulate.encode(&acc, &mut self.value);
            out.push(&key, &self.value)?;
        }
        Ok(())
    }
}
