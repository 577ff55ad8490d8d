//! A block: records of one partition behind a header whose checksum also covers the block's identity.
//!
//! ```text
//! 0  magic 0xB7 | 1  version | 2  codec | 3  flags | 4  raw length u32 | 8  stored length u32 | 12 records u32
//! 16 CRC-32C u32 of (bytes 0..16, identity, stored payload) | 20 stored payload
//! record: varint key length, varint value length, key, value          numbers are little-endian
//! ```
//! Flag 1: keys ascend from the segment's first record to this block's last. The other bits are zero. The identity is
//! not stored: a reader supplies the one it expects, so an intact block of another attempt is refused like a damaged
//! one. This module owns the layout and its limits, and knows nothing of files.

pub use crate::block_size::{KEY_MAX, RAW_MAX, RAW_TARGET, VALUE_MAX};
use crate::codec::Codec;
pub use crate::error::{FormatError, io_code};
use crc_fast::{CrcAlgorithm, Digest};

/// Bytes of the header before every payload.
pub const HEADER_BYTES: usize = 20;

const MAGIC: u8 = 0xB7;
const VERSION: u8 = 1;
const SORTED: u8 = 1;
const _: () = assert!(RAW_MAX + RAW_MAX / 100 + HEADER_BYTES < u32::MAX as usize);

/// The attempt, output and partition of a block. Covered by its checksum, never stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The sixteen bytes of the job's id.
    pub job: [u8; 16],
    /// Stage of the attempt that wrote the block.
    pub stage: u32,
    /// Index of the task within its stage.
    pub task: u32,
    /// Number of the attempt.
    pub attempt: u32,
    /// Epoch of the coordinator in which the attempt was started: attempt numbers start again in each epoch.
    pub epoch: u64,
    /// Index of the output within the stage.
    pub output: u32,
    /// Index of the partition within the output.
    pub partition: u32,
}

impl Identity {
    /// The identity of what an attempt writes to one of its outputs; the partition is zero.
    pub fn of_output(attempt: &windrow_model::AttemptId, output: u32) -> Identity {
        Identity {
            job: *attempt.task.job.as_bytes(),
            stage: attempt.task.stage.0,
            task: attempt.task.index,
            attempt: attempt.number,
            epoch: attempt.epoch.0,
            output,
            partition: 0,
        }
    }

    pub(crate) fn bytes(&self) -> [u8; 44] {
        let mut b = [0; 44];
        b[..16].copy_from_slice(&self.job);
        b[16..24].copy_from_slice(&self.epoch.to_le_bytes());
        let numbers = [self.stage, self.task, self.attempt, self.output, self.partition];
        for (to, n) in b[24..].chunks_exact_mut(4).zip(numbers) {
            to.copy_from_slice(&n.to_le_bytes());
        }
        b
    }
}

/// The contents of a block's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Codec of the payload.
    pub codec: Codec,
    /// Bytes of the records before compression.
    pub raw_length: u32,
    /// Bytes of the stored payload.
    pub stored_length: u32,
    /// Number of records.
    pub records: u32,
    /// Whether keys ascend from the start of the segment to the end of this block.
    pub sorted: bool,
    /// Digest of the segment's records so far, before compression (see [`digest`](crate::digest)). Set only by the
    /// writer of the segment; not stored here.
    pub digest: u32,
}

impl Header {
    fn head(&self) -> [u8; 16] {
        let mut b = [0; 16];
        b[..4].copy_from_slice(&[MAGIC, VERSION, self.codec as u8, u8::from(self.sorted) * SORTED]);
        b[4..8].copy_from_slice(&self.raw_length.to_le_bytes());
        b[8..12].copy_from_slice(&self.stored_length.to_le_bytes());
        b[12..16].copy_from_slice(&self.records.to_le_bytes());
        b
    }

    /// The header's bytes for this payload, which is given in pieces.
    pub fn seal(&self, identity: &Identity, payload: &[&[u8]]) -> [u8; HEADER_BYTES] {
        let head = self.head();
        let mut b = [0; HEADER_BYTES];
        b[..16].copy_from_slice(&head);
        b[16..].copy_from_slice(&checksum(&head, identity, payload).to_le_bytes());
        b
    }

    /// The header's bytes with a checksum of zero, for blocks that [`open_unchecked`] opens.
    pub fn without_checksum(&self) -> [u8; HEADER_BYTES] {
        let mut b = [0; HEADER_BYTES];
        b[..16].copy_from_slice(&self.head());
        b
    }

    /// Parses the header at the start of `bytes` and checks everything that does not need the payload.
    ///
    /// # Errors
    /// The bytes are too short, not a header, or of a newer version.
    pub fn parse(bytes: &[u8]) -> Result<Header, FormatError> {
        let b: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(FormatError::Truncated)?;
        if b[0] != MAGIC || b[3] & !SORTED != 0 {
            return Err(FormatError::Malformed("a block does not start with the magic byte"));
        }
        if b[1] != VERSION {
            return Err(FormatError::Version { found: b[1], reads: VERSION });
        }
        let number = |at: usize| u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]]);
        let codec = Codec::from_number(b[2]).ok_or(FormatError::Malformed("a block's codec is unknown"))?;
        let (raw_length, stored_length, records) = (number(4), number(8), number(12));
        let header = Header { codec, raw_length, stored_length, records, sorted: b[3] & SORTED != 0, digest: 0 };
        if header.raw_length as usize > RAW_MAX || header.stored_length > header.raw_length {
            return Err(FormatError::Malformed("a block's lengths are impossible"));
        }
        Ok(header)
    }
}

/// The header of a block whose checksum was verified: enough to verify the block again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    head: [u8; HEADER_BYTES],
}

impl Verified {
    /// Verifies the payload again after it was used in place. A mapped file can change between the first check and the
    /// use; the records count only if this check passes.
    ///
    /// # Errors
    /// [`FormatError::Changed`], which names `offset`.
    pub fn check_again(&self, payload: &[u8], identity: &Identity, offset: u64) -> Result<(), FormatError> {
        if holds(&self.head, identity, payload) { Ok(()) } else { Err(FormatError::Changed { offset }) }
    }
}

/// Opens the block at the start of `bytes` and verifies its checksum; returns its header and its stored payload.
///
/// # Errors
/// The block is truncated, malformed, damaged or of another identity; the error names `offset`.
pub fn open<'a>(
    bytes: &'a [u8],
    identity: &Identity,
    offset: u64,
) -> Result<(Header, &'a [u8], Verified), FormatError> {
    // Copy the header, so that the header in use is the one that was checked even if a mapped file changes.
    let head: [u8; HEADER_BYTES] = *bytes.first_chunk().ok_or(FormatError::Truncated)?;
    let header = Header::parse(&head)?;
    let payload = bytes[HEADER_BYTES..].get(..header.stored_length as usize).ok_or(FormatError::Truncated)?;
    if !holds(&head, identity, payload) {
        return Err(FormatError::Checksum { offset });
    }
    Ok((header, payload, Verified { head }))
}

/// Opens a block that this process has written and kept in its own memory: [`open`] without the checksum.
///
/// # Errors
/// The block is truncated or malformed.
pub fn open_unchecked(bytes: &[u8]) -> Result<(Header, &[u8], Verified), FormatError> {
    let head: [u8; HEADER_BYTES] = *bytes.first_chunk().ok_or(FormatError::Truncated)?;
    let header = Header::parse(&head)?;
    let payload = bytes[HEADER_BYTES..].get(..header.stored_length as usize).ok_or(FormatError::Truncated)?;
    Ok((header, payload, Verified { head }))
}

/// Returns whether the checksum in a header matches the payload.
fn holds(header: &[u8; HEADER_BYTES], identity: &Identity, payload: &[u8]) -> bool {
    let [head @ .., a, b, c, d] = header;
    checksum(head, identity, &[payload]) == u32::from_le_bytes([*a, *b, *c, *d])
}

fn checksum(head: &[u8; 16], identity: &Identity, payload: &[&[u8]]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(head);
    digest.update(&identity.bytes());
    for piece in payload {
        digest.update(piece);
    }
    digest.finalize() as u32
}

/// Checks a record against the limits.
///
/// # Errors
/// [`FormatError::RecordTooLarge`].
#[inline]
pub fn check_record(key: &[u8], value: &[u8]) -> Result<(), FormatError> {
    if key.len() > KEY_MAX {
        return Err(FormatError::RecordTooLarge { what: "key", length: key.len(), limit: KEY_MAX });
    }
    if value.len() > VALUE_MAX {
        return Err(FormatError::RecordTooLarge { what: "value", length: value.len(), limit: VALUE_MAX });
    }
    Ok(())
}

/// Two lengths as varints, such as those of a record, and the number of bytes of the array that they take.
#[inline]
pub fn lengths(key: usize, value: usize) -> ([u8; 10], usize) {
    let mut b = [0u8; 10];
    if key < 0x80 && value < 0x80 {
        b[0] = key as u8;
        b[1] = value as u8;
        return (b, 2);
    }
    let mut at = 0;
    for mut n in [key, value] {
        while n >= 0x80 {
            b[at] = n as u8 | 0x80;
            n >>= 7;
            at += 1;
        }
        b[at] = n as u8;
        at += 1;
    }
    (b, at)
}

/// Reads the lengths of the record at `at`: the offset of its key, and both lengths. The bytes of key and value are
/// within `block`.
#[inline]
pub fn read_lengths(block: &[u8], at: usize) -> Result<(usize, usize, usize), FormatError> {
    let (start, key, value) = match block.get(at..at + 2) {
        Some(&[key, value]) if (key | value) < 0x80 => (at + 2, key as usize, value as usize),
        _ => read_long_lengths(block, at)?,
    };
    if block.len() - start < key + value {
        return Err(FormatError::Malformed("a record reaches beyond its block"));
    }
    Ok((start, key, value))
}

/// Calls `f` with the offset, key and value of every record of a block, which must hold exactly `records` records.
#[inline]
pub fn each_record<E: From<FormatError>>(
    block: &[u8],
    mut records: u32,
    f: &mut impl FnMut(usize, &[u8], &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut at = 0;
    while at < block.len() {
        let (key, key_length, value_length) = read_lengths(block, at)?;
        let more = || FormatError::Malformed("a block holds more records than its header declares");
        records = records.checked_sub(1).ok_or_else(more)?;
        let end = key + key_length + value_length;
        let (key, value) = block[key..end].split_at(key_length);
        f(at, key, value)?;
        at = end;
    }
    match records {
        0 => Ok(()),
        _ => Err(FormatError::Malformed("a block holds fewer records than its header declares").into()),
    }
}

#[inline(never)]
fn read_long_lengths(block: &[u8], at: usize) -> Result<(usize, usize, usize), FormatError> {
    let (at, key) = read_varint(block, at)?;
    let (at, value) = read_varint(block, at)?;
    if key > KEY_MAX || value > VALUE_MAX {
        return Err(FormatError::Malformed("a record's length is impossible"));
    }
    Ok((at, key, value))
}

/// Reads one number in the form of [`lengths`]: the offset after it, and the number.
///
/// # Errors
/// The bytes end too early, or the number does not.
pub fn read_varint(block: &[u8], mut at: usize) -> Result<(usize, usize), FormatError> {
    let mut n = 0usize;
    for shift in (0..35).step_by(7) {
        let byte = *block.get(at).ok_or(FormatError::Truncated)?;
        at += 1;
        n |= ((byte & 0x7f) as usize) << shift;
        if byte < 0x80 {
            return Ok((at, n));
        }
    }
    Err(FormatError::Malformed("a record's length does not end"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_read_back() {
        for key in [0, 1, 127, 128, 16_383, 16_384, KEY_MAX] {
            for value in [0, 127, 128, 1 << 21, VALUE_MAX] {
                let (b, n) = lengths(key, value);
                let (at, v) = read_varint(&b[..n], 0).unwrap();
                assert_eq!(v, key);
                assert_eq!(read_varint(&b[..n], at).unwrap(), (n, value));
            }
        }
    }

    #[test]
    fn intact_block_of_another_identity_is_refused() {
        let identity = Identity { job: [7; 16], stage: 1, task: 2, attempt: 3, epoch: 6, output: 4, partition: 5 };
        let payload = b"\x01\x01kv";
        let header =
            Header { codec: Codec::None, raw_length: 4, stored_length: 4, records: 1, sorted: true, digest: 0 };
        let mut block = header.seal(&identity, &[payload]).to_vec();
        block.extend_from_slice(payload);
        let (opened, stored, verified) = open(&block, &identity, 0).unwrap();
        assert_eq!((opened, stored), (header, &payload[..]));
        assert!(verified.check_again(stored, &identity, 0).is_ok());
        let changed = verified.check_again(b"\x01\x01kw", &identity, 9);
        assert!(matches!(changed, Err(FormatError::Changed { offset: 9 })));
        let others = [
            Identity { job: [8; 16], ..identity },
            Identity { stage: 0, ..identity },
            Identity { task: 0, ..identity },
            Identity { attempt: 0, ..identity },
            Identity { epoch: 0, ..identity },
            Identity { output: 0, ..identity },
            Identity { partition: 0, ..identity },
        ];
        for other in others {
            assert!(matches!(open(&block, &other, 9), Err(FormatError::Checksum { offset: 9 })));
        }
    }
}
