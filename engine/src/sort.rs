//! Sorts small entries that stand for records: by key, then by arrival.
//!
//! An entry holds eight bytes of its key and whether the key ends there; the record itself is moved once, when it is
//! written. Keys of up to eight bytes are never read again. Large arrays are split in place by an American flag sort
//! (McIlroy, Bostic and McIlroy 1993) whose digits are taken from the actual range of the values, so that printable
//! keys fill its buckets too. Keys that agree in eight bytes are sorted by their next eight. Small groups go to the
//! standard library's sort. The sort needs no scratch memory except a few counters per level.

use crate::key::{prefix, prefix_at};
use crate::region::Plain;

/// An entry that is sorted in place of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Entry {
    /// Before sorting: the first eight bytes of the key, in the form of [`crate::key::prefix`]. Afterwards: arbitrary.
    pub prefix: u64,
    /// Number of key bytes from `prefix` on, or nine if there are more than eight.
    pub left: u32,
    /// Address of the record; ascends in order of arrival.
    pub at: u32,
}

/// Marks a key with more bytes than the prefix holds.
const MORE: u32 = 9;

impl Entry {
    /// An entry of the record with this key at this address.
    #[inline]
    pub(crate) fn new(key: &[u8], at: u32) -> Self {
        Entry { prefix: prefix(key), left: (key.len() as u32).min(MORE), at }
    }

    #[inline]
    fn whole(&self) -> u128 {
        (self.prefix as u128) << 64 | (self.left as u128) << 32 | self.at as u128
    }
}

// SAFETY: three integers, sixteen bytes, no padding.
unsafe impl Plain for Entry {}

/// Gives access to the keys of entries.
pub(crate) trait Keys {
    /// The key of the entry with this `at`.
    fn key(&self, at: u32) -> &[u8];
    /// Prefetches what [`prefetch_key`](Self::prefetch_key) reads.
    fn prefetch(&self, _at: u32) {}
    /// Prefetches the bytes of the key.
    fn prefetch_key(&self, _at: u32) {}
}

/// Number of entries that keys are prefetched ahead, in two steps.
pub(crate) const PREFETCH: usize = 16;

/// The key of entry `i`; prefetches the keys of later entries.
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

/// Most entries that the standard library sorts.
const SMALL: usize = 96;
/// Most entries with equal prefix that are compared by their whole keys.
const TIES_DIRECT: usize = 3;
/// Number of entries from which on other threads help. Below it sorting takes less time than another thread needs to
/// join. (Tests use a small number to cover the help.)
const HELP_MIN: usize = if cfg!(test) { 1 << 10 } else { 1 << 19 };
/// Most bits of a digit: the heads of the buckets must stay in the first-level cache.
const BITS_MAX: u32 = 10;

/// Sorts by key, then `at`. The entries must come in the order of `at`.
pub(crate) fn by_key<K: Keys>(entries: &mut [Entry], keys: &K) {
    if !are_sorted(entries) {
        sort(entries, Level::Bytes(0), keys);
    }
}

/// Sorts as [`by_key`] does, with the help of idle threads of the rayon pool if the array is large.
pub(crate) fn by_key_with_help<K: Keys + Sync>(entries: &mut [Entry], keys: &K) {
    if !are_sorted(entries) {
        sort_with_help(entries, keys);
    }
}

/// Returns whether the entries are sorted already, which is common.
fn are_sorted(entries: &[Entry]) -> bool {
    entries.is_sorted_by(|a, b| a.prefix < b.prefix || (a.prefix == b.prefix && a.left <= b.left && b.left < MORE))
}

fn sort_with_help<K: Keys + Sync>(entries: &mut [Entry], keys: &K) {
    match spread(entries) {
        Some((buckets, digit)) if entries.len() >= HELP_MIN => {
            let ends = permute(entries, buckets, digit);
            each_with_help(entries, 0, &ends[..buckets], &|part| sort_with_help(part, keys));
        }
        _ => sort(entries, Level::Bytes(0), keys),
    }
}

/// Calls `f` on each bucket, the first of which begins at `start`; idle threads take over halves of the entries.
fn each_with_help(entries: &mut [Entry], start: usize, ends: &[usize], f: &(impl Fn(&mut [Entry]) + Sync)) {
    if ends.len() < 2 {
        return f(entries);
    }
    if entries.len() < HELP_MIN {
        return each_bucket(entries, start, ends, f);
    }
    let half = ends.partition_point(|end| end - start <= entries.len() / 2).clamp(1, ends.len() - 1);
    let middle = ends[half - 1];
    let (left, right) = entries.split_at_mut(middle - start);
    rayon::join(|| each_with_help(left, start, &ends[..half], f), || each_with_help(right, middle, &ends[half..], f));
}

/// The meaning of an entry's prefix at one depth of the sort.
#[derive(Clone, Copy)]
enum Level {
    /// Key bytes from this depth on; the bytes before are equal.
    Bytes(usize),
    /// `at`: the keys are equal.
    Arrival,
}

fn sort<K: Keys>(entries: &mut [Entry], level: Level, keys: &K) {
    if entries.len() <= SMALL {
        return sort_small(entries, level, keys);
    }
    let Some((buckets, digit)) = spread(entries) else {
        return match level {
            Level::Bytes(depth) => equal_prefixes(entries, depth, keys),
            Level::Arrival => {}
        };
    };
    let ends = permute(entries, buckets, digit);
    each_bucket(entries, 0, &ends[..buckets], |part| sort(part, level, keys));
}

/// Calls `f` on each bucket with more than one entry; the first begins at `start`.
fn each_bucket(entries: &mut [Entry], start: usize, ends: &[usize], mut f: impl FnMut(&mut [Entry])) {
    let mut from = 0;
    for to in ends.iter().map(|end| end - start) {
        if to - from > 1 {
            f(&mut entries[from..to]);
        }
        from = to;
    }
}

/// The number of buckets for these entries, and the function that maps an entry to its bucket; none if all have the
/// same prefix.
fn spread(entries: &[Entry]) -> Option<(usize, impl Fn(&Entry) -> usize + use<>)> {
    let (mut low, mut high) = (u64::MAX, 0);
    for e in entries.iter() {
        low = low.min(e.prefix);
        high = high.max(e.prefix);
    }
    if low >= high {
        return None;
    }
    let bits = (entries.len() / 32).max(1).ilog2().clamp(1, BITS_MAX);
    let shift = (64 - (high - low).leading_zeros()).saturating_sub(bits);
    Some((1 << bits, move |e: &Entry| ((e.prefix - low) >> shift) as usize))
}

/// Sorts by the contents of the entries first; keys are read only where those are equal.
fn sort_small<K: Keys>(entries: &mut [Entry], level: Level, keys: &K) {
    entries.sort_unstable_by_key(Entry::whole);
    let Level::Bytes(depth) = level else {
        return;
    };
    for equal in entries.chunk_by_mut(|a, b| a.left == MORE && b.left == MORE && a.prefix == b.prefix) {
        match equal.len() {
            1 => {}
            2..=TIES_DIRECT => equal.sort_unstable_by(|a, b| keys.key(a.at).cmp(keys.key(b.at)).then(a.at.cmp(&b.at))),
            _ => deeper(equal, depth, keys),
        }
    }
}

/// Sorts many entries with the same prefix: keys that end within it are ordered by length.
#[inline(never)]
fn equal_prefixes<K: Keys>(entries: &mut [Entry], depth: usize, keys: &K) {
    let first = entries[0].left;
    if entries.iter().any(|e| e.left != first) {
        entries.sort_unstable_by_key(|e| (e.left, e.at));
        let longer = entries.partition_point(|e| e.left < MORE);
        return deeper(&mut entries[longer..], depth, keys);
    }
    if first < MORE { by_arrival(entries, keys) } else { deeper(entries, depth, keys) }
}

/// Sorts entries of equal keys by arrival.
fn by_arrival<K: Keys>(entries: &mut [Entry], keys: &K) {
    if !entries.is_sorted_by_key(|e| e.at) {
        entries.iter_mut().for_each(|e| e.prefix = e.at as u64);
        sort(entries, Level::Arrival, keys);
    }
}

/// Sorts keys that agree up to this depth's prefix and are longer.
fn deeper<K: Keys>(entries: &mut [Entry], depth: usize, keys: &K) {
    if entries.len() < 2 {
        return;
    }
    match common(entries, depth + 8, keys) {
        None => by_arrival(entries, keys),
        Some(depth) => {
            for i in 0..entries.len() {
                (entries[i].prefix, entries[i].left) = cell(key_ahead(entries, i, keys), depth);
            }
            sort(entries, Level::Bytes(depth), keys);
        }
    }
}

/// The contents of an entry for a key at this depth.
#[inline]
fn cell(key: &[u8], depth: usize) -> (u64, u32) {
    (prefix_at(key, depth), key.len().saturating_sub(depth).min(MORE as usize) as u32)
}

/// The first depth from `depth` on, in steps of eight, at which the keys differ; none if all are equal.
fn common<K: Keys>(entries: &[Entry], depth: usize, keys: &K) -> Option<usize> {
    let first = keys.key(entries[0].at);
    let mut found = usize::MAX;
    for i in 0..entries.len() {
        let key = key_ahead(entries, i, keys);
        let end = found.min(first.len().max(key.len()));
        let differs = |at: &usize| cell(first, *at) != cell(key, *at);
        found = found.min((depth..end).step_by(8).find(differs).unwrap_or(usize::MAX));
        if found == depth {
            break;
        }
    }
    if found == usize::MAX { None } else { Some(found) }
}

/// Permutes the entries into buckets by `digit`, in place; returns the end of each bucket.
fn permute(entries: &mut [Entry], buckets: usize, digit: impl Fn(&Entry) -> usize) -> [usize; 1 << BITS_MAX] {
    let mut all_ends = [0usize; 1 << BITS_MAX];
    let mut heads = [0usize; 1 << BITS_MAX];
    let (ends, heads) = (&mut all_ends[..buckets], &mut heads[..buckets]);
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
    all_ends
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Keys for Vec<Vec<u8>> {
        fn key(&self, at: u32) -> &[u8] {
            &self[at as usize]
        }
    }

    fn check(keys: Vec<Vec<u8>>) {
        let mut entries: Vec<Entry> = (0..keys.len()).map(|i| Entry::new(&keys[i], i as u32)).collect();
        let mut helped = entries.clone();
        by_key(&mut entries, &keys);
        by_key_with_help(&mut helped, &keys);
        assert!(helped.iter().zip(&entries).all(|(a, b)| a.at == b.at));
        let mut expected: Vec<usize> = (0..keys.len()).collect();
        expected.sort_by_key(|i| &keys[*i]);
        assert!(entries.iter().map(|e| e.at as usize).eq(expected));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn entries_sort_by_key_then_arrival(
            mut keys in prop::collection::vec(prop::collection::vec(0u8..3, 0..28), 0..3000),
            sorted: bool,
        ) {
            if sorted {
                keys.sort();
            }
            check(keys);
        }
    }

    #[test]
    fn keys_with_long_common_prefixes_sort() {
        let key = |i: u32| format!("https://example.org/{}/{}", i % 17, "x".repeat(i as usize % 5)).into_bytes();
        check((0..20_000).map(key).collect());
        check(vec![b"same".to_vec(); 5000]);
        check(vec![b"the same again".to_vec(); 5000]);
        check((0..5000).map(|i| vec![0; i % 30]).collect());
        check((0..50_000u64).map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes().to_vec()).collect());
        check((0..50_000u64).map(|i| (i % 7).to_be_bytes().to_vec()).collect());
    }
}
