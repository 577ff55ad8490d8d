//! Sorting of small entries that stand for records: by key bytes, then arrival.
//!
//! An entry carries eight bytes of its key, and whether the key ends there; the payload is moved once, when it is written. Keys of up
//! to eight bytes are never looked at. Large arrays are split in place by an American flag sort (McIlroy, Bostic and McIlroy 1993)
//! whose digits are taken from the range that the values really span, so that printable keys fill its buckets too. Keys that agree
//! in eight bytes are sorted by their next eight. Small groups go to the standard library's sort. No scratch memory but a few
//! counters per level.

use crate::key::{prefix, prefix_at};
use crate::region::Plain;

/// What is sorted in place of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Entry {
    /// Before sorting: the key's first eight bytes, as [`crate::key::prefix`] gives them. Afterwards: arbitrary.
    pub prefix: u64,
    /// How many bytes the key has from `prefix` on, or nine if they are more than eight.
    pub left: u32,
    /// Where the record is; ascends with arrival.
    pub at: u32,
}

/// More bytes than the prefix holds.
const MORE: u32 = 9;

impl Entry {
    /// For the record with this key at this place.
    #[inline]
    pub fn new(key: &[u8], at: u32) -> Self {
        Entry { prefix: prefix(key), left: (key.len() as u32).min(MORE), at }
    }

    #[inline]
    fn whole(&self) -> u128 {
        (self.prefix as u128) << 64 | (self.left as u128) << 32 | self.at as u128
    }
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
/// From here on other threads may help: sorting takes longer than it takes one to notice. (In tests they help with small ones, too.)
const HELP_MIN: usize = if cfg!(test) { 1 << 10 } else { 1 << 19 };
/// Most buckets of one level: their heads must stay in the first cache.
const BITS_MAX: u32 = 10;

/// Sorts by key bytes, then `at`. Entries come in the order of `at`.
pub fn by_key<K: Keys>(entries: &mut [Entry], keys: &K) {
    if !are_sorted(entries) {
        sort(entries, Level::Bytes(0), keys);
    }
}

/// The same, with the help of other threads of the rayon pool that have nothing to do: for an array that is large enough.
pub fn by_key_with_help<K: Keys + Sync>(entries: &mut [Entry], keys: &K) {
    if !are_sorted(entries) {
        sort_with_help(entries, keys);
    }
}

/// Much of what is sorted was sorted before.
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

/// Calls `f` on each bucket, of which the first begins at `start`; half of the entries on another thread if one has time.
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

/// What an entry's prefix holds at some depth of the sort.
#[derive(Clone, Copy)]
enum Level {
    /// Key bytes from here on; the bytes before are equal.
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

/// Into how many buckets these entries should be split, and which one an entry belongs to; none if all have the same prefix.
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

/// By what the entries hold first: keys are only looked at where that is equal.
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

/// Of many entries with the same prefix: those whose keys end there are told apart by their lengths.
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

/// Of equal keys.
fn by_arrival<K: Keys>(entries: &mut [Entry], keys: &K) {
    if !entries.is_sorted_by_key(|e| e.at) {
        entries.iter_mut().for_each(|e| e.prefix = e.at as u64);
        sort(entries, Level::Arrival, keys);
    }
}

/// Of keys that are longer than this depth's prefix, which is equal.
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

/// What an entry holds of a key at some depth.
#[inline]
fn cell(key: &[u8], depth: usize) -> (u64, u32) {
    (prefix_at(key, depth), key.len().saturating_sub(depth).min(MORE as usize) as u32)
}

/// The first depth from `depth` on, in steps of eight, where the keys are not all alike; none if they are to their ends.
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

/// Permutes the entries into buckets by `digit`, in place; says where each ends.
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
    fn keys_with_long_common_beginnings_and_many_equal_keys_sort() {
        let key = |i: u32| format!("https://example.org/{}/{}", i % 17, "x".repeat(i as usize % 5)).into_bytes();
        check((0..20_000).map(key).collect());
        check(vec![b"same".to_vec(); 5000]);
        check(vec![b"the same again".to_vec(); 5000]);
        check((0..5000).map(|i| vec![0; i % 30]).collect());
        check((0..50_000u64).map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes().to_vec()).collect());
        check((0..50_000u64).map(|i| (i % 7).to_be_bytes().to_vec()).collect());
    }
}
