//! The memory that a task holds while it reads a compressed file: the decoder's window and the decompressed block.
//!
//! Neither can spill, and nothing waits for it: more than an equal part per slot is refused, with the `--memory` value
//! that would suffice. The size of the whole content does not matter, only how much of it must be in memory at a time.

use super::decoder::Grant;
use windrow_engine::Claim;
use windrow_model::{ByteSize, Code, Failure};

/// The minimum growth of a block that is too small, in bytes.
const MORE_MIN: usize = 256 << 10;

/// The memory of one decoder and its block.
pub(super) struct Room {
    claim: Claim,
    decoder_bytes: u64,
    block_bytes: u64,
}

impl Room {
    pub(super) fn new(claim: Claim) -> Self {
        Room { claim, decoder_bytes: 0, block_bytes: 0 }
    }

    /// Sets the size of the block to `bytes`.
    pub(super) fn hold_block(&mut self, bytes: u64) -> Result<(), Failure> {
        self.block_bytes = bytes;
        self.hold("a record of this length, with its decoder,")
    }

    /// Grows the block from `from` to at most `to` bytes and returns its new size. Fails if the block can hardly grow.
    pub(super) fn grow_block(&mut self, from: usize, to: usize) -> Result<usize, Failure> {
        let mut more = to - from;
        let mut refusal = None;
        loop {
            match self.hold_block((from + more) as u64) {
                Ok(()) => return Ok(from + more),
                // The first refusal names the memory with which the block can grow most.
                Err(e) if more <= MORE_MIN => return Err(refusal.unwrap_or(e)),
                Err(e) => _ = refusal.get_or_insert(e),
            }
            more /= 2;
        }
    }

    fn hold(&mut self, what: &str) -> Result<(), Failure> {
        let bytes = self.decoder_bytes.saturating_add(self.block_bytes);
        self.claim.hold(bytes).map_err(|memory_bytes| {
            let message = format!(
                "{what} needs {} of memory: give --memory {}MiB, or run fewer tasks at a time",
                ByteSize(bytes),
                memory_bytes >> 20,
            );
            Failure::new(Code::DecompressionLimit, message)
        })
    }
}

impl Grant for Room {
    fn hold(&mut self, bytes: u64) -> Result<(), Failure> {
        self.decoder_bytes = bytes;
        Room::hold(self, "decompressing it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windrow_engine::Memory;

    #[test]
    fn refusal_names_the_memory_that_suffices() {
        let room = |bytes| Room::new(Memory::of_process(bytes, 2).begin(1).fixed());
        let failure = Grant::hold(&mut room(128 << 20), 1 << 31).unwrap_err();
        assert_eq!(failure.code, Code::DecompressionLimit);
        assert!(failure.message.starts_with("decompressing it needs 2 GiB"), "{failure}");
        let (_, named) = failure.message.split_once("--memory ").unwrap();
        let (size, _) = named.split_once(',').unwrap();
        let enough: ByteSize = size.parse().unwrap();
        Grant::hold(&mut room(enough.0), 1 << 31).unwrap();
        Grant::hold(&mut room(enough.0 - (64 << 20)), 1 << 31).unwrap_err();
    }

    #[test]
    fn block_grows_as_far_as_there_is_memory() {
        // The part is 45 MiB, of which the decoder holds 5 MiB.
        let mut room = Room::new(Memory::of_process(128 << 20, 2).begin(1).fixed());
        Grant::hold(&mut room, 5 << 20).unwrap();
        let mut block = 1 << 20;
        let refusal = loop {
            match room.grow_block(block, block * 2) {
                Ok(bytes) => block = bytes,
                Err(refusal) => break refusal,
            }
        };
        assert!((39 << 20..=40 << 20).contains(&block), "{block}");
        let needed = refusal.message.split_once("needs ").unwrap().1;
        assert!(needed.starts_with("84") || needed.starts_with("85"), "twice what there was: {needed}");
    }

    #[test]
    fn window_and_block_count_together() {
        let mut room = Room::new(Memory::of_process(256 << 20, 1).begin(1).fixed());
        Grant::hold(&mut room, 128 << 20).unwrap();
        room.hold_block(1 << 20).unwrap();
        let failure = room.hold_block(128 << 20).unwrap_err();
        assert!(failure.message.starts_with("a record of this length"), "{failure}");
    }
}
