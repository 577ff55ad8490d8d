//! Bytes of long keys: copied once, never moved, dropped together.

/// First and largest size of a chunk.
const CHUNK_BYTES: [usize; 2] = [4 << 10, 1 << 20];

/// A list of chunks; bytes are added at the end of the last.
pub struct Arena {
    chunks: Vec<Vec<u8>>,
    bytes: usize,
}

impl Arena {
    /// Without memory until the first key.
    pub fn new() -> Self {
        Arena { chunks: Vec::new(), bytes: 0 }
    }

    /// Bytes of all chunks.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of all chunks once this key is in them too.
    pub fn bytes_with(&self, key: Option<&[u8]>) -> usize {
        self.bytes + key.map_or(0, |key| self.chunk_for(key))
    }

    /// Size of the chunk that this key would need; zero if it fits into the last one.
    fn chunk_for(&self, key: &[u8]) -> usize {
        match self.chunks.last() {
            Some(c) if c.capacity() - c.len() >= key.len() => 0,
            _ => key.len().max(self.bytes.clamp(CHUNK_BYTES[0], CHUNK_BYTES[1])),
        }
    }

    /// Copies a key; the bytes stay where they are until [`clear`](Self::clear).
    pub fn put(&mut self, key: &[u8]) -> &[u8] {
        let new = self.chunk_for(key);
        if new > 0 || self.chunks.is_empty() {
            let chunk = Vec::with_capacity(new);
            self.bytes += chunk.capacity();
            self.chunks.push(chunk);
        }
        let last = self.chunks.len() - 1;
        let chunk = &mut self.chunks[last];
        let start = chunk.len();
        // Within its capacity: the chunk does not move.
        chunk.extend_from_slice(key);
        &chunk[start..]
    }

    /// Drops all bytes.
    pub fn clear(&mut self) {
        self.chunks.clear();
        self.bytes = 0;
    }
}
