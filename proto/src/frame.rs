//! Frames over a byte stream: a 4-byte little-endian length, then one message.
//!
//! The length is checked against a limit before anything is allocated. `read_frame` and `write_frame` are for blocking
//! sockets; asynchronous callers send the bytes of `encode_frame` and push what arrives into a `FrameDecoder`.

use bytes::{Buf, BytesMut};
use prost::Message;
use std::io::{self, Read, Write};

/// Most bytes of a frame, excluding the length itself.
pub const FRAME_BYTES_MAX: usize = 64 << 20;

const HEADER_BYTES: usize = 4;

/// An invalid stream of frames; nothing more can be read from it.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The frame is longer than the limit, or the length is garbage.
    #[error("a frame of {length} bytes is longer than the limit of {FRAME_BYTES_MAX}")]
    TooLong {
        /// The length in the frame's header.
        length: u64,
    },
    /// The frame does not hold the expected message.
    #[error("a frame does not hold the expected message: {0}")]
    Decode(#[from] prost::DecodeError),
    /// The stream failed, or ended within a frame.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Encodes a message as one frame.
///
/// # Errors
/// The message is longer than the limit.
pub fn encode_frame<M: Message>(message: &M) -> Result<Vec<u8>, FrameError> {
    let length = message.encoded_len();
    if length > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong { length: length as u64 });
    }
    let mut frame = Vec::with_capacity(HEADER_BYTES + length);
    frame.extend_from_slice(&(length as u32).to_le_bytes());
    message.encode_raw(&mut frame);
    Ok(frame)
}

/// Writes one message with a single `write_all`; does not flush.
///
/// # Errors
/// The message is too long, or the stream fails.
pub fn write_frame<M: Message>(to: &mut impl Write, message: &M) -> Result<(), FrameError> {
    to.write_all(&encode_frame(message)?)?;
    Ok(())
}

/// Reads one message; `None` if the stream ends before its first byte.
///
/// # Errors
/// The frame is invalid, or the stream fails.
pub fn read_frame<M: Message + Default>(from: &mut impl Read) -> Result<Option<M>, FrameError> {
    let mut header = [0u8; HEADER_BYTES];
    loop {
        match from.read(&mut header[..1]) {
            Ok(0) => return Ok(None),
            Ok(_) => break,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
    from.read_exact(&mut header[1..])?;
    let length = checked_length(header)?;
    let mut body = vec![0u8; length];
    from.read_exact(&mut body)?;
    Ok(Some(M::decode(&body[..])?))
}

/// Decodes messages from bytes as they arrive.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    pending: BytesMut,
}

impl FrameDecoder {
    /// An empty decoder.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// The buffer itself, for `read_buf`: bytes may only be appended.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.pending
    }

    /// The next message, if it has arrived completely.
    ///
    /// # Errors
    /// The frame is invalid.
    pub fn next_frame<M: Message + Default>(&mut self) -> Result<Option<M>, FrameError> {
        let Some(header) = self.pending.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let length = checked_length(*header)?;
        if self.pending.len() < HEADER_BYTES + length {
            self.pending.reserve(HEADER_BYTES + length - self.pending.len());
            return Ok(None);
        }
        self.pending.advance(HEADER_BYTES);
        Ok(Some(M::decode(self.pending.split_to(length))?))
    }

    /// Returns whether no bytes are left: a stream that ends now ends between frames.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }
}

fn checked_length(header: [u8; HEADER_BYTES]) -> Result<usize, FrameError> {
    let length = u32::from_le_bytes(header) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong { length: length as u64 });
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::Failure;
    use proptest::prelude::*;

    fn message(text: &str) -> Failure {
        Failure { code: "X".into(), message: text.into(), ..Default::default() }
    }

    proptest! {
        #[test]
        fn frames_survive_any_cut_of_the_stream(texts in prop::collection::vec(".{0,40}", 0..8), step in 1usize..9) {
            let mut wire = Vec::new();
            for text in &texts {
                write_frame(&mut wire, &message(text)).unwrap();
            }
            let (mut decoder, mut seen) = (FrameDecoder::new(), Vec::new());
            for piece in wire.chunks(step) {
                decoder.push(piece);
                while let Some(m) = decoder.next_frame::<Failure>().unwrap() {
                    seen.push(m.message);
                }
            }
            prop_assert!(decoder.is_empty());
            prop_assert_eq!(&seen, &texts);
            let (mut reader, mut again) = (&wire[..], Vec::new());
            while let Some(m) = read_frame::<Failure>(&mut reader).unwrap() {
                again.push(m.message);
            }
            prop_assert_eq!(again, texts);
        }
    }

    #[test]
    fn length_beyond_the_limit_is_refused_before_its_bytes() {
        let mut decoder = FrameDecoder::new();
        decoder.push(&u32::MAX.to_le_bytes());
        assert!(matches!(decoder.next_frame::<Failure>(), Err(FrameError::TooLong { length: 0xffff_ffff })));
        assert!(matches!(read_frame::<Failure>(&mut &[0xff; 8][..]), Err(FrameError::TooLong { .. })));
    }

    #[test]
    fn stream_that_ends_within_a_frame_is_an_error() {
        let whole = encode_frame(&message("cut")).unwrap();
        for end in 1..whole.len() {
            assert!(matches!(read_frame::<Failure>(&mut &whole[..end]), Err(FrameError::Io(_))), "{end}");
        }
    }
}
