//! Stores the bytes of long keys: copied once, never moved, dropped together.

use crate::region::Region;

/// Smallest and largest size of a chunk in bytes. In between, a new chunk is a quarter of the bytes so far, which
/// bounds the unused part.
const CHUNK_BYTES: [usize; 2] = [4 << 10, 8 << 20];

/// A list of chunks; new bytes go to the end of the last chunk.
pub(crate) struct Arena {
    chunks: Vec<Region<u8>>,
    /// Used bytes of the last chunk.
    at: usize,
    bytes: usize,
}

impl Arena {
    /// Creates an arena, which takes no memory before the first key.
    pub(crate) fn new() -> Self {
        Arena { chunks: Vec::new(), at: 0, bytes: 0 }
    }

    /// Bytes of all chunks.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of all chunks after this key has been added.
    pub(crate) fn bytes_with(&self, key: Option<&[u8]>) -> usize {
        self.bytes + key.map_or(0, |key| self.chunk_for(key))
    }

    /// Size in bytes of the chunk that this key needs; zero if it fits into the last chunk.
    fn chunk_for(&self, key: &[u8]) -> usize {
        match self.chunks.last() {
            Some(c) if c.as_slice().len() - self.at >= key.len() => 0,
            _ => key.len().max((self.bytes / 4).clamp(CHUNK_BYTES[0], CHUNK_BYTES[1])),
        }
    }

    /// Copies a key. The bytes do not move until [`clear`](Self::clear).
    pub(crate) fn put(&mut self, key: &[u8]) -> std::io::Result<&[u8]> {
        let new = self.chunk_for(key);
        if new > 0 || self.chunks.is_empty() {
            self.chunks.push(Region::arbitrary(new)?);
            self.bytes += new;
            self.at = 0;
        }
        let start = self.at;
        self.at += key.len();
        let last = self.chunks.len() - 1;
        let to = &mut self.chunks[last].as_mut_slice()[start..self.at];
        to.copy_from_slice(key);
        Ok(to)
    }

    /// Drops all bytes.
    pub(crate) fn clear(&mut self) {
        self.chunks.clear();
        (self.at, self.bytes) = (0, 0);
    }
}
