//! The edge that folds pairs of equal keys.
//!
//! Folding pays where keys repeat. A small table shows whether they do: if hardly any pair has found its key in it, the
//! edge passes pairs on unfolded for a while (the reader folds them anyway) and then tries again. A stream of mostly
//! distinct keys thus costs no cache misses here. The decision depends on the pairs alone.

use super::{EdgeResult, EdgeSpec, PlainEdge};
use crate::accumulate::Accumulate;
use crate::combine::{Folding, Key, Refused, Short, Table, Waited, history};
use crate::error::{EngineError, Result};
use windrow_format::digest;

/// The table is on trial until it needs more than this many bytes: about the size of the second-level cache.
const TRIAL_BYTES: usize = 1 << 20;
/// Pairs per key from which on a trial shows that folding pays.
const COMBINE_RATIO_MIN: f64 = 1.25;
/// After a failed trial this many pairs are passed on for every key that was tried.
const PASSED_FOR_A_KEY: u64 = 32;

/// Writes at least one pair for each distinct key, by partition.
pub struct CombinedEdge<A: Accumulate> {
    out: PlainEdge,
    spec: EdgeSpec,
    folding: Folding<A>,
    on_trial: bool,
    /// Pairs folded since the table was last empty.
    folded: u64,
    /// Pairs that are still to be passed on unfolded.
    passing: u64,
    /// Most keys that the table has held.
    keys: usize,
    /// Digest of all keys that were pushed.
    digest: u64,
    /// Buffer for a stored accumulator; empty between calls.
    value: Vec<u8>,
}

impl<A: Accumulate> CombinedEdge<A> {
    /// Creates an edge without pairs. Files are created when they are needed.
    pub fn new(spec: EdgeSpec, accumulate: A) -> Result<Self> {
        // A table that is drained needs room for blocks at the same time, so table and blocks are two consumers.
        let claim = spec.share.output();
        // The digest of this edge replaces those of its segments, so the cheapest kind will do.
        let out = PlainEdge::new(EdgeSpec { any_order: false, ..spec.clone() });
        let known = history::keys(&spec.identity);
        let on_trial = known == 0;
        let table = Table::new(accumulate, claim, known);
        let mut table = table.map_err(EngineError::io("reserve memory for", &spec.file))?;
        if on_trial {
            table.set_bytes_max(TRIAL_BYTES);
        }
        let folding = Folding::new(table);
        let (folded, passing, keys, digest, value) = (0, 0, 0, 0, Vec::new());
        Ok(CombinedEdge { out, spec, folding, on_trial, folded, passing, keys, digest, value })
    }

    /// Folds an accumulator into that of its key.
    #[inline]
    pub fn push(&mut self, key: &[u8], acc: A::Acc) -> Result<()> {
        if self.passing > 0 {
            self.folding.table().accumulate().encode(&acc, &mut self.value);
            return self.pass(key);
        }
        self.fold(key, acc)
    }

    /// Folds a value: `create` makes an accumulator of it, `encode` the stored form of one.
    #[inline]
    pub fn push_value<V>(
        &mut self,
        key: &[u8],
        value: V,
        create: impl FnOnce(V) -> A::Acc,
        encode: impl FnOnce(V, &mut Vec<u8>),
    ) -> Result<()> {
        if self.passing > 0 {
            encode(value, &mut self.value);
            return self.pass(key);
        }
        self.fold(key, create(value))
    }

    /// Passes on the pair whose value has been encoded.
    #[inline]
    fn pass(&mut self, key: &[u8]) -> Result<()> {
        // Nothing compares digests of outputs in memory, because no task of such a run runs again.
        if self.spec.in_memory_outputs.is_none() {
            self.digest = self.digest.wrapping_add(Key::new(key).digest());
        }
        self.passing -= 1;
        let passed = self.out.push(key, &self.value);
        self.value.clear();
        passed
    }

    #[inline(always)]
    fn fold(&mut self, key: &[u8], acc: A::Acc) -> Result<()> {
        if !Key::is_short(key) {
            return self.fold_long(key, acc);
        }
        let hashed = Key::new_short(key);
        self.count(&hashed);
        match self.folding.push_short(hashed, acc) {
            None if self.folding.table().is_over() => self.check_room(),
            None => Ok(()),
            Some(new) => self.insert(new),
        }
    }

    #[inline(always)]
    fn count(&mut self, key: &Key<'_>) {
        self.digest = self.digest.wrapping_add(key.digest());
        self.folded += 1;
    }

    #[inline(never)]
    fn fold_long(&mut self, key: &[u8], acc: A::Acc) -> Result<()> {
        let hashed = Key::new(key);
        self.count(&hashed);
        let pushed = self.folding.push(hashed, acc);
        self.settle(pushed, key)
    }

    /// Adds a key that is not in the table.
    #[cold]
    #[inline(never)]
    fn insert(&mut self, new: Short<A::Acc>) -> Result<()> {
        let inserted = self.folding.insert(new);
        // A refused short key carries a copy of its bytes.
        self.settle(inserted, &[])
    }

    /// Makes room if the pair was refused; `key` is the key that was pushed.
    #[inline]
    fn settle(&mut self, folded: Result<(), Refused<A::Acc>>, key: &[u8]) -> Result<()> {
        match folded {
            Ok(()) if self.folding.table().is_over() => self.check_room(),
            Ok(()) => Ok(()),
            Err(Refused { waited, acc }) => self.push_when_full(waited.as_ref().map_or(key, Waited::key), acc),
        }
    }

    #[cold]
    #[inline(never)]
    fn push_when_full(&mut self, key: &[u8], acc: A::Acc) -> Result<()> {
        windrow_format::block::check_record(key, &[]).map_err(EngineError::Record)?;
        let mut acc = acc;
        loop {
            // An empty table accepts any key unless the system refuses memory.
            let was_empty = self.folding.table().is_empty();
            self.make_room()?;
            acc = match self.folding.fold(key, acc) {
                Ok(()) => return Ok(()),
                Err(acc) => acc,
            };
            if was_empty {
                let error = EngineError::io("reserve memory for", &self.spec.file);
                return Err(error(std::io::ErrorKind::OutOfMemory.into()));
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn check_room(&mut self) -> Result<()> {
        if self.folding.table_mut().is_covered() { Ok(()) } else { self.make_room() }
    }

    /// Ends a trial if folding pays, or drains the table.
    #[cold]
    #[inline(never)]
    fn make_room(&mut self) -> Result<()> {
        let keys = self.folding.table().keys() as u64;
        if self.on_trial {
            if self.folded as f64 >= COMBINE_RATIO_MIN * keys as f64 {
                self.on_trial = false;
                self.folding.table_mut().set_bytes_max(usize::MAX);
                return Ok(());
            }
            self.passing = PASSED_FOR_A_KEY * keys;
        }
        self.drain()
    }

    fn drain(&mut self) -> Result<()> {
        let CombinedEdge { out, folding, value, .. } = self;
        self.keys = self.keys.max(folding.table().keys());
        self.folded = 0;
        folding.table_mut().drain(|accumulate, key, acc| {
            accumulate.encode(&acc, value);
            let passed = out.push(key, value);
            value.clear();
            passed
        })
    }

    /// Writes the image. Each segment has the digest of the edge: a sum over the keys of all pairs, which
    /// depends neither on their order, nor on memory, nor on how far they were folded.
    pub fn finish(mut self) -> Result<EdgeResult> {
        while let Some(Refused { waited, acc }) = self.folding.flush() {
            self.push_when_full(waited.as_ref().map_or(&[], Waited::key), acc)?;
        }
        self.drain()?;
        if !self.on_trial {
            history::note(&self.spec.identity, self.keys);
        }
        drop(self.folding);
        self.out.finish_with(Some(digest::folded(self.digest)))
    }
}
