//! Compares two tagged values except for the order of elements and entries, which sets and maps do not keep.

use super::read::Reader;
use super::{TaggedError, tag};

/// Returns a digest that does not depend on the order of elements and entries. `None` if the bytes are not a value.
pub(super) fn digest(bytes: &[u8]) -> Option<u64> {
    let mut reader = Reader::new(bytes);
    let digest = value(&mut reader).ok()?;
    reader.end().ok()?;
    Some(digest)
}

fn mixed(tag: u8, content: u64) -> u64 {
    // The multiplication spreads the bits upwards and the rotation brings them down, so sums of such numbers are not
    // linear in the contents.
    let spread = (content ^ u64::from(tag) << 56).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    (spread ^ content.rotate_left(17)).wrapping_mul(0xD6E8_FEB8_6659_FD93)
}

fn of_bytes(tag: u8, bytes: &[u8]) -> u64 {
    bytes.chunks(8).fold(mixed(tag, bytes.len() as u64), |digest, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        mixed(tag, digest.rotate_left(5) ^ u64::from_le_bytes(word))
    })
}

fn value(reader: &mut Reader<'_>) -> Result<u64, TaggedError> {
    let tag = reader.byte()?;
    tagged(tag, reader)
}

fn tagged(tag: u8, reader: &mut Reader<'_>) -> Result<u64, TaggedError> {
    Ok(match tag {
        tag::SOME => mixed(tag, value(reader)?),
        tag::INTEGER | tag::NEGATIVE | tag::CHAR => of_bytes(tag, &reader.integer()?.to_le_bytes()),
        tag::F32 => of_bytes(tag, reader.take(4)?),
        tag::F64 => of_bytes(tag, reader.take(8)?),
        tag::TEXT | tag::BYTES => {
            let length = reader.length()?;
            of_bytes(tag, reader.take(length)?)
        }
        tag::LIST | tag::MAP => {
            let mut sum = 0u64;
            loop {
                let next = reader.byte()?;
                if next == tag::END {
                    break mixed(tag, sum);
                }
                let first = tagged(next, reader)?;
                let part = if tag == tag::MAP {
                    mixed(tag, first).wrapping_add(value(reader)?.rotate_left(32))
                } else {
                    first
                };
                sum = sum.wrapping_add(mixed(tag, part));
            }
        }
        tag::VARIANT => {
            let name = of_bytes(tag, reader.name()?.as_bytes());
            mixed(tag, name ^ value(reader)?)
        }
        tag => mixed(tag, 0),
    })
}
