//! Fuzzes the cutting of files.

use windrow_format::boundary::next_record_start;
use windrow_format::cut::cut;
use windrow_model::Framing;

/// Pieces cover the file and begin and end at record boundaries; cutting a piece again agrees with the first cut.
pub fn splits(data: &[u8]) {
    let Some(([kind, delimiter, size, extra], bytes)) = data.split_first_chunk() else { return };
    let framing = match kind % 3 {
        0 => Framing::Delimiter(*delimiter),
        1 => Framing::Fixed(u32::from(*delimiter)),
        _ => Framing::Whole,
    };
    let extras = [u64::from(*extra), u64::from(*extra) * 3];
    let cut = cut(framing, bytes, u64::from(*size), &extras);
    // An empty file has no pieces that could hold a record of no bytes.
    assert_eq!(cut.is_err(), framing == Framing::Fixed(0) && !bytes.is_empty());
    let Ok(pieces) = cut else { return };
    let mut end = 0;
    for (offset, length) in &pieces {
        assert_eq!(*offset, end);
        assert!(*length > 0);
        end += length;
        let begins = match framing {
            Framing::Delimiter(d) => *offset == 0 || bytes[*offset as usize - 1] == d,
            Framing::Fixed(n) => offset % u64::from(n) == 0,
            Framing::Whole => *offset == 0,
        };
        assert!(begins, "{framing:?} at {offset}");
        assert_eq!(next_record_start(framing, bytes, *offset).ok(), Some(*offset));
    }
    assert_eq!(end, bytes.len() as u64);
}
