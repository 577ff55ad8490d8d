//! How far an attempt is, by the position of its thread.

use super::{Now, Place};
use windrow_model::Chunk;

/// Thousandths in a whole.
const WHOLE: u64 = 1_000;

impl Now {
    /// The thousandths of its input that the attempt has read; 0 if unknown. `chunk` is what it reads, if it reads files. Beyond the
    /// end of the chunk on disk it is unknown, as within compressed files.
    pub fn permille(&self, chunk: Option<&Chunk>) -> u32 {
        let of_chunk = || of_chunk(chunk?, self.place.as_ref()?);
        of_chunk().unwrap_or_else(|| share(self.records.min(self.records_all), self.records_all))
    }

    /// One number for the position, not 0. A chance collision of two in a row does no harm: the next one differs.
    pub fn step(&self) -> u64 {
        let (offset, steps) = self.mark;
        (offset.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ steps).max(1)
    }
}

fn of_chunk(chunk: &Chunk, place: &Place) -> Option<u32> {
    let mut before = 0u64;
    for range in &chunk.ranges {
        if range.file() == place.file
            && (range.offset..range.offset.saturating_add(range.length)).contains(&place.offset)
        {
            return Some(share(before.saturating_add(place.offset - range.offset), chunk.length()));
        }
        before = before.saturating_add(range.length);
    }
    None
}

fn share(part: u64, all: u64) -> u32 {
    u32::try_from(u128::from(part) * u128::from(WHOLE) / u128::from(all.max(1))).unwrap_or(0)
}
