//! Which partition a key belongs to.

use crate::hash::{hash, partition_of};
use crate::key::prefix;
use std::sync::Arc;

/// How an edge assigns keys to partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Partitioning {
    /// By hash, into so many.
    Hash(u32),
    /// All into this one.
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

/// A partitioning with the prefixes of its splitters in one array, for many keys.
pub(crate) struct Router {
    partitioning: Partitioning,
    prefixes: Vec<u64>,
}

impl Router {
    pub(crate) fn new(partitioning: Partitioning) -> Self {
        let prefixes = match &partitioning {
            Partitioning::Range(splitters) => splitters.iter().map(|s| prefix(s)).collect(),
            _ => Vec::new(),
        };
        Router { partitioning, prefixes }
    }

    /// The same as [`Partitioning::of`].
    #[inline]
    pub(crate) fn of(&self, key: &[u8]) -> u32 {
        let Partitioning::Range(splitters) = &self.partitioning else {
            return self.partitioning.of(key);
        };
        let head = prefix(key);
        let mut at = self.prefixes.partition_point(|p| *p < head);
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
