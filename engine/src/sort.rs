//! Sorting of small entries that stand for records: by partition, then key bytes, then arrival.
//!
//! An entry carries eight bytes of its key; the payload is moved once, when it is written. Large arrays are split in place by an
//! American flag sort (McIlroy, Bostic and McIlroy 1993) whose digits are taken from the range that the values really span, so that
//! printable keys fill its buckets too. Keys that agree in eight bytes are sorted by their next eight. Small groups go to the
//! standard library's sort. No scratch memory but a few counters per level.

use crate::key::prefix_at;
use crate::region::Plain;
use std::cmp::Ordering;

/// What is sorted in place of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Entry {
    /// Before sorting: the key's first eight bytes, as [`crate::key::prefix`] gives them. Afterwards: arbitrary.
    pub prefix: u64,
    /// Partition of the record.
    pub partition: u32,
    /// Where the record is; ascends with arrival.
    pub at: u32,
}

// SAFETY: three integers, sixteen bytes, no padding.
unsafe impl Plain for Entry {}

/// Where entries' keys are found.
pub trait Keys {
    /// The key of the entry with this `at`.
    fn key(&self, at: u32) -> &[u8];
    /// Asks the processor for what [`prefetch_key`](Self::prefetch_key) reads.
    fn prefetch(&self, _at: u32) {}
    /// Asks the processor for the key's bytes.
    fn prefetch_key(&self, _at: u32) {}
}

/// How many entries ahead of the one in use their keys are fetched, in two steps.
pub const PREFETCH: usize = 16;

/// The entry's key, while those of the entries behind it are on their way.
#[inline]
fn key_ahead<'k, K: Keys>(entries: &[Entry], i: usize, keys: &'k K) -> &'k [u8] {
    if let Some(e) = entries.get(i + PREFETCH) {
        keys.prefetch(e.at);
    }
    if let Some(e) = entries.get(i + PREFETCH / 2) {
        keys.prefetch_key(e.at);
    }
    keys.key(entries[i].at)
}

/// Up to here the standard library sorts.
const SMALL: usize = 96;
/// Up to here entries that hold the same are compared by their whole keys.
const TIES_DIRECT: usize = 3;
/// Most buckets of one level: their heads must stay in the first cache.
const BITS_MAX: u32 = 10;

/// Sorts by partition, then key bytes, then `at`.
pub fn by_key<K: Keys>(entries: &mut [Entry], keys: &K) {
    sort(entries, Level::Bytes(0), keys);
}

/// Sorts by partition, then `at`.
pub fn by_arrival(entries: &mut [Entry]) {
    struct NoKeys;
    impl Keys for NoKeys {
        fn key(&self, _: u32) -> &[u8] {
            &[]
        }
    }
    if entries.is_sorted_by_key(|e| (e.partition, e.at)) {
        return;
    }
    if entries.is_sorted_by(|a, b| (a.partition, a.at) > (b.partition, b.at)) {
        entries.reverse();
        return;
    }
    reload(entries, Level::Arrival, &NoKeys);
    sort(entries, Level::Arrival, &NoKeys);
}

/// What an entry's prefix holds at some depth of the sort.
#[derive(Clone, Copy)]
enum Level {
    /// Key bytes from here on; the bytes before are equal.
    Bytes(usize),
    /// The key's length: all bytes are equal, up to trailing zeros.
    Length,
    /// `at`: the keys are equal.
    Arrival,
}

fn sort<K: Keys>(entries: &mut [Entry], level: Level, keys: &K) {
    if entries.len() <= SMALL {
        return sort_small(entries, level, keys);
    }
    let (mut low, mut high) = ((u32::MAX, u64::MAX), (0, 0));
    let (mut partition_low, mut partition_high) = (u32::MAX, 0);
    for e in entries.iter() {
        low.1 = low.1.min(e.prefix);
        high.1 = high.1.max(e.prefix);
        partition_low = partition_low.min(e.partition);
        partition_high = partition_high.max(e.partition);
    }
    low.0 = partition_low;
    high.0 = partition_high;
    let bits = (entries.len() / 32).ilog2().clamp(1, BITS_MAX);
    if low.0 != high.0 {
        // One pass uses both when there are few partitions.
        let (from, to) = ((low.0 as u128) << 64, (high.0 as u128) << 64 | u64::MAX as u128);
        let shift = (128 - (to - from).leading_zeros()).saturating_sub(bits);
        split(entries, 1 << bits, |e| ((whole(e) - from) >> shift) as usize, |part| sort(part, level, keys));
    } else if low.1 != high.1 {
        let from = low.1;
        let shift = (64 - (high.1 - from).leading_zeros()).saturating_sub(bits);
        split(entries, 1 << bits, |e| ((e.prefix - from) >> shift) as usize, |part| sort(part, level, keys));
    } else if let Some(next) = deeper(entries, level, keys) {
        reload(entries, next, keys);
        sort(entries, next, keys);
    }
}

/// By what the entries hold first: keys are only looked at where that is equal.
fn sort_small<K: Keys>(entries: &mut [Entry], level: Level, keys: &K) {
    entries.sort_unstable_by_key(whole);
    for equal in entries.chunk_by_mut(|a, b| whole(a) == whole(b)) {
        match equal.len() {
            1 => {}
            2..=TIES_DIRECT => equal.sort_unstable_by(|a, b| compare(a, b, level, keys)),
            _ => {
                if let Some(next) = deeper(equal, level, keys) {
                    reload(equal, next, keys);
                    sort_small(equal, next, keys);
                }
            }
        }
    }
}

/// Partition and prefix as one number.
#[inline]
fn whole(e: &Entry) -> u128 {
    (e.partition as u128) << 64 | e.prefix as u128
}

/// The level after this one, for entries that this one does not tell apart.
fn deeper<K: Keys>(entries: &[Entry], level: Level, keys: &K) -> Option<Level> {
    match level {
        Level::Bytes(depth) => Some(common(entries, depth + 8, keys).map_or(Level::Length, Level::Bytes)),
        Level::Length => Some(Level::Arrival),
        Level::Arrival => None,
    }
}

/// The first depth from `depth` on, in steps of eight, where the keys are not all alike; none if they are to their ends.
fn common<K: Keys>(entries: &[Entry], depth: usize, keys: &K) -> Option<usize> {
    let first = keys.key(entries[0].at);
    let mut found = usize::MAX;
    for i in 0..entries.len() {
        let key = key_ahead(entries, i, keys);
        let end = found.min(first.len().max(key.len()));
        let differs = |at: &usize| prefix_at(first, *at) != prefix_at(key, *at);
        found = found.min((depth..end).step_by(8).find(differs).unwrap_or(usize::MAX));
        if found == depth {
            break;
        }
    }
    if found == usize::MAX { None } else { Some(found) }
}

fn reload<K: Keys>(entries: &mut [Entry], level: Level, keys: &K) {
    for i in 0..entries.len() {
        entries[i].prefix = match level {
            Level::Bytes(depth) => prefix_at(key_ahead(entries, i, keys), depth),
            Level::Length => key_ahead(entries, i, keys).len() as u64,
            Level::Arrival => entries[i].at as u64,
        };
    }
}

/// Of two entries that hold the same.
#[inline]
fn compare<K: Keys>(a: &Entry, b: &Entry, level: Level, keys: &K) -> Ordering {
    match level {
        Level::Bytes(_) => keys.key(a.at).cmp(keys.key(b.at)).then(a.at.cmp(&b.at)),
        Level::Length | Level::Arrival => a.at.cmp(&b.at),
    }
}

/// Permutes the entries into buckets by `digit`, in place, and calls `then` on each bucket.
fn split(entries: &mut [Entry], buckets: usize, digit: impl Fn(&Entry) -> usize, mut then: impl FnMut(&mut [Entry])) {
    let mut ends = [0usize; 1 << BITS_MAX];
    let mut heads = [0usize; 1 << BITS_MAX];
    let (ends, heads) = (&mut ends[..buckets], &mut heads[..buckets]);
    for e in entries.iter() {
        ends[digit(e)] += 1;
    }
    let mut sum = 0;
    for (head, end) in heads.iter_mut().zip(ends.iter_mut()) {
        *head = sum;
        sum += *end;
        *end = sum;
    }
    for bucket in 0..buckets {
        while heads[bucket] < ends[bucket] {
            let mut e = entries[heads[bucket]];
            let mut to = digit(&e);
            while to != bucket {
                std::mem::swap(&mut e, &mut entries[heads[to]]);
                heads[to] += 1;
                to = digit(&e);
            }
            entries[heads[bucket]] = e;
            heads[bucket] += 1;
        }
    }
    let mut start = 0;
    for end in ends.iter() {
        if *end - start > 1 {
            then(&mut entries[start..*end]);
        }
        start = *end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::prefix;
    use proptest::prelude::*;

    impl Keys for Vec<Vec<u8>> {
        fn key(&self, at: u32) -> &[u8] {
            &self[at as usize]
        }
    }

    fn check(keys: Vec<Vec<u8>>, partitions: u32) {
        let part = |i: usize| (i as u32).wrapping_mul(2_654_435_761) % partitions;
        let make = |i: usize| Entry { prefix: prefix(&keys[i]), partition: part(i), at: i as u32 };
        let mut entries: Vec<Entry> = (0..keys.len()).map(make).collect();
        by_key(&mut entries, &keys);
        let mut expected: Vec<usize> = (0..keys.len()).collect();
        expected.sort_by_key(|i| (part(*i), &keys[*i]));
        assert!(entries.iter().map(|e| e.at as usize).eq(expected.iter().copied()));
        by_arrival(&mut entries);
        expected.sort_by_key(|i| (part(*i), *i));
        assert!(entries.iter().map(|e| e.at as usize).eq(expected));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn entries_sort_by_partition_then_key_then_arrival(
            keys in prop::collection::vec(prop::collection::vec(0u8..3, 0..28), 0..3000),
            partitions in 1u32..40,
        ) {
            check(keys, partitions);
        }
    }

    #[test]
    fn keys_with_long_common_beginnings_and_many_equal_keys_sort() {
        let key = |i: u32| format!("https://example.org/{}/{}", i % 17, "x".repeat(i as usize % 5)).into_bytes();
        check((0..20_000).map(key).collect(), 1);
        check(vec![b"same".to_vec(); 5000], 3);
        check((0..5000).map(|i| vec![0; i % 30]).collect(), 1);
        check((0..50_000u64).map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes().to_vec()).collect(), 1000);
    }
}
