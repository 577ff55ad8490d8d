//! Assigns keys to partitions.

use crate::hash::{hash, partition_of};
use crate::key::prefix;
use std::sync::Arc;

/// How an edge assigns keys to partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Partitioning {
    /// By hash, into this number of partitions.
    Hash(u32),
    /// All keys into this partition.
    Fixed(u32),
    /// By key order: the number of ascending splitters that are not above the key.
    Range(Arc<Vec<Vec<u8>>>),
}

impl Partitioning {
    /// The key's partition. Costs one hash, or a binary search over the splitters.
    #[inline]
    pub fn of(&self, key: &[u8]) -> u32 {
        match self {
            Partitioning::Hash(1) => 0,
            Partitioning::Hash(n) => partition_of(hash(key), *n),
            Partitioning::Fixed(p) => *p,
            Partitioning::Range(splitters) => splitters.partition_point(|s| s.as_slice() <= key) as u32,
        }
    }
}

/// A partitioning for many keys: keeps the prefixes of its splitters in one array, and a table of where to search in
/// it.
pub(crate) struct Router {
    partitioning: Partitioning,
    prefixes: Vec<u64>,
    /// For each of equally long ranges of prefixes, the number of splitter prefixes before it; and one entry more.
    before: Vec<u32>,
    shift: u32,
}

/// Number of ranges for each splitter, so that few ranges contain more than one.
const RANGES_PER_SPLITTER: usize = 8;
/// Most ranges: their table fits into the second-level cache beside other data.
const RANGES_MAX: usize = 1 << 14;

impl Router {
    pub(crate) fn new(partitioning: Partitioning) -> Self {
        let prefixes = match &partitioning {
            Partitioning::Range(splitters) => splitters.iter().map(|s| prefix(s)).collect(),
            _ => Vec::new(),
        };
        let mut router = Router { partitioning, prefixes, before: Vec::new(), shift: 0 };
        if let (Some(low), Some(high)) = (router.prefixes.first(), router.prefixes.last()) {
            let ranges = (router.prefixes.len() * RANGES_PER_SPLITTER).min(RANGES_MAX) as u64;
            let span = high - low;
            while (span >> router.shift) >= ranges {
                router.shift += 1;
            }
            let starts = (0..=span >> router.shift).map(|range| low + (range << router.shift));
            router.before = starts.map(|start| router.prefixes.partition_point(|p| *p < start) as u32).collect();
            router.before.push(router.prefixes.len() as u32);
        }
        router
    }

    /// Number of splitter prefixes below `head`.
    #[inline]
    fn below(&self, head: u64) -> usize {
        let (Some(low), Some(high)) = (self.prefixes.first(), self.prefixes.last()) else { return 0 };
        if head <= *low {
            return 0;
        }
        if head > *high {
            return self.prefixes.len();
        }
        let range = ((head - low) >> self.shift) as usize;
        let (from, to) = (self.before[range] as usize, self.before[range + 1] as usize);
        from + self.prefixes[from..to].partition_point(|p| *p < head)
    }

    /// The key's partition; equals [`Partitioning::of`].
    #[inline]
    pub(crate) fn of(&self, key: &[u8]) -> u32 {
        let Partitioning::Range(splitters) = &self.partitioning else {
            return self.partitioning.of(key);
        };
        let head = prefix(key);
        let mut at = self.below(head);
        // Only splitters with the key's own prefix need their bytes compared.
        while self.prefixes.get(at) == Some(&head) && splitters[at].as_slice() <= key {
            at += 1;
        }
        at as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The router agrees with a search over all splitters, for any splitters.
        #[test]
        fn router_agrees_with_a_search_of_all_splitters(
            splitters in prop::collection::btree_set(prop::collection::vec(0u8..5, 0..12), 0..200),
            wide in prop::collection::btree_set(any::<[u8; 9]>(), 0..200),
            keys in prop::collection::vec(prop::collection::vec(0u8..5, 0..12), 0..50),
            others in prop::collection::vec(any::<[u8; 9]>(), 0..50),
        ) {
            let wide: Vec<Vec<u8>> = wide.into_iter().map(|s| s.to_vec()).collect();
            for splitters in [splitters.into_iter().collect(), wide] {
                let ends: Vec<Vec<u8>> = splitters.clone();
                let range = Partitioning::Range(Arc::new(splitters));
                let router = Router::new(range.clone());
                let wide = others.iter().map(|k| k.as_slice());
                for key in keys.iter().chain(&ends).map(Vec::as_slice).chain(wide) {
                    prop_assert_eq!(router.of(key), range.of(key));
                }
            }
        }
    }

    #[test]
    fn a_splitter_is_the_first_key_of_its_partition() {
        let splitters: Vec<Vec<u8>> = ["b", "banana", "bananas12", "bananas13", "c"].map(|s| s.into()).to_vec();
        let range = Partitioning::Range(Arc::new(splitters.clone()));
        let router = Router::new(range.clone());
        let others = ["", "a", "b\0", "bananas", "bananas1", "bananas14", "zebra"];
        for key in splitters.iter().map(|s| s.as_slice()).chain(others.iter().map(|s| s.as_bytes())) {
            let expected = splitters.iter().filter(|s| s.as_slice() <= key).count() as u32;
            assert_eq!(range.of(key), expected);
            assert_eq!(router.of(key), expected);
        }
    }
}
