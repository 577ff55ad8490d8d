//! A journal as a stream of bytes: what a backup holds. It does not depend on the file format of the store.
//!
//! ```text
//! magic     `windrow-journal-1\n`
//! row       length of the table's name (1 byte), name, length of the key (4), key, length of the value (8), value
//! end       0 (1 byte), number of rows (8), BLAKE3 of everything before (32)
//! ```
//! Numbers are little-endian. A dump without its end, or with another digest, is refused as a whole.

use crate::journal::Snapshot;
use std::io::{self, Read};

const MAGIC: &[u8] = b"windrow-journal-1\n";
/// Bound on a row's length in bytes; rows of a journal are shorter.
const VALUE_MAX: u64 = 1 << 32;

/// Table, key and value.
pub(crate) type Row = (String, Vec<u8>, Vec<u8>);

/// Writes a snapshot as a dump, in pieces of at least `piece_bytes` but for the last one. Blocks.
pub(crate) fn write(
    snapshot: Snapshot,
    piece_bytes: usize,
    mut give: impl FnMut(Vec<u8>) -> io::Result<()>,
) -> io::Result<()> {
    let mut piece = MAGIC.to_vec();
    let mut hasher = blake3::Hasher::new();
    let mut rows = 0u64;
    snapshot(&mut |table, key, value| {
        rows += 1;
        let name = u8::try_from(table.len()).map_err(io::Error::other)?;
        let key_bytes = u32::try_from(key.len()).map_err(io::Error::other)?;
        piece.push(name);
        piece.extend_from_slice(table.as_bytes());
        piece.extend_from_slice(&key_bytes.to_le_bytes());
        piece.extend_from_slice(key);
        piece.extend_from_slice(&(value.len() as u64).to_le_bytes());
        piece.extend_from_slice(value);
        while piece.len() >= piece_bytes {
            let rest = piece.split_off(piece_bytes);
            hasher.update(&piece);
            give(std::mem::replace(&mut piece, rest))?;
        }
        Ok(())
    })?;
    piece.push(0);
    piece.extend_from_slice(&rows.to_le_bytes());
    hasher.update(&piece);
    piece.extend_from_slice(hasher.finalize().as_bytes());
    give(piece)
}

/// Reads a whole dump and verifies it.
///
/// # Errors
/// `InvalidData` for anything but a complete dump; errors of the reader.
pub(crate) fn read(from: impl Read) -> io::Result<Vec<Row>> {
    let mut from = Hashing { from, hasher: blake3::Hasher::new() };
    if from.bytes(MAGIC.len() as u64)? != MAGIC {
        return Err(wrong("it does not begin like the dump of a journal"));
    }
    let mut rows = Vec::new();
    loop {
        let [name] = from.array()?;
        if name == 0 {
            break;
        }
        let table = String::from_utf8(from.bytes(name.into())?).map_err(|_| wrong("a table's name is no text"))?;
        let key = u32::from_le_bytes(from.array()?);
        let key = from.bytes(key.into())?;
        let value = u64::from_le_bytes(from.array()?);
        rows.push((table, key, from.bytes(value)?));
    }
    if u64::from_le_bytes(from.array()?) != rows.len() as u64 {
        return Err(wrong("rows are missing"));
    }
    let found = from.hasher.finalize();
    let mut digest = [0; 32];
    from.from.read_exact(&mut digest)?;
    if *found.as_bytes() != digest {
        return Err(wrong("its checksum is another one"));
    }
    Ok(rows)
}

struct Hashing<R> {
    from: R,
    hasher: blake3::Hasher,
}

impl<R: Read> Hashing<R> {
    fn bytes(&mut self, length: u64) -> io::Result<Vec<u8>> {
        if length > VALUE_MAX {
            return Err(wrong("a row is longer than any can be"));
        }
        // A false length costs no memory: memory is reserved only for bytes that were read.
        let mut bytes = Vec::new();
        self.from.by_ref().take(length).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != length {
            return Err(wrong("it ends too early"));
        }
        self.hasher.update(&bytes);
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        <[u8; N]>::try_from(self.bytes(N as u64)?).map_err(|_| wrong("it ends too early"))
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn dumped(rows: Vec<Row>, piece_bytes: usize) -> Vec<u8> {
        let mut all = Vec::new();
        let give_rows: Snapshot =
            Box::new(move |take| rows.iter().try_for_each(|(table, key, value)| take(table, key, value)));
        let taken = write(give_rows, piece_bytes, |piece| {
            all.extend_from_slice(&piece);
            Ok(())
        });
        taken.unwrap();
        all
    }

    proptest! {
        #[test]
        fn dump_reads_back_and_no_damaged_one_is_taken(
            rows in prop::collection::vec(("[a-z]{1,9}", prop::collection::vec(any::<u8>(), 0..9), prop::collection::vec(any::<u8>(), 0..40)), 0..9),
            piece_bytes in 1usize..50, at in any::<prop::sample::Index>(), bit in 0u8..8,
        ) {
            let whole = dumped(rows.clone(), piece_bytes);
            prop_assert_eq!(read(&whole[..]).unwrap(), rows);
            let at = at.index(whole.len());
            prop_assert!(read(&whole[..at]).is_err());
            let mut flipped = whole;
            flipped[at] ^= 1 << bit;
            prop_assert!(read(&flipped[..]).is_err());
        }
    }
}
