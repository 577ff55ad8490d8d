//! Streams of segments between workers, encoded and decoded without copying their bytes.
//!
//! In gRPC's layout a stream of [`SegmentPiece`]s is a sequence of messages, each after a byte (not compressed) and a
//! big-endian length. The usual codec copies every message into a buffer of its own, on both sides. Here the bytes of a
//! segment are read directly into the send buffer, and received bytes are returned as slices of what arrived. Either
//! side is compatible with one that uses the usual codec.

use crate::frame::FRAME_BYTES_MAX;
use crate::v1::{Failure, SegmentHeads, SegmentPiece};
use bytes::Bytes;
use prost::Message;
use std::collections::VecDeque;

/// Path of the call whose answer is such a stream.
pub const FETCH_SEGMENTS: &str = "/windrow.v1.Transfer/FetchSegments";

const PREFIX_BYTES: usize = 5;
/// Tags of the fields of `SegmentPiece`: number and wire type.
const INDEX: u8 = 1 << 3;
const DATA: u8 = 2 << 3 | LENGTH_DELIMITED;
const FAILURE: u8 = 3 << 3 | LENGTH_DELIMITED;
const CRC32C: u8 = 4 << 3 | FIXED32;
const HEADS_FIELD: u32 = 20;
const HEADS: u8 = (HEADS_FIELD as u8) << 3 | LENGTH_DELIMITED;
const UNKNOWN: u8 = 21 << 3;
const LAST: u8 = 22 << 3;
const HEADS_CRC32C_FIELD: u32 = 23;
const HEADS_CRC32C: u8 = (HEADS_CRC32C_FIELD as u8) << 3 | FIXED32;
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LENGTH_DELIMITED: u8 = 2;
const FIXED32: u8 = 5;

/// Upper bound of the bytes of a piece besides its data and the encoded heads of its segments.
pub const PIECE_HEAD_BYTES_MAX: usize = 32;

/// Most bytes of the encoded heads of one piece. Decoded, they need about eight times as much memory.
pub const HEADS_BYTES_MAX: usize = 2 << 20;

/// An invalid stream of pieces.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PieceError {
    /// A message is compressed, which was not requested.
    #[error("a message is compressed")]
    Compressed,
    /// A message is longer than the limit.
    #[error("a message of {0} bytes is longer than the limit of {FRAME_BYTES_MAX}")]
    TooLong(usize),
    /// A message is not a `SegmentPiece`.
    #[error("a message is not a piece of a segment")]
    Malformed,
}

/// A received piece.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Piece {
    /// Position of the output that `failure` is about, as in [`SegmentPiece`].
    pub index: u32,
    /// Its bytes, in consecutive slices.
    pub data: Vec<Bytes>,
    /// Why the stream ends early.
    pub failure: Option<Failure>,
    /// CRC-32C of its bytes.
    pub crc32c: Option<u32>,
    /// The segments that begin in it.
    pub heads: Option<SegmentHeads>,
    /// The holder does not know the list of wanted outputs.
    pub unknown: bool,
    /// All segments have been sent.
    pub last: bool,
    /// CRC-32C of the heads of all segments of the stream so far.
    pub heads_crc32c: Option<u32>,
}

/// Appends a message to a stream.
pub fn put_message(out: &mut Vec<u8>, message: &impl Message) {
    let length = message.encoded_len();
    out.reserve(PREFIX_BYTES + length);
    put_prefix(out, length);
    message.encode_raw(out);
}

/// Appends a piece of `length` bytes, which `fill` appends to `out`; `heads` are the segments that begin in it, and
/// `heads_crc32c` is the checksum of all heads of the stream, including these (see [`head_bytes`]).
///
/// # Errors
/// That of `fill`; nothing is appended then.
///
/// # Panics
/// If `fill` appends another number of bytes.
pub fn put_piece<E>(
    out: &mut Vec<u8>,
    heads: &SegmentHeads,
    heads_crc32c: u32,
    length: usize,
    fill: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    checksum: impl FnOnce(&[u8]) -> u32,
) -> Result<(), E> {
    let start = out.len();
    let mut head = Vec::with_capacity(PIECE_HEAD_BYTES_MAX + heads.encoded_len());
    prost::encoding::message::encode(HEADS_FIELD, heads, &mut head);
    prost::encoding::fixed32::encode(HEADS_CRC32C_FIELD, &heads_crc32c, &mut head);
    head.push(CRC32C);
    let crc_at = start + PREFIX_BYTES + head.len();
    head.extend_from_slice(&[0; 4]);
    head.push(DATA);
    prost::encode_length_delimiter(length, &mut head).expect("a vector grows");
    put_prefix(out, head.len() + length);
    out.extend_from_slice(&head);
    let data_at = out.len();
    if let Err(e) = fill(out) {
        out.truncate(start);
        return Err(e);
    }
    assert_eq!(out.len(), data_at + length, "as many bytes as were announced");
    let crc = checksum(&out[data_at..]);
    out[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
    Ok(())
}

/// Appends the end of a stream that cannot continue, since the output at the position `index` is not there.
pub fn put_failure(out: &mut Vec<u8>, index: u32, failure: Failure) {
    put_message(out, &SegmentPiece { index, failure: Some(failure), ..SegmentPiece::default() });
}

/// Appends the end of a complete stream, with the checksum of all its heads.
pub fn put_last(out: &mut Vec<u8>, heads_crc32c: u32) {
    put_message(out, &SegmentPiece { last: true, heads_crc32c: Some(heads_crc32c), ..SegmentPiece::default() });
}

/// The bytes of each head, over which the checksum of a stream's heads is computed. The lists are of one length.
pub fn head_bytes(heads: &SegmentHeads) -> impl Iterator<Item = [u8; 28]> {
    let SegmentHeads { index, length, records, raw_length } = heads;
    index.iter().zip(length).zip(records).zip(raw_length).map(|(((index, length), records), raw_length)| {
        let mut bytes = [0; 28];
        bytes[..4].copy_from_slice(&index.to_le_bytes());
        for (to, n) in bytes[4..].chunks_exact_mut(8).zip([length, records, raw_length]) {
            to.copy_from_slice(&n.to_le_bytes());
        }
        bytes
    })
}

/// Appends the answer of a holder that does not know the list of wanted outputs.
pub fn put_unknown(out: &mut Vec<u8>) {
    put_message(out, &SegmentPiece { unknown: true, ..SegmentPiece::default() });
}

fn put_prefix(out: &mut Vec<u8>, length: usize) {
    out.push(0);
    out.extend_from_slice(&(length as u32).to_be_bytes());
}

/// Decodes pieces from bytes as they arrive.
#[derive(Debug, Default)]
pub struct PieceDecoder {
    pending: Rope,
}

impl PieceDecoder {
    /// Adds received bytes.
    pub fn push(&mut self, bytes: Bytes) {
        self.pending.push(bytes);
    }

    /// The next piece, if it has arrived completely.
    ///
    /// # Errors
    /// The stream is invalid; nothing more can be read from it.
    pub fn next_piece(&mut self) -> Result<Option<Piece>, PieceError> {
        let Some([compressed, length @ ..]) = self.pending.first::<PREFIX_BYTES>() else { return Ok(None) };
        if compressed != 0 {
            return Err(PieceError::Compressed);
        }
        let length = u32::from_be_bytes(length) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(PieceError::TooLong(length));
        }
        if self.pending.length < PREFIX_BYTES + length {
            return Ok(None);
        }
        self.pending.take(PREFIX_BYTES);
        let message = self.pending.take(length);
        piece(message).ok_or(PieceError::Malformed).map(Some)
    }
}

/// Decodes the fields of a `SegmentPiece` in any order; unknown fields of later releases are skipped.
fn piece(mut message: Rope) -> Option<Piece> {
    let mut piece = Piece::default();
    let mut heads_bytes = 0u64;
    while message.length > 0 {
        let tag = message.varint()?;
        match u8::try_from(tag).unwrap_or(tag as u8 & 7 | 0x80) {
            INDEX => piece.index = message.varint()? as u32,
            DATA => {
                let length = message.varint()?;
                piece.data = message.checked_take(length)?.parts.into();
            }
            FAILURE => {
                let length = message.varint()?;
                let bytes = Vec::from(message.checked_take(length)?.parts).concat();
                piece.failure = Some(Failure::decode(&bytes[..]).ok()?);
            }
            HEADS => {
                let length = message.varint()?;
                heads_bytes = heads_bytes.checked_add(length).filter(|bytes| *bytes <= HEADS_BYTES_MAX as u64)?;
                let bytes = Vec::from(message.checked_take(length)?.parts).concat();
                // Several are merged, as the usual codec does.
                piece.heads.get_or_insert_default().merge(&bytes[..]).ok()?;
            }
            UNKNOWN => piece.unknown = message.varint()? != 0,
            LAST => piece.last = message.varint()? != 0,
            HEADS_CRC32C => {
                let bytes = message.first::<4>()?;
                message.take(4);
                piece.heads_crc32c = Some(u32::from_le_bytes(bytes));
            }
            CRC32C => {
                let bytes = message.first::<4>()?;
                message.take(4);
                piece.crc32c = Some(u32::from_le_bytes(bytes));
            }
            other => match other & 7 {
                VARINT => drop(message.varint()?),
                FIXED64 => drop(message.checked_take(8)?),
                FIXED32 => drop(message.checked_take(4)?),
                LENGTH_DELIMITED => {
                    let length = message.varint()?;
                    message.checked_take(length)?;
                }
                _ => return None,
            },
        }
    }
    Some(piece)
}

/// Bytes in slices.
#[derive(Debug, Default)]
struct Rope {
    parts: VecDeque<Bytes>,
    length: usize,
}

impl Rope {
    fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.length += bytes.len();
            self.parts.push_back(bytes);
        }
    }

    /// A copy of the first bytes, which are kept.
    fn first<const N: usize>(&self) -> Option<[u8; N]> {
        if self.length < N {
            return None;
        }
        let mut bytes = self.parts.iter().flatten().copied();
        Some(std::array::from_fn(|_| bytes.next().unwrap_or_default()))
    }

    /// Removes this many bytes from the front, or all there are.
    fn take(&mut self, mut length: usize) -> Rope {
        let mut taken = Rope::default();
        while length > 0
            && let Some(part) = self.parts.front_mut()
        {
            let some = part.split_to(length.min(part.len()));
            if part.is_empty() {
                self.parts.pop_front();
            }
            length -= some.len();
            self.length -= some.len();
            taken.push(some);
        }
        taken
    }

    fn checked_take(&mut self, length: u64) -> Option<Rope> {
        let length = usize::try_from(length).ok().filter(|n| *n <= self.length)?;
        Some(self.take(length))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.first::<1>()?;
            self.take(1);
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::convert::Infallible;

    fn wire(pieces: &[SegmentPiece]) -> Vec<u8> {
        let mut out = Vec::new();
        pieces.iter().for_each(|p| put_message(&mut out, p));
        out
    }

    fn decoded(wire: &[u8], step: usize) -> Result<Vec<SegmentPiece>, PieceError> {
        let (mut decoder, mut all) = (PieceDecoder::default(), Vec::new());
        for part in wire.chunks(step) {
            decoder.push(Bytes::copy_from_slice(part));
            while let Some(piece) = decoder.next_piece()? {
                let Piece { index, data, failure, crc32c, heads, unknown, last, heads_crc32c } = piece;
                let data = data.concat().into();
                all.push(SegmentPiece { index, data, failure, crc32c, heads, unknown, last, heads_crc32c });
            }
        }
        Ok(all)
    }

    fn heads() -> impl Strategy<Value = SegmentHeads> {
        prop::collection::vec(any::<(u32, u64, u64, u64)>(), 0..4).prop_map(|all| SegmentHeads {
            index: all.iter().map(|h| h.0).collect(),
            length: all.iter().map(|h| h.1).collect(),
            records: all.iter().map(|h| h.2).collect(),
            raw_length: all.iter().map(|h| h.3).collect(),
        })
    }

    fn pieces() -> impl Strategy<Value = Vec<SegmentPiece>> {
        let failure = prop::option::of(".{0,20}")
            .prop_map(|m| m.map(|message| Failure { code: "X".into(), message, ..Default::default() }));
        let data = prop::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from);
        let heads = prop::option::of(heads());
        let sums = any::<(Option<u32>, Option<u32>)>();
        let one = (any::<u32>(), data, failure, sums, heads, any::<(bool, bool)>()).prop_map(
            |(index, data, failure, (crc32c, heads_crc32c), heads, (unknown, last))| SegmentPiece {
                index,
                data,
                failure,
                crc32c,
                heads,
                unknown,
                last,
                heads_crc32c,
            },
        );
        prop::collection::vec(one, 0..5)
    }

    proptest! {
        #[test]
        fn messages_of_the_usual_codec_are_decoded_for_any_cut(pieces in pieces(), step in 1usize..400) {
            prop_assert_eq!(decoded(&wire(&pieces), step), Ok(pieces));
        }

        #[test]
        fn usual_codec_decodes_pieces(heads in heads(), data in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut out = vec![7];
            let put = put_piece(&mut out, &heads, 5, data.len(), |out| { out.extend(&data); Ok::<_, Infallible>(()) }, |b| {
                b.len() as u32
            });
            put.unwrap();
            prop_assert_eq!(out[1], 0);
            prop_assert_eq!(u32::from_be_bytes(out[2..6].try_into().unwrap()) as usize, out.len() - 6);
            prop_assert!(out.len() <= 1 + PIECE_HEAD_BYTES_MAX + heads.encoded_len() + data.len());
            let crc32c = Some(data.len() as u32);
            let (data, heads, heads_crc32c) = (data.into(), Some(heads), Some(5));
            let expected = SegmentPiece { crc32c, data, heads, heads_crc32c, ..SegmentPiece::default() };
            prop_assert_eq!(SegmentPiece::decode(&out[6..]).unwrap(), expected);
        }

        #[test]
        fn garbage_is_refused_or_decoded_like_the_usual_codec(
            bytes in prop::collection::vec(any::<u8>(), 0..40), step in 1usize..9,
        ) {
            let mut wire = Vec::new();
            put_prefix(&mut wire, bytes.len());
            wire.extend(&bytes);
            // The usual codec is stricter: it also refuses groups, unknown wire types within skipped fields, and
            // invalid UTF-8.
            if let (Ok(expected), Ok(found)) = (SegmentPiece::decode(&bytes[..]), decoded(&wire, step)) {
                prop_assert_eq!(found, [expected]);
            }
        }
    }

    #[test]
    fn failed_fill_leaves_nothing_and_long_pieces_are_refused() {
        let mut out = vec![1, 2];
        assert_eq!(
            put_piece(
                &mut out,
                &SegmentHeads::default(),
                0,
                9,
                |out| {
                    out.push(5);
                    Err(3)
                },
                |_| 0
            ),
            Err(3)
        );
        assert_eq!(out, [1, 2]);
        assert_eq!(decoded(&[0, 0xff, 0, 0, 0], 1), Err(PieceError::TooLong(0xff00_0000)));
        assert_eq!(decoded(&[1, 0, 0, 0, 0], 5), Err(PieceError::Compressed));
        assert_eq!(decoded(&[0, 0, 0, 0, 2, DATA, 1], 7), Err(PieceError::Malformed));
        let heads = |n| {
            let heads = Some(SegmentHeads { index: vec![1; n], ..SegmentHeads::default() });
            decoded(&wire(&[SegmentPiece { heads, ..SegmentPiece::default() }]), 1 << 20).map(|pieces| pieces.len())
        };
        assert_eq!(heads(HEADS_BYTES_MAX), Err(PieceError::Malformed));
        assert_eq!(heads(HEADS_BYTES_MAX - 9), Ok(1));
        assert_eq!(decoded(&[0, 0, 0, 0, 0], 1), Ok(vec![SegmentPiece::default()]));
        assert_eq!(decoded(&[0, 0, 0], 1), Ok(vec![]));
    }
}
