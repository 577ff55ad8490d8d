//! The table that folds equal keys: open addressing with linear probing, key and accumulator in the slot.
//!
//! A probe of a short key compares three words and touches one cache line; keys over sixteen bytes are compared in an
//! arena once length and 96 bits of hash agree. The table's claim covers the slots (both arrays while it grows), the
//! key arena, the heap of the accumulators and the entries of the sorted drain. When the claim is refused more, the
//! owner drains the table. The table knows nothing of files.

pub(crate) mod arena;
mod folding;
pub(crate) mod history;
mod pending;
pub(crate) mod slots;

pub(crate) use folding::Folding;
pub(crate) use pending::{Refused, Short, Waited};
pub(crate) use slots::Key;

use crate::accumulate::Accumulate;
use crate::error::Result;
use crate::heap;
use crate::memory::Claim;
use crate::sort::{self, Entry, Keys};
use arena::Arena;
use slots::{Slot, Slots};
use std::mem::size_of;
use std::num::NonZeroU64;

/// Initial number of slots: enough for most tasks of a small job.
const START_SLOTS: usize = 256;
/// Number of slots of a table that has released its memory.
const LEAST_SLOTS: usize = 8;
/// Up to this size in bytes a table grows by a factor of four, then by two.
const FAST_GROWTH_BYTES: usize = 1 << 20;
/// Up to this size in bytes at most a quarter of the slots is used.
const SPARSE_BYTES: usize = 256 << 10;

/// Keys and their accumulators.
pub(crate) struct Table<A: Accumulate> {
    accumulate: A,
    slots: Slots<A::Acc>,
    arena: Arena,
    /// Heap bytes that the accumulators own.
    heap: usize,
    /// Number of keys at which the slots must grow.
    used_max: usize,
    /// Whether the slots could not grow only because both arrays would not have fitted.
    cramped: bool,
    /// Size in bytes at which the table counts as full, even if more memory is available.
    bytes_max: usize,
    claim: Claim,
}

/// The table has no room for a new key, or the system gives no more memory. The caller must drain it first.
pub(crate) struct Full<T>(pub T);

impl<A: Accumulate> Table<A> {
    /// An empty table with room for about `keys` keys, as far as the claim is granted memory.
    pub(crate) fn new(accumulate: A, mut claim: Claim, keys: usize) -> std::io::Result<Self> {
        // Longer keys and growing accumulators need a part of the memory as well.
        let mut count = (keys / 3 * 4 + 1).next_power_of_two().min(1 << 32);
        if Self::load_max(count) < keys {
            count *= 4;
        }
        while count > START_SLOTS && claim.grow_quietly(2 * Self::cost(count)).is_err() {
            count /= 2;
        }
        count = count.max(START_SLOTS);
        while count > LEAST_SLOTS && claim.grow_quietly(Self::cost(count)).is_err() {
            count /= 2;
        }
        claim.force(Self::cost(count));
        let slots = Slots::new(count)?;
        Ok(Table {
            accumulate,
            slots,
            arena: Arena::new(),
            heap: 0,
            used_max: Self::load_max(count),
            cramped: false,
            bytes_max: usize::MAX,
            claim,
        })
    }

    /// Bytes of `slots` slots and of the entries that sort their keys.
    fn cost(slots: usize) -> usize {
        slots * size_of::<Slot<A::Acc>>() + dense(slots) * size_of::<Entry>()
    }

    /// Number of keys at which a table of `slots` slots should grow. A small table grows at a quarter: most keys are
    /// then found in their home slot, and empty slots cost no cache.
    fn load_max(slots: usize) -> usize {
        if slots * size_of::<Slot<A::Acc>>() <= SPARSE_BYTES { slots / 4 } else { dense(slots) }
    }

    /// The operations that fold values.
    pub(crate) fn accumulate(&self) -> &A {
        &self.accumulate
    }

    /// Returns whether the table has no keys.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys() == 0
    }

    /// Makes the table full at this size in bytes, even if more memory is available.
    pub(crate) fn set_bytes_max(&mut self, bytes: usize) {
        self.bytes_max = bytes;
    }

    /// The table's claim and the operations that fold values.
    pub(crate) fn claim_mut(&mut self) -> (&mut Claim, &A) {
        (&mut self.claim, &self.accumulate)
    }

    /// Returns whether the table may hold this many bytes.
    #[inline]
    fn covers(&mut self, bytes: usize) -> bool {
        bytes <= self.bytes_max && self.claim.cover(bytes)
    }

    /// Number of keys.
    pub(crate) fn keys(&self) -> usize {
        self.slots.used()
    }

    /// Bytes of the slot array.
    pub(crate) fn slot_bytes(&self) -> usize {
        self.slots.len() * size_of::<Slot<A::Acc>>()
    }

    /// Folds into the accumulator of the key, or adds the key.
    ///
    /// # Errors
    /// `Full` when the key is new and does not fit.
    #[inline(always)]
    pub(crate) fn fold(&mut self, key: Key<'_>, acc: A::Acc) -> Result<(), Full<A::Acc>> {
        match self.slots.find(key) {
            Some(into) => {
                merge_into(&self.accumulate, &mut self.heap, into, acc);
                Ok(())
            }
            None => self.insert(key, acc),
        }
    }

    /// Folds an encoded accumulator into that of the key, or adds the key.
    ///
    /// # Errors
    /// The accumulator does not decode. The inner error is `Full` as in [`fold`](Self::fold).
    #[inline(always)]
    pub(crate) fn fold_encoded(&mut self, key: Key<'_>, bytes: &[u8]) -> Result<Result<(), Full<A::Acc>>> {
        match self.slots.find(key) {
            Some(into) => {
                let before = self.accumulate.heap_bytes(into);
                self.accumulate.merge_encoded(into, bytes)?;
                self.heap = self.heap.wrapping_add(self.accumulate.heap_bytes(into)).wrapping_sub(before);
                Ok(Ok(()))
            }
            None => self.insert_encoded(key, bytes),
        }
    }

    #[inline(never)]
    fn insert_encoded(&mut self, key: Key<'_>, bytes: &[u8]) -> Result<Result<(), Full<A::Acc>>> {
        let acc = self.accumulate.decode(bytes)?;
        Ok(self.insert(key, acc))
    }

    /// Prefetches the slot that a probe of this key reads first.
    #[inline(always)]
    pub(crate) fn prefetch(&self, key: Key<'_>) {
        self.slots.prefetch(key);
    }

    /// Prefetches the bytes of the key of the table that is likely to equal the one of this `meta`, if it is long. Its slot
    /// should be in the cache.
    #[inline(always)]
    pub(crate) fn prefetch_bytes(&self, meta: NonZeroU64) {
        self.slots.prefetch_bytes(meta.get());
    }

    /// Folds into the accumulator of a short key, or returns the pair if the key is not in the table.
    #[inline(always)]
    pub(crate) fn fold_short(&mut self, pair: Short<A::Acc>) -> Option<Short<A::Acc>> {
        match self.slots.find_short(pair.words, pair.meta) {
            Some(into) => {
                merge_into(&self.accumulate, &mut self.heap, into, pair.acc);
                None
            }
            None => Some(pair),
        }
    }

    /// Returns whether accumulators have outgrown the claim; [`is_covered`](Self::is_covered) then asks for more.
    #[inline(always)]
    pub(crate) fn is_over(&self) -> bool {
        self.heap > 0 && self.held(self.slots.len()) > self.claim.held().min(self.bytes_max)
    }

    /// Returns whether the claim covers the table; if not, the caller must drain it.
    #[cold]
    pub(crate) fn is_covered(&mut self) -> bool {
        self.covers(self.held(self.slots.len()))
    }

    fn held(&self, slots: usize) -> usize {
        Self::cost(slots) + self.arena.bytes() + self.heap
    }

    #[cold]
    #[inline(never)]
    fn insert(&mut self, key: Key<'_>, acc: A::Acc) -> Result<(), Full<A::Acc>> {
        let heap = self.accumulate.heap_bytes(&acc);
        let arena = self.arena.bytes_with(key.long());
        let needed = Self::cost(self.slots.len()) + arena + self.heap + heap;
        if !self.covers(needed) {
            // An empty table accepts any key, even one that exceeds the claim.
            if self.keys() > 0 {
                return Err(Full(acc));
            }
            self.claim.force(needed);
        }
        if self.keys() >= self.used_max && !self.grow(arena + heap) {
            return Err(Full(acc));
        }
        let stored = match key.long() {
            Some(bytes) => match self.arena.put(bytes) {
                Ok(stored) => key.stored_at(stored),
                Err(_) => return Err(Full(acc)),
            },
            None => key,
        };
        self.slots.insert(stored, acc);
        self.heap += heap;
        Ok(())
    }

    fn grow(&mut self, more: usize) -> bool {
        let old = self.slots.len();
        let factor = if self.slot_bytes() < FAST_GROWTH_BYTES { 4 } else { 2 };
        for count in [old * factor, old * 2] {
            // Both arrays exist while keys move. The entries of the drain do not exist then, but must fit later.
            let moving = (old + count) * size_of::<Slot<A::Acc>>();
            if !self.covers(moving.max(Self::cost(count)) + more + self.heap) {
                continue;
            }
            let Ok(slots) = Slots::new(count) else {
                return false;
            };
            self.slots.move_to(slots);
            self.used_max = Self::load_max(count);
            self.claim.shrink(Self::cost(count) + more + self.heap);
            return true;
        }
        self.cramped = true;
        let dense = dense(old);
        let denser = self.used_max < dense;
        self.used_max = dense;
        denser
    }

    /// Removes all keys in any order and keeps the memory of the slots.
    pub(crate) fn drain(&mut self, mut f: impl FnMut(&A, &[u8], A::Acc) -> Result<()>) -> Result<()> {
        let accumulate = &self.accumulate;
        let drained = self.slots.drain(|key, acc| f(accumulate, key, acc));
        self.clear();
        drained
    }

    /// Removes all keys in key order and keeps the memory of the slots.
    pub(crate) fn drain_sorted(&mut self, mut f: impl FnMut(&A, &[u8], A::Acc) -> Result<()>) -> Result<()> {
        let mut entries = Vec::with_capacity(self.keys());
        for (at, key) in self.slots.keys() {
            entries.push(Entry::new(key, at));
        }
        sort::by_key(&mut entries, &self.slots);
        for (i, entry) in entries.iter().enumerate() {
            if let Some(e) = entries.get(i + sort::PREFETCH) {
                self.slots.prefetch_at(e.at);
            }
            if let Some(e) = entries.get(i + sort::PREFETCH / 2) {
                self.slots.prefetch_bytes_at(e.at);
            }
            let accumulate = &self.accumulate;
            if let Err(e) = self.slots.take(entry.at, |key, acc| f(accumulate, key, acc)) {
                self.clear();
                return Err(e);
            }
        }
        self.clear();
        Ok(())
    }

    /// Drops all keys. Keeps the memory of the slots unless another consumer has asked for it. Slots that could not
    /// grow because both arrays would not have fitted grow now, when there is nothing to move.
    pub(crate) fn clear(&mut self) {
        let more = 2 * (self.arena.bytes() + self.heap);
        self.empty();
        let count = 2 * self.slots.len();
        if self.claim.is_asked() {
            self.release();
            self.claim.answer();
        } else if std::mem::take(&mut self.cramped) && self.covers(Self::cost(count) + more) {
            self.release_slots();
            if let Ok(slots) = Slots::new(count) {
                self.used_max = Self::load_max(count);
                self.slots = slots;
            }
        }
        self.claim.shrink(self.held(self.slots.len()));
    }

    /// Drops all keys and returns the memory, as far as the system allows.
    pub(crate) fn release(&mut self) {
        self.cramped = false;
        self.empty();
        self.release_slots();
        self.claim.shrink(self.held(self.slots.len()));
    }

    fn empty(&mut self) {
        self.slots.clear();
        self.arena.clear();
        heap::freed(std::mem::take(&mut self.heap));
    }

    fn release_slots(&mut self) {
        if let Ok(slots) = Slots::new(LEAST_SLOTS) {
            self.used_max = Self::load_max(slots.len());
            self.slots = slots;
        }
    }
}

#[inline(always)]
fn merge_into<A: Accumulate>(accumulate: &A, heap: &mut usize, into: &mut A::Acc, acc: A::Acc) {
    let before = accumulate.heap_bytes(into);
    accumulate.merge(into, acc);
    *heap = heap.wrapping_add(accumulate.heap_bytes(into)).wrapping_sub(before);
}

/// Most keys of a dense table: beyond three quarters linear probing gets slow.
fn dense(slots: usize) -> usize {
    slots / 4 * 3
}

impl<T> Keys for Slots<T> {
    #[inline]
    fn key(&self, at: u32) -> &[u8] {
        self.key_at(at)
    }
    #[inline]
    fn prefetch(&self, at: u32) {
        self.prefetch_at(at);
    }
    #[inline]
    fn prefetch_key(&self, at: u32) {
        self.prefetch_bytes_at(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::EngineError;
    use crate::memory::Share;
    use std::collections::BTreeMap;

    struct Append;
    impl Accumulate for Append {
        type Acc = Vec<u32>;
        fn merge(&self, into: &mut Vec<u32>, other: Vec<u32>) {
            into.extend(other);
        }
        fn encode(&self, acc: &Vec<u32>, out: &mut Vec<u8>) {
            out.extend(acc.iter().flat_map(|n| n.to_le_bytes()));
        }
        fn decode(&self, _: &[u8]) -> crate::Result<Vec<u32>> {
            Err(EngineError::Decode("not used here".into()))
        }
        fn heap_bytes(&self, acc: &Vec<u32>) -> usize {
            acc.capacity() * 4
        }
    }

    /// Small enough for Miri, which checks the unsafe code of slots and arena.
    #[test]
    fn keys_of_every_length_are_folded_and_drained_in_order() {
        let key = |i: u32| format!("{}{}", i % 311, "x".repeat(i as usize % 311 % 40)).into_bytes();
        let mut folding = Folding::new(Table::new(Append, Share::alone(1 << 20, 1).output(), 0).unwrap());
        for round in 0..3 {
            let mut expected: BTreeMap<Vec<u8>, Vec<u32>> = BTreeMap::new();
            for i in 0..1500u32 {
                if round == 0 {
                    assert!(folding.fold(&key(i), vec![i]).is_ok());
                } else {
                    assert!(folding.push(Key::new(&key(i)), vec![i]).is_ok());
                }
                expected.entry(key(i)).or_default().push(i);
            }
            assert!(folding.flush().is_none());
            let mut drained: Vec<(Vec<u8>, Vec<u32>)> = Vec::new();
            let take = |_: &Append, key: &[u8], mut acc: Vec<u32>| {
                acc.sort_unstable();
                drained.push((key.to_vec(), acc));
                Ok(())
            };
            if round == 1 {
                folding.table_mut().drain(take).unwrap();
                drained.sort();
            } else {
                folding.table_mut().drain_sorted(take).unwrap();
            }
            assert_eq!(drained, expected.into_iter().collect::<Vec<_>>());
            assert!(folding.table().is_empty());
        }
    }

    #[test]
    fn full_table_stays_within_its_budget() {
        for (memory, keys) in [(0, 0), (20_000, 0), (500_000, 0), (0, 1 << 20), (20_000, 1 << 20), (500_000, 100)] {
            let mut table = Table::new(Append, Share::alone(memory, 1).output(), keys).unwrap();
            let mut kept = 0;
            while table.fold(Key::new(format!("a key that lies in the arena {kept}").as_bytes()), vec![kept]).is_ok() {
                kept += 1;
            }
            assert!(kept >= 1);
            assert!(kept == 1 || table.held(table.slots.len()) <= memory);
            assert!(memory == 0 || kept as usize > memory / 300, "{kept} keys in {memory} bytes");
        }
    }
}
