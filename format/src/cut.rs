//! Cuts a file into pieces that hold whole records.
//!
//! A cut is requested at every multiple of a nominal size (and at extra offsets) and made at the next record start, so
//! the pieces depend only on the bytes and the requested offsets. Reads only around each cut. This module knows nothing
//! of tasks, nor of small files that share a chunk (see the splitter).

use crate::boundary::{Boundaries, ReadAt};
use std::io;
use windrow_model::Framing;

/// Ranges `(offset, length)` that cover the file without gap or overlap, each from record start to record start.
///
/// There is a cut at the first record start not before each multiple of `chunk_bytes`, and not before each of
/// `extra_cuts` (in any order). Without minimum: at one byte every record is a piece. An empty file has no pieces.
/// Costs one probe for each piece, even if records are much longer than `chunk_bytes`.
///
/// ```
/// use windrow_format::cut::cut;
/// use windrow_model::Framing;
/// let pieces = cut(Framing::Delimiter(b'\n'), &b"a\nbb\n\nc"[..], 1, &[]).unwrap();
/// assert_eq!(pieces, [(0, 2), (2, 3), (5, 1), (6, 1)]);
/// ```
pub fn cut<F: ReadAt + ?Sized>(
    framing: Framing,
    file: &F,
    chunk_bytes: u64,
    extra_cuts: &[u64],
) -> io::Result<Vec<(u64, u64)>> {
    let mut pieces = Vec::new();
    cut_each(framing, file, chunk_bytes, extra_cuts, &mut |offset, length| {
        pieces.push((offset, length));
        Ok(())
    })?;
    Ok(pieces)
}

/// Cuts as [`cut`] does and passes each range to `give`, whose error ends the work.
pub fn cut_each<F: ReadAt + ?Sized>(
    framing: Framing,
    file: &F,
    chunk_bytes: u64,
    extra_cuts: &[u64],
    give: &mut dyn FnMut(u64, u64) -> io::Result<()>,
) -> io::Result<()> {
    let length = file.length();
    let chunk_bytes = chunk_bytes.max(1);
    let mut extra = extra_cuts.to_vec();
    extra.sort_unstable();
    let mut extra = extra.into_iter().peekable();
    let mut boundaries = Boundaries::new(framing, file);
    let mut start = 0;
    while start < length {
        // All requested offsets up to `start` lead to this cut, because record starts are monotone in the offset: skip
        // them.
        while extra.next_if(|e| *e <= start).is_some() {}
        let nominal = (start / chunk_bytes + 1).checked_mul(chunk_bytes).unwrap_or(length);
        let wanted = extra.peek().map_or(nominal, |e| nominal.min(*e));
        let end = boundaries.next(wanted)?;
        assert!(end > start && end <= length, "a boundary after {wanted} in {length} bytes is {end}");
        give(start, end - start)?;
        start = end;
    }
    Ok(())
}
