//! Fuzzes frames between a worker and an executor, and pieces of segments between workers.

use windrow_proto::frame::{FrameDecoder, encode_frame, read_frame};
use windrow_proto::pieces::{Piece, PieceDecoder};
use windrow_proto::v1::{FromExecutor, ToExecutor};

/// A stream of frames that arrives in pieces: both readers must return the same messages, and each message must survive
/// encoding and decoding.
pub fn frames(data: &[u8]) {
    let Some((piece, stream)) = data.split_first() else { return };
    let mut whole = stream;
    let mut read = Vec::new();
    let mut fails = false;
    loop {
        // Lengths are checked before anything is allocated, and the reader never waits for missing bytes.
        match read_frame::<FromExecutor>(&mut whole) {
            Ok(Some(message)) => read.push(message),
            Ok(None) => break,
            Err(_) => {
                fails = true;
                break;
            }
        }
    }
    let mut decoder = FrameDecoder::new();
    let mut seen = Vec::new();
    'stream: for piece in stream.chunks(usize::from(*piece).max(1)) {
        decoder.push(piece);
        loop {
            match decoder.next_frame::<FromExecutor>() {
                Ok(Some(message)) => seen.push(message),
                Ok(None) => break,
                Err(_) => {
                    assert!(fails);
                    break 'stream;
                }
            }
        }
    }
    assert_eq!(seen, read);
    assert!(fails || decoder.is_empty());
    for message in read {
        let frame = encode_frame(&message).expect("it was one before");
        assert_eq!(read_frame::<FromExecutor>(&mut &frame[..]).ok().flatten(), Some(message));
    }
    // The other direction has other messages and the same framing.
    let _ = read_frame::<ToExecutor>(&mut &stream[..]);
    assert_eq!(pieces(stream, usize::from(*piece).max(1)), pieces(stream, stream.len().max(1)));
}

/// The pieces of a stream that is cut into steps of this size, and whether it is valid to its end.
fn pieces(stream: &[u8], step: usize) -> (Vec<(u32, Vec<u8>)>, bool) {
    let (mut decoder, mut seen) = (PieceDecoder::default(), Vec::new());
    for part in stream.chunks(step) {
        decoder.push(part.to_vec().into());
        loop {
            match decoder.next_piece() {
                Ok(Some(Piece { index, data, .. })) => seen.push((index, data.concat())),
                Ok(None) => break,
                Err(_) => return (seen, false),
            }
        }
    }
    (seen, true)
}
