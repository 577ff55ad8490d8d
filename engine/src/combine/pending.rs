//! Pairs that wait to be folded into a table that is larger than the cache.
//!
//! A pair waits in a small ring while the processor fetches its slot, so that many cache misses overlap instead of
//! following one another (2.66 million distinct words: twice as fast as probing at once; a table in the cache is probed
//! at once). Longer keys are copied into their ring, and half-way through it their bytes in the arena are fetched too.

use super::slots::Key;
use super::{Full, Table};
use crate::accumulate::Accumulate;
use std::num::NonZeroU64;

/// Number of short keys that wait.
const SHORT_RING: usize = 32;
/// Number of long keys that wait.
const LONG_RING: usize = 16;
/// Length in bytes of the longest key that waits; copying a longer one costs more than its cache miss.
const LONG_MAX: usize = 64;

/// A pair whose key is short enough for a slot.
pub(crate) struct Short<T> {
    pub words: [u64; 2],
    pub meta: NonZeroU64,
    pub acc: T,
}

impl<T> Short<T> {
    /// Makes a pair of a short key.
    #[inline(always)]
    pub(crate) fn new(key: &Key<'_>, acc: T) -> Self {
        Short { words: key.words(), meta: key.meta(), acc }
    }
}

struct Long<T> {
    words: [u64; 2],
    meta: NonZeroU64,
    acc: T,
    length: u8,
    bytes: [u8; LONG_MAX],
}

/// The rings.
pub(super) struct Pending<T> {
    short: [Option<Short<T>>; SHORT_RING],
    long: [Option<Long<T>>; LONG_RING],
    short_at: usize,
    long_at: usize,
}

/// A pair that a full table did not take.
pub(crate) struct Refused<T> {
    /// A copy of the key if the pair had waited in a ring; none if it is the pair that was just pushed.
    pub waited: Option<Waited>,
    /// Its value.
    pub acc: T,
}

/// A copy of a key.
pub(crate) struct Waited {
    bytes: [u8; LONG_MAX],
    length: usize,
}

impl Waited {
    /// The key.
    pub(crate) fn key(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl<T> Default for Pending<T> {
    /// Empty rings.
    fn default() -> Self {
        Pending { short: [const { None }; SHORT_RING], long: [const { None }; LONG_RING], short_at: 0, long_at: 0 }
    }
}

impl<T> Pending<T> {
    /// Puts a pair with a short key into the ring and returns the pair that has waited longest.
    #[inline(always)]
    pub(super) fn exchange(&mut self, pair: Short<T>) -> Option<Short<T>> {
        let place = &mut self.short[self.short_at % SHORT_RING];
        self.short_at += 1;
        place.replace(pair)
    }

    /// Returns whether a key of this length in bytes may wait.
    #[inline(always)]
    pub(super) fn waits(length: usize) -> bool {
        length <= LONG_MAX
    }

    /// Puts a pair with a long key, whose length must be one that [waits](Self::waits), into the ring; folds the pair
    /// that has waited longest.
    #[inline(never)]
    pub(super) fn push_long<A: Accumulate<Acc = T>>(
        &mut self,
        table: &mut Table<A>,
        key: Key<'_>,
        long: &[u8],
        acc: T,
    ) -> Result<(), Refused<T>> {
        let mut bytes = [0; LONG_MAX];
        bytes[..long.len()].copy_from_slice(long);
        let length = long.len() as u8;
        table.slots.prefetch(key);
        if let Some(half) = &self.long[(self.long_at + LONG_RING / 2) % LONG_RING] {
            table.slots.prefetch_bytes(half.meta.get());
        }
        let place = &mut self.long[self.long_at % LONG_RING];
        self.long_at += 1;
        match place.replace(Long { words: key.words(), meta: key.meta(), acc, length, bytes }) {
            Some(old) => fold_long(table, old),
            None => Ok(()),
        }
    }

    /// Folds one waiting pair; returns false if there is none.
    pub(super) fn pop<A: Accumulate<Acc = T>>(&mut self, table: &mut Table<A>) -> Result<bool, Refused<T>> {
        if let Some(old) = self.short.iter_mut().find_map(Option::take) {
            let new = table.fold_short(old);
            return new.map_or(Ok(()), |new| insert_short(table, new)).map(|()| true);
        }
        if let Some(old) = self.long.iter_mut().find_map(Option::take) {
            return fold_long(table, old).map(|()| true);
        }
        Ok(false)
    }
}

/// Adds a short key that is not in the table.
pub(super) fn insert_short<A: Accumulate>(table: &mut Table<A>, new: Short<A::Acc>) -> Result<(), Refused<A::Acc>> {
    let Short { words, meta, acc } = new;
    table.insert(Key::from_parts(words, meta, &[]), acc).map_err(|Full(acc)| refuse_short(words, meta, acc))
}

#[cold]
fn refuse_short<T>(words: [u64; 2], meta: NonZeroU64, acc: T) -> Refused<T> {
    let mut bytes = [0; LONG_MAX];
    bytes[..8].copy_from_slice(&words[0].to_le_bytes());
    bytes[8..16].copy_from_slice(&words[1].to_le_bytes());
    Refused { waited: Some(Waited { bytes, length: super::slots::length(meta.get()) }), acc }
}

fn fold_long<A: Accumulate>(table: &mut Table<A>, old: Long<A::Acc>) -> Result<(), Refused<A::Acc>> {
    let length = old.length as usize;
    let key = Key::from_parts(old.words, old.meta, &old.bytes[..length]);
    table.fold(key, old.acc).map_err(|Full(acc)| Refused { waited: Some(Waited { bytes: old.bytes, length }), acc })
}
