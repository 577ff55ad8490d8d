//! The small side of a join as a table in memory: encoded keys and values.

use windrow_engine::hash;

/// Bytes that a pair takes in a blob beside those of its key and value: the length of each.
pub(super) const PAIR_HEAD_BYTES: usize = 8;

/// Appends a pair to a blob: the length of the key, that of the value, each as 4 little-endian bytes, then both.
pub(super) fn append_pair(key: &[u8], value: &[u8], blob: &mut Vec<u8>) {
    // Keys and values are far below 4 GiB: see `RECORD_TOO_LARGE`.
    blob.extend_from_slice(&(key.len() as u32).to_le_bytes());
    blob.extend_from_slice(&(value.len() as u32).to_le_bytes());
    blob.extend_from_slice(key);
    blob.extend_from_slice(value);
}

/// A hash table with chaining over the bytes of a blob. The values of a key come in the order of the blob.
pub(super) struct SmallTable {
    blob: Box<[u8]>,
    /// For each hash the number of its first pair, plus one; 0 stands for none. A power of two of them.
    first: Vec<u32>,
    pairs: Vec<Pair>,
}

struct Pair {
    /// Start of the key, start of the value, and end of the value.
    place: (u32, u32, u32),
    /// The number of the next pair with the same place in the table, plus one.
    next: u32,
}

impl SmallTable {
    /// Indexes the pairs of a blob; an incomplete one at its end is left out.
    pub(super) fn new(blob: &[u8]) -> Self {
        let mut pairs = Vec::new();
        let mut at = 0;
        while let Some((place, end)) = pair_at(blob, at) {
            pairs.push(Pair { place, next: 0 });
            at = end;
        }
        let slots = (pairs.len() * 2).next_power_of_two();
        let mut table = SmallTable { blob: blob.into(), first: vec![0; slots], pairs };
        // Each goes to the front of its list.
        for number in (0..table.pairs.len()).rev() {
            let slot = table.slot(table.bytes(number).0);
            table.pairs[number].next = std::mem::replace(&mut table.first[slot], number as u32 + 1);
        }
        table
    }

    /// The encoded values of a key.
    #[inline]
    pub(super) fn values<'t>(&'t self, key: &'t [u8]) -> impl Iterator<Item = &'t [u8]> {
        let mut next = self.first[self.slot(key)];
        std::iter::from_fn(move || {
            while next > 0 {
                let number = next as usize - 1;
                next = self.pairs[number].next;
                let (found, value) = self.bytes(number);
                if found == key {
                    return Some(value);
                }
            }
            None
        })
    }

    #[inline]
    fn slot(&self, key: &[u8]) -> usize {
        hash(key) as usize & (self.first.len() - 1)
    }

    #[inline]
    fn bytes(&self, number: usize) -> (&[u8], &[u8]) {
        let (key, value, end) = self.pairs[number].place;
        (&self.blob[key as usize..value as usize], &self.blob[value as usize..end as usize])
    }
}

/// The place of the pair whose lengths begin here, and its end.
fn pair_at(blob: &[u8], at: usize) -> Option<((u32, u32, u32), usize)> {
    let (key_length, rest) = blob.get(at..)?.split_first_chunk::<4>()?;
    let (value_length, rest) = rest.split_first_chunk::<4>()?;
    let (key_length, value_length) = (u32::from_le_bytes(*key_length), u32::from_le_bytes(*value_length));
    let key = u32::try_from(at + PAIR_HEAD_BYTES).ok()?;
    let value = key.checked_add(key_length)?;
    let end = value.checked_add(value_length)?;
    ((value - key) as usize + value_length as usize <= rest.len()).then_some(((key, value, end), end as usize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn table_has_the_values_of_each_key_in_order(
            pairs in proptest::collection::vec(("[ab]{0,3}", "[xy]{0,2}"), 0..60),
            other in "[ab]{0,3}",
        ) {
            let mut blob = Vec::new();
            let mut model: BTreeMap<&str, Vec<&[u8]>> = BTreeMap::new();
            for (key, value) in &pairs {
                append_pair(key.as_bytes(), value.as_bytes(), &mut blob);
                model.entry(key).or_default().push(value.as_bytes());
            }
            let table = SmallTable::new(&blob);
            for key in pairs.iter().map(|(key, _)| key).chain([&other]) {
                let want = model.get(key.as_str()).cloned().unwrap_or_default();
                prop_assert_eq!(table.values(key.as_bytes()).collect::<Vec<_>>(), want);
            }
            // A blob that is cut off has the pairs before the cut.
            let cut = SmallTable::new(&blob[..blob.len().saturating_sub(1)]);
            prop_assert_eq!(cut.pairs.len(), pairs.len().saturating_sub(1));
        }
    }
}
