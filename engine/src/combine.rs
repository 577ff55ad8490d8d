//! The table that folds equal keys: open addressing with linear probing, key and accumulator in the slot.
//!
//! A probe of a short key compares three words and touches one cache line; keys over sixteen bytes are compared in an arena once
//! length and 96 bits of hash agree. The table's claim covers slots (both arrays while it grows), key arena, accumulators' heap and
//! the entries of the sorted drain; when it is refused more its owner drains it. Knows nothing of files.

pub(crate) mod arena;
mod folding;
pub mod history;
mod pending;
pub(crate) mod slots;

pub use folding::Folding;
pub use pending::{Refused, Short, Waited};
pub use slots::Key;

use crate::accumulate::Accumulate;
use crate::error::Result;
use crate::heap;
use crate::memory::Claim;
use crate::sort::{self, Entry, Keys};
use arena::Arena;
use slots::{Slot, Slots};
use std::mem::size_of;

/// First number of slots: most tasks of a small job never need more.
const START_SLOTS: usize = 256;
/// Slots of a table that has given its memory back.
const LEAST_SLOTS: usize = 8;
/// Up to this size a table grows by four, then by two.
const FAST_GROWTH_BYTES: usize = 1 << 20;
/// Up to this size most of the slots are empty.
const SPARSE_BYTES: usize = 256 << 10;

/// Keys and their accumulators.
pub struct Table<A: Accumulate> {
    accumulate: A,
    slots: Slots<A::Acc>,
    arena: Arena,
    /// Bytes that accumulators own.
    heap: usize,
    /// At this many keys the slots must grow.
    used_max: usize,
    /// Whether only the moving of keys kept the slots from growing.
    cramped: bool,
    /// It is told to be full beyond this, even if there is more.
    bytes_max: usize,
    claim: Claim,
}

/// The key that was to be inserted does not fit, or the system gives no more memory: drain the table first.
pub struct Full<T>(pub T);

impl<A: Accumulate> Table<A> {
    /// An empty table with room for about so many keys, as far as the claim is given memory.
    pub fn new(accumulate: A, mut claim: Claim, keys: usize) -> std::io::Result<Self> {
        // Keys of another length, or accumulators that grow, need a part of the memory as well.
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

    /// Bytes of so many slots and of the entries that sort their keys.
    fn cost(slots: usize) -> usize {
        slots * size_of::<Slot<A::Acc>>() + dense(slots) * size_of::<Entry>()
    }

    /// Keys from which on a table of so many slots should grow. A sparse one finds nearly every key at its first place, and empty
    /// slots cost no cache: a quarter while it is small.
    fn load_max(slots: usize) -> usize {
        if slots * size_of::<Slot<A::Acc>>() <= SPARSE_BYTES { slots / 4 } else { dense(slots) }
    }

    /// How values are folded.
    pub fn accumulate(&self) -> &A {
        &self.accumulate
    }

    /// Whether no key is in it.
    pub fn is_empty(&self) -> bool {
        self.keys() == 0
    }

    /// Beyond so many bytes it is full, even if there is more memory.
    pub fn set_bytes_max(&mut self, bytes: usize) {
        self.bytes_max = bytes;
    }

    /// What it holds, and how values are folded.
    pub fn claim_mut(&mut self) -> (&mut Claim, &A) {
        (&mut self.claim, &self.accumulate)
    }

    /// Whether it may hold so many bytes.
    #[inline]
    fn covers(&mut self, bytes: usize) -> bool {
        bytes <= self.bytes_max && self.claim.cover(bytes)
    }

    /// Number of keys.
    pub fn keys(&self) -> usize {
        self.slots.used()
    }

    /// Bytes of the slot array.
    pub fn slot_bytes(&self) -> usize {
        self.slots.len() * size_of::<Slot<A::Acc>>()
    }

    /// Folds into the key's accumulator, or adds the key. `Full` when the key is new and does not fit.
    #[inline(always)]
    pub fn fold(&mut self, key: Key<'_>, acc: A::Acc) -> Result<(), Full<A::Acc>> {
        match self.slots.find(key) {
            Some(into) => {
                merge_into(&self.accumulate, &mut self.heap, into, acc);
                Ok(())
            }
            None => self.insert(key, acc),
        }
    }

    /// Folds into the accumulator of a short key, or gives the pair back because the key is not there.
    #[inline(always)]
    pub fn fold_short(&mut self, pair: Short<A::Acc>) -> Option<Short<A::Acc>> {
        match self.slots.find_short(pair.words, pair.meta) {
            Some(into) => {
                merge_into(&self.accumulate, &mut self.heap, into, pair.acc);
                None
            }
            None => Some(pair),
        }
    }

    /// Whether accumulators have grown beyond what is covered: see whether they [may](Self::is_covered).
    #[inline(always)]
    pub fn is_over(&self) -> bool {
        self.heap > 0 && self.held(self.slots.len()) > self.claim.held().min(self.bytes_max)
    }

    /// Whether what it holds may stay; otherwise drain the table.
    #[cold]
    pub fn is_covered(&mut self) -> bool {
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
            // A table refuses nothing while it is empty: one key may exceed what there is.
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
            // Both arrays exist while keys move; the drain's entries do not exist then, but must find room later.
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

    /// Takes all keys out, in any order, and keeps the slots' memory.
    pub fn drain(&mut self, mut f: impl FnMut(&A, &[u8], A::Acc) -> Result<()>) -> Result<()> {
        let accumulate = &self.accumulate;
        let drained = self.slots.drain(|key, acc| f(accumulate, key, acc));
        self.clear();
        drained
    }

    /// Takes all keys out in their order, and keeps the slots' memory.
    pub fn drain_sorted(&mut self, mut f: impl FnMut(&A, &[u8], A::Acc) -> Result<()>) -> Result<()> {
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

    /// Drops all keys and keeps the slots' memory, unless somebody has asked for it. Slots that could not grow because both arrays
    /// would not have fitted grow now, when there is nothing to move.
    pub fn clear(&mut self) {
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

    /// Drops all keys and gives the memory back, as far as the system allows.
    pub fn release(&mut self) {
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

/// Most keys of so many slots: beyond three quarters linear probing meets too many strangers.
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

    /// Small enough for Miri, which sees the unsafe code of slots and arena.
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
    fn a_full_table_says_so_and_holds_no_more_than_its_budget() {
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
