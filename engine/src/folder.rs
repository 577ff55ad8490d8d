//! Folds accumulators that arrive in any order by key in bounded memory: in a table, and beyond it in sorted runs that
//! are merged.

use crate::accumulate::Accumulate;
use crate::combine::{Full, Key, Table};
use crate::error::{EngineError, Result};
use crate::memory::Share;
use crate::pairs::Pairs;
use crate::run::{MergeTransform, Output, Runs};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use windrow_format::codec::Codec;
use windrow_format::segment::{BATCH, Batch};

/// Least memory in bytes: less would make more runs than can be merged.
const MEMORY_MIN: usize = 64 << 10;

/// Takes accumulators in any order and returns one for each key.
pub struct Folder<A: Accumulate> {
    scratch: PathBuf,
    table: Table<A>,
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
        Ok(Folder { scratch: scratch.to_path_buf(), table, runs })
    }

    /// The operations that fold values.
    pub fn accumulate(&self) -> &A {
        self.table.accumulate()
    }

    /// Folds pairs whose values are encoded accumulators. The slots of all are requested from memory before the first pair
    /// is folded, so that cache misses overlap.
    #[inline]
    pub fn push_batch(&mut self, pairs: Batch<'_>) -> Result<()> {
        let mut hashed = [([0; 2], NonZeroU64::MIN); BATCH];
        let mut has_long = false;
        for (to, (bytes, _)) in hashed.iter_mut().zip(pairs.iter()) {
            let key = Key::new(bytes);
            self.table.prefetch(key);
            has_long |= key.long().is_some();
            *to = (key.words(), key.meta());
        }
        if has_long {
            hashed[..pairs.len()].iter().for_each(|(_, meta)| self.table.prefetch_bytes(*meta));
        }
        for ((words, meta), (bytes, value)) in hashed.into_iter().zip(pairs.iter()) {
            match self.table.fold_encoded(Key::from_parts(words, meta, bytes), value)? {
                Ok(()) if self.table.is_over() => self.check_room()?,
                Ok(()) => {}
                Err(Full(acc)) => self.fold_when_full(bytes, acc)?,
            }
        }
        Ok(())
    }

    /// Folds an accumulator into that of its key.
    #[inline]
    pub fn push(&mut self, key: &[u8], acc: A::Acc) -> Result<()> {
        match self.table.fold(Key::new(key), acc) {
            Ok(()) if self.table.is_over() => self.check_room(),
            Ok(()) => Ok(()),
            Err(Full(acc)) => self.fold_when_full(key, acc),
        }
    }

    #[cold]
    #[inline(never)]
    fn check_room(&mut self) -> Result<()> {
        if self.table.is_covered() { Ok(()) } else { self.spill() }
    }

    #[cold]
    #[inline(never)]
    fn fold_when_full(&mut self, key: &[u8], acc: A::Acc) -> Result<()> {
        self.spill()?;
        // An empty table accepts any key unless the system refuses memory.
        self.table.fold(Key::new(key), acc).map_err(|Full(_)| {
            EngineError::io("reserve memory in", &self.scratch)(std::io::ErrorKind::OutOfMemory.into())
        })
    }

    #[cold]
    #[inline(never)]
    fn spill(&mut self) -> Result<()> {
        let Folder { table, runs, .. } = self;
        if table.is_empty() {
            return Ok(());
        }
        let mut value = Vec::new();
        runs.spill(|out| {
            table.drain_sorted(|accumulate, key, acc| {
                value.clear();
                accumulate.encode(&acc, &mut value);
                out.push(key, &value)
            })
        })?;
        runs.compact(&mut Folded::by(table.accumulate()))
    }

    /// Calls `f` with every key and its accumulator, in key order if `sorted` is set, in any order otherwise. Returns
    /// the number of runs and their size in bytes.
    pub fn finish(mut self, sorted: bool, mut f: impl FnMut(&A, &[u8], A::Acc) -> Result<()>) -> Result<(u64, u64)> {
        if self.runs.is_empty() {
            let table = &mut self.table;
            table.claim_mut().0.mark_unspillable();
            if sorted {
                table.drain_sorted(f)?
            } else {
                table.drain(f)?
            }
            return Ok((0, 0));
        }
        self.spill()?;
        self.table.release();
        let spilled = self.runs.written();
        let (claim, accumulate) = self.table.claim_mut();
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
