//! Records that are kept until they are sorted.
//!
//! One region: records grow upwards from its start, their sort entries downwards from its end, and it is full when they meet. So
//! the byte budget is kept exactly, whatever the records' sizes. A record is: key length u32, value length u32, key, value, padded to
//! eight bytes. Knows nothing of files.

use crate::region::{self, Region};
use crate::sort::{self, Entry, Keys};

/// First size of a buffer, bytes: most tasks of a small job never need more.
const START_BYTES: usize = 64 << 10;
/// Up to here a buffer grows step by step; then it reserves its whole budget, which costs nothing until it is touched.
const STEP_BYTES: usize = 2 << 20;
const ENTRY_WORDS: usize = 2;

/// Records in memory.
pub struct Buffer {
    memory: Region<u64>,
    bytes_max: usize,
    /// Words of records.
    data: usize,
    entries: usize,
}

impl Buffer {
    /// Holds at most `bytes_max` (and never more than 32 GiB, which is what an entry can address).
    pub fn new(bytes_max: usize) -> std::io::Result<Self> {
        let bytes_max = bytes_max.min(32 << 30);
        let memory = Region::zeroed(bytes_max.min(START_BYTES) / 8 / ENTRY_WORDS * ENTRY_WORDS)?;
        Ok(Buffer { memory, bytes_max, data: 0, entries: 0 })
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Adds a record; false if it does not fit (an empty buffer refuses only records beyond its budget).
    #[inline]
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> std::io::Result<bool> {
        let words = 1 + (key.len() + value.len()).div_ceil(8);
        while self.data + words + (self.entries + 1) * ENTRY_WORDS > self.memory.as_slice().len() {
            if !self.grow()? {
                return Ok(false);
            }
        }
        let at = self.data;
        let memory = self.memory.as_mut_slice();
        memory[at] = key.len() as u64 | (value.len() as u64) << 32;
        let to = &mut region::bytes_mut(&mut memory[at + 1..at + words])[..key.len() + value.len()];
        let (to_key, to_value) = to.split_at_mut(key.len());
        to_key.copy_from_slice(key);
        to_value.copy_from_slice(value);
        self.entries += 1;
        let entry = memory.len() - self.entries * ENTRY_WORDS;
        region::values_mut::<Entry>(&mut memory[entry..])[0] = Entry::new(key, at as u32);
        self.data = at + words;
        Ok(true)
    }

    #[inline(never)]
    fn grow(&mut self) -> std::io::Result<bool> {
        let old = self.memory.as_slice().len() * 8;
        let new = if old * 4 >= STEP_BYTES { self.bytes_max } else { (old * 4).min(self.bytes_max) };
        let new = new / 8 / ENTRY_WORDS * ENTRY_WORDS;
        if new <= old / 8 {
            return Ok(false);
        }
        let mut memory = Region::<u64>::zeroed(new)?;
        let from = self.memory.as_slice();
        memory.as_mut_slice()[..self.data].copy_from_slice(&from[..self.data]);
        let entries = self.entries * ENTRY_WORDS;
        memory.as_mut_slice()[new - entries..].copy_from_slice(&from[from.len() - entries..]);
        self.memory = memory;
        Ok(true)
    }

    /// Sorts the entries by key, equal ones by arrival.
    pub fn sort(&mut self) {
        let (data, tail) = self.memory.as_mut_slice().split_at_mut(self.data);
        let start = tail.len() - self.entries * ENTRY_WORDS;
        let entries = region::values_mut::<Entry>(&mut tail[start..]);
        // They were added downwards: in order of arrival, sorting what is sorted costs nothing.
        entries.reverse();
        sort::by_key(entries, &Records(data));
    }

    /// All entries, in order after [`sort`](Self::sort).
    pub fn entries(&self) -> &[Entry] {
        let memory = self.memory.as_slice();
        region::values(&memory[memory.len() - self.entries * ENTRY_WORDS..])
    }

    /// The record of an entry.
    #[inline]
    pub fn record(&self, entry: &Entry) -> (&[u8], &[u8]) {
        Records(&self.memory.as_slice()[..self.data]).record(entry.at)
    }

    /// Asks the processor for an entry's record ahead of its use.
    #[inline]
    pub fn prefetch(&self, entry: &Entry) {
        let words = &self.memory.as_slice()[entry.at as usize..self.data];
        crate::prefetch::read(words.as_ptr());
        crate::prefetch::read(words[words.len().min(9) - 1..].as_ptr());
    }

    /// Forgets all records and keeps the memory.
    pub fn clear(&mut self) {
        (self.data, self.entries) = (0, 0);
    }
}

struct Records<'a>(&'a [u64]);

impl<'a> Records<'a> {
    #[inline]
    fn record(&self, at: u32) -> (&'a [u8], &'a [u8]) {
        let words = &self.0[at as usize..];
        let (key, value) = (words[0] as u32 as usize, (words[0] >> 32) as usize);
        region::bytes(&words[1..])[..key + value].split_at(key)
    }
}

impl Keys for Records<'_> {
    #[inline]
    fn key(&self, at: u32) -> &[u8] {
        self.record(at).0
    }
    #[inline]
    fn prefetch(&self, at: u32) {
        crate::prefetch::read(self.0[at as usize..].as_ptr());
    }
}
