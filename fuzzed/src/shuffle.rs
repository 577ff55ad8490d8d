//! Fuzzes shuffle files: index, blocks and records. A fuzzer cannot guess checksums, so some targets compute them.

use windrow_format::block::{HEADER_BYTES, Header, Identity};
use windrow_format::checksum::crc32c;
use windrow_format::codec::Codec;
use windrow_format::segment::SegmentReader;
use windrow_format::shuffle::read_index;

/// Reads records to the end or to an error with both readers, which must agree.
fn records(segment: &[u8]) {
    let mut reader = SegmentReader::new(segment, Identity::default());
    let mut one_by_one = Vec::new();
    let failed = loop {
        match reader.next() {
            Ok(Some((key, value))) => one_by_one.push((key.to_vec(), value.to_vec())),
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    let mut together = Vec::new();
    let mut cursor = windrow_format::segment::SegmentCursor::new(Identity::default());
    let all = cursor.for_each::<windrow_format::block::FormatError>(segment, &mut |key, value| {
        together.push((key.to_vec(), value.to_vec()));
        Ok(())
    });
    assert_eq!(all.is_err(), failed);
    assert_eq!(one_by_one, together);
}

/// An index whose segments are within the file, ascending and without gaps, or an error.
fn index(file: &[u8]) {
    let Ok(segments) = read_index(file, &Identity::default()) else { return };
    let mut end = 0;
    for segment in &segments {
        assert_eq!(segment.offset, end);
        end += segment.length;
        records(&file[segment.offset as usize..end as usize]);
    }
    assert!(end <= file.len() as u64);
}

/// The bytes unchanged, as the payload of a sealed block, or as a file whose index has the right checksum.
pub fn shuffle(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    match kind % 3 {
        0 => {
            records(bytes);
            index(bytes);
        }
        1 => {
            let Some(([codec, raw, count, cut], payload)) = bytes.split_first_chunk() else { return };
            let codec = Codec::from_number(codec % 4).unwrap_or(Codec::None);
            // Any header that is well-formed: more or fewer records, or more bytes than are stored.
            let stored = payload.len() as u32;
            let raw_length = stored.saturating_add(u32::from(*raw) * u32::from(*raw));
            let header = Header {
                codec,
                raw_length: if codec == Codec::None { stored } else { raw_length },
                stored_length: stored,
                records: u32::from(*count),
                sorted: cut % 2 == 0,
                digest: 0,
            };
            let mut block = header.seal(&Identity::default(), &[payload]).to_vec();
            assert_eq!(block.len(), HEADER_BYTES);
            block.extend_from_slice(payload);
            records(&block);
            records(&[&block[..], &block[..]].concat());
            records(&block[..block.len() * usize::from(*cut) / 256]);
        }
        _ => {
            // The last 28 bytes are the footer; its checksum is corrected.
            let mut file = bytes.to_vec();
            let Some(footer) = file.len().checked_sub(28) else { return };
            let offset = u64::from_le_bytes(file[footer..footer + 8].try_into().expect("eight bytes"));
            if offset <= footer as u64 {
                // Version 5 covers the owner, whose bytes are all zero here.
                let owner = if file[footer + 12] >= 5 { &[0; 44][..] } else { &[] };
                let sum = crc32c(&[&file[offset as usize..footer + 16], owner].concat());
                file[footer + 16..footer + 20].copy_from_slice(&sum.to_le_bytes());
            }
            index(&file);
        }
    }
}
