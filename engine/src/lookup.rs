//! All values of each key, found by hash: the side of a join that is kept in memory while the other side is streamed.
//!
//! The accumulator of the table is the first and the last value of a key. Each value points to the next, so the values
//! keep their order.

use crate::combine::arena::Arena;
use crate::combine::slots::{Key, SLOTS_MAX, Slot, Slots};
use crate::error::{EngineError, Result};
use crate::memory::{Claim, Share};
use crate::region::{self, Region};
use crate::segments::Concat;
use std::path::Path;
use windrow_format::prefetch;
use windrow_format::segment::BATCH;

/// Words before each value: the position of the key's next value, and the length.
const HEAD_WORDS: usize = 1;
/// Marks the last value of a key.
const NONE: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Chain {
    first: u32,
    last: u32,
}

/// Maps keys to their values.
pub struct Lookup {
    slots: Slots<Chain>,
    /// The bytes of long keys.
    arena: Arena,
    values: Region<u64>,
    used: usize,
    _claim: Claim,
}

/// A hashed key whose slot is being fetched.
#[derive(Clone, Copy)]
pub struct Probe<'k>(Key<'k>);

impl Lookup {
    /// Claims memory for `pairs` pairs of `bytes` bytes. Returns none if the share does not grant it or a table cannot
    /// address that many.
    pub fn claim(share: &Share, pairs: u64, bytes: u64) -> Option<Claim> {
        let most = u64::from(NONE);
        if pairs >= most || Self::words(pairs, bytes) >= most || Self::slots(pairs) > SLOTS_MAX {
            return None;
        }
        let mut claim = share.input();
        claim.mark_unspillable();
        let cost = usize::try_from(Self::cost(pairs, bytes)).ok()?;
        claim.grow(cost).is_ok().then_some(claim)
    }

    /// Most bytes that `pairs` pairs of `bytes` bytes can need.
    fn cost(pairs: u64, bytes: u64) -> u64 {
        let slots = Self::slots(pairs) * size_of::<Slot<Chain>>() as u64;
        // Keys are counted twice: within `words`, although they are not stored there, and in the chunks of the arena.
        slots + Self::words(pairs, bytes) * 8 + bytes + bytes / 4
    }

    fn slots(pairs: u64) -> u64 {
        (pairs / 3 * 4 + 8).next_power_of_two()
    }

    fn words(pairs: u64, bytes: u64) -> u64 {
        pairs * (HEAD_WORDS as u64 + 1) + bytes / 8
    }

    /// Reads all pairs: at most `count` pairs of at most `bytes` bytes, for which [`claim`](Self::claim) granted
    /// memory. Calls `alive` at intervals and stops at its error.
    pub fn build(
        pairs: Concat,
        (count, bytes): (u64, u64),
        claim: Claim,
        scratch: &Path,
        alive: &dyn Fn() -> Result<()>,
    ) -> Result<Lookup> {
        let error = || EngineError::io("reserve memory in", scratch);
        let mut lookup = Lookup {
            slots: Slots::new(Self::slots(count) as usize).map_err(error())?,
            arena: Arena::new(),
            values: Region::arbitrary(Self::words(count, bytes) as usize).map_err(error())?,
            used: 0,
            _claim: claim,
        };
        let mut left = count;
        pairs.for_each_batch(alive, |batch| {
            let more = || EngineError::Decode("an input has more pairs than its index declares".to_string());
            left = left.checked_sub(batch.len() as u64).ok_or_else(more)?;
            let keys: [_; BATCH] = std::array::from_fn(|i| batch.get(i).map(|(key, _)| lookup.probe(key)));
            let mut all = keys.into_iter().flatten().zip(batch.iter());
            all.try_for_each(|(Probe(key), (_, value))| lookup.add(key, value)).map_err(error())
        })?;
        Ok(lookup)
    }

    fn add(&mut self, key: Key<'_>, value: &[u8]) -> std::io::Result<()> {
        let words = HEAD_WORDS + value.len().div_ceil(8);
        let (at, end) = (self.used, self.used + words);
        let values = self.values.as_mut_slice();
        if end > values.len() || end >= NONE as usize {
            return Err(std::io::ErrorKind::OutOfMemory.into());
        }
        values[at] = NONE as u64 | (value.len() as u64) << 32;
        region::bytes_mut(&mut values[at + 1..end])[..value.len()].copy_from_slice(value);
        self.used = end;
        let at = at as u32;
        match self.slots.find(key) {
            Some(chain) => {
                let last = std::mem::replace(&mut chain.last, at) as usize;
                values[last] = values[last] & !(NONE as u64) | at as u64;
            }
            None => {
                let key = match key.long() {
                    Some(bytes) => key.stored_at(self.arena.put(bytes)?),
                    None => key,
                };
                self.slots.insert(key, Chain { first: at, last: at });
            }
        }
        Ok(())
    }

    /// Hashes a key and prefetches its slot.
    #[inline]
    pub fn probe<'k>(&self, key: &'k [u8]) -> Probe<'k> {
        let key = Key::new(key);
        self.slots.prefetch(key);
        Probe(key)
    }

    /// The position of a key's first value, for [`values`](Self::values). Prefetches the value.
    #[inline]
    pub fn find(&self, probe: Probe<'_>) -> Option<u32> {
        let first = self.slots.get(probe.0)?.first;
        prefetch::read(self.values.as_slice()[first as usize..].as_ptr());
        Some(first)
    }

    /// The values of a key from this position on, in the order in which they were read.
    #[inline]
    pub fn values(&self, first: u32) -> impl Iterator<Item = &[u8]> {
        let values = self.values.as_slice();
        let mut next = first;
        std::iter::from_fn(move || {
            if next == NONE {
                return None;
            }
            let at = next as usize;
            let (after, length) = (values[at] as u32, (values[at] >> 32) as usize);
            next = after;
            Some(&region::bytes(&values[at + HEAD_WORDS..])[..length])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segments::{LocalSegment, open_concat};
    use std::collections::BTreeMap;
    use windrow_format::block::Identity;
    use windrow_format::codec::Codec;
    use windrow_format::shuffle::ShuffleWriter;

    #[test]
    #[cfg_attr(miri, ignore)]
    fn every_key_has_its_values_in_order() {
        let key = |i: u32| format!("{}{}", i % 97, "x".repeat(i as usize % 97 % 40)).into_bytes();
        let list: Vec<(Vec<u8>, Vec<u8>)> = (0..500u32).map(|i| (key(i), vec![i as u8; i as usize % 20])).collect();
        let mut expected: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut writer = ShuffleWriter::create(file.path(), Identity::default(), Codec::None).unwrap();
        for (k, v) in &list {
            writer.push(0, k, v).unwrap();
            expected.entry(k.clone()).or_default().push(v.clone());
        }
        let s = writer.finish().unwrap()[0];
        let segments = vec![LocalSegment::of(file.path().to_path_buf(), &s, Identity::default())];
        let share = Share::alone(1 << 20, 1);
        let build = |size: (u64, u64)| {
            let claim = Lookup::claim(&share, size.0, size.1).unwrap();
            Lookup::build(open_concat(segments.clone()).unwrap(), size, claim, Path::new("/"), &|| Ok(()))
        };
        assert!(Lookup::claim(&share, s.records, 1 << 20).is_none());
        // A number that cannot be addressed is refused, even if memory is free.
        let boundless = Share::alone(1 << 50, 1);
        let claims = [(1_000, 1 << 34), (1_000, 1 << 35), (1 << 33, 1 << 20), (u64::MAX, 0)];
        assert_eq!(claims.map(|(n, bytes)| Lookup::claim(&boundless, n, bytes).is_some()), [true, false, false, false]);
        let lookup = build((s.records, s.raw_length)).unwrap();
        for (k, values) in &expected {
            let first = lookup.find(lookup.probe(k)).unwrap();
            assert!(lookup.values(first).eq(values.iter().map(|v| &v[..])));
        }
        assert!(lookup.find(lookup.probe(b"none")).is_none());
        assert!(build((3, s.raw_length)).is_err());
    }
}
