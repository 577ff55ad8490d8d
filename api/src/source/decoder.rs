//! Decompresses a file: one gzip or bzip2 member or zstd frame after the other.
//!
//! Before a frame is decompressed, the decoder reads from its header how much memory that takes, and asks the reader
//! for it. Zeros after a member are padding, as tapes and block devices leave it. Any other bytes after a member must
//! begin another member; otherwise the file is damaged.

use std::io::{self, BufRead, Read};
use windrow_format::compression::{FRAME_HEADER_MAX, FrameHeader, frame_header};
use windrow_model::{ByteSize, Code, Compression, Failure};

/// Size of one read of the file, in bytes.
const INPUT_BYTES: usize = 256 << 10;
/// Memory of a decoder besides the window of a zstd frame, in bytes: blocks, tables and the input buffer.
const FRAME_BYTES: u64 = 1 << 20;
/// Upper bound of the memory of decoders whose headers give no window, in bytes.
const FIXED_BYTES: u64 = 5 << 20;
/// The largest window that the zstd library accepts, as a power of two.
const WINDOW_LOG_MAX: u32 = 31;

/// Grants memory to a decoder.
pub(crate) trait Grant {
    /// Sets the granted memory to `bytes`, in place of what was granted before.
    ///
    /// # Errors
    /// Why the decoder may not hold that much memory.
    fn hold(&mut self, bytes: u64) -> Result<(), Failure>;
}

/// Reads the content of a compressed file.
///
/// Errors of `read` that come from a [`Grant`] or from an unsupported file carry their [`Failure`]; see [`failure_of`].
pub(crate) struct Decoder<R, G> {
    compression: Compression,
    /// `None` only after an error.
    state: Option<State<R>>,
    is_first: bool,
    grant: G,
}

enum State<R> {
    Between(Input<R>),
    Gzip(Box<flate2::bufread::GzDecoder<Input<R>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, Input<R>>>),
    Bzip2(bzip2::bufread::BzDecoder<Input<R>>),
}

impl<R: Read, G: Grant> Decoder<R, G> {
    /// Creates a decoder. `compression` is not `None`: uncompressed files need no decoder.
    pub(super) fn new(file: R, compression: Compression, grant: G) -> Self {
        let state = Some(State::Between(Input::new(file)));
        Decoder { compression, state, is_first: true, grant }
    }

    /// Returns the grant of the decoder's memory.
    pub(super) fn grant(&mut self) -> &mut G {
        &mut self.grant
    }

    /// Starts the reader of the next member. Returns `Between` at the end of the file.
    fn begin(&mut self, mut input: Input<R>) -> io::Result<State<R>> {
        if !std::mem::take(&mut self.is_first) {
            input.skip_zeros()?;
        }
        let head = input.peek(FRAME_HEADER_MAX)?;
        if head.is_empty() {
            return Ok(State::Between(input));
        }
        Ok(match self.compression {
            Compression::None => return Err(io::Error::other("nothing to decompress")),
            Compression::Gzip => {
                self.grant.hold(FIXED_BYTES).map_err(io::Error::other)?;
                State::Gzip(Box::new(flate2::bufread::GzDecoder::new(input)))
            }
            Compression::Bzip2 => {
                self.grant.hold(FIXED_BYTES).map_err(io::Error::other)?;
                State::Bzip2(bzip2::bufread::BzDecoder::new(input))
            }
            Compression::Zstd => {
                // An invalid header is left to the decoder, whose error says what is wrong.
                if let Some(header) = frame_header(head) {
                    check_window(header).map_err(io::Error::other)?;
                    self.grant.hold(header.kept_bytes() + FRAME_BYTES).map_err(io::Error::other)?;
                }
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?.single_frame();
                decoder.window_log_max(WINDOW_LOG_MAX)?;
                State::Zstd(Box::new(decoder))
            }
        })
    }
}

fn check_window(header: FrameHeader) -> Result<(), Failure> {
    match header {
        FrameHeader::Data { window_bytes, .. } if window_bytes > 1 << WINDOW_LOG_MAX => {
            let message = format!("a zstd frame has a window of {}; the maximum is 2 GiB", ByteSize(window_bytes));
            Err(Failure::new(Code::InputUnsupported, message))
        }
        _ => Ok(()),
    }
}

impl<R: Read, G: Grant> Read for Decoder<R, G> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            // An error leaves no state, because the rest of the file has no meaning after it.
            let Some(mut state) = self.state.take() else { return Err(io::Error::other("read after an error")) };
            let read = match &mut state {
                State::Between(_) => 0,
                State::Gzip(member) => member.read(out)?,
                State::Zstd(frame) => frame.read(out)?,
                State::Bzip2(member) => member.read(out)?,
            };
            if read > 0 {
                self.state = Some(state);
                return Ok(read);
            }
            let input = match state {
                State::Between(input) => input,
                State::Gzip(member) => member.into_inner(),
                State::Zstd(frame) => frame.finish(),
                State::Bzip2(member) => member.into_inner(),
            };
            let next = self.begin(input)?;
            let at_end = matches!(next, State::Between(_));
            self.state = Some(next);
            if at_end {
                return Ok(0);
            }
        }
    }
}

/// Converts an error of a decoder: the failure that it carries, an I/O error of the disk, or else damaged input.
pub(crate) fn failure_of(e: io::Error, place: &str) -> Failure {
    if let Some(carried) = e.get_ref().and_then(|inner| inner.downcast_ref::<Failure>()) {
        return Failure::new(carried.code, format!("{place}: {}", carried.message));
    }
    let code = if e.raw_os_error().is_some() { Code::InputUnreadable } else { Code::InputCorrupt };
    Failure::new(code, format!("{place}: {e}"))
}

/// A buffered file with lookahead.
struct Input<R> {
    file: R,
    buffer: Box<[u8]>,
    from: usize,
    to: usize,
}

impl<R: Read> Input<R> {
    fn new(file: R) -> Self {
        Input { file, buffer: vec![0; INPUT_BYTES].into_boxed_slice(), from: 0, to: 0 }
    }

    /// Returns the next `bytes` bytes, or fewer at the end of the file.
    fn peek(&mut self, bytes: usize) -> io::Result<&[u8]> {
        while self.to - self.from < bytes {
            if self.buffer.len() - self.from < bytes {
                self.buffer.copy_within(self.from..self.to, 0);
                (self.from, self.to) = (0, self.to - self.from);
            }
            match self.file.read(&mut self.buffer[self.to..]) {
                Ok(0) => break,
                Ok(read) => self.to += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        let end = self.to.min(self.from + bytes);
        Ok(&self.buffer[self.from..end])
    }

    fn skip_zeros(&mut self) -> io::Result<()> {
        loop {
            let next = self.fill_buf()?;
            let zeros = next.iter().take_while(|b| **b == 0).count();
            let is_end = zeros < next.len() || next.is_empty();
            self.consume(zeros);
            if is_end {
                return Ok(());
            }
        }
    }
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(out)?;
        self.consume(read);
        Ok(read)
    }
}

impl<R: Read> BufRead for Input<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.peek(1)?;
        Ok(&self.buffer[self.from..self.to])
    }
    fn consume(&mut self, bytes: usize) {
        self.from = (self.from + bytes).min(self.to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// Records the requested amounts, and refuses more than `max`.
    struct Counted {
        max: u64,
        asked: Vec<u64>,
    }
    impl Grant for Counted {
        fn hold(&mut self, bytes: u64) -> Result<(), Failure> {
            self.asked.push(bytes);
            match bytes <= self.max {
                true => Ok(()),
                false => Err(Failure::new(Code::DecompressionLimit, "too much")),
            }
        }
    }

    fn decode(packed: &[u8], compression: Compression, max: u64) -> (io::Result<Vec<u8>>, Vec<u64>) {
        // A reader that returns a few bytes at a time, so that headers are split.
        struct Slow<'b>(&'b [u8]);
        impl Read for Slow<'_> {
            fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
                let n = out.len().min(5);
                self.0.read(&mut out[..n])
            }
        }
        let mut decoder = Decoder::new(Slow(packed), compression, Counted { max, asked: Vec::new() });
        let mut out = Vec::new();
        let read = decoder.read_to_end(&mut out).map(|_| out);
        (read, std::mem::take(&mut decoder.grant().asked))
    }

    fn pack(compression: Compression, bytes: &[u8]) -> Vec<u8> {
        match compression {
            Compression::None => bytes.to_vec(),
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Zstd => zstd::encode_all(bytes, 1).unwrap(),
            Compression::Bzip2 => {
                let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
        }
    }

    const ALL: [Compression; 3] = [Compression::Gzip, Compression::Zstd, Compression::Bzip2];

    #[test]
    fn members_and_padding_are_read_as_one_file() {
        for compression in ALL {
            let members = [pack(compression, b"one\n"), pack(compression, b""), pack(compression, b"two\n")].concat();
            assert_eq!(decode(&members, compression, u64::MAX).0.unwrap(), b"one\ntwo\n", "{compression:?}");
            let padded = [&members[..], &[0; 70_000]].concat();
            assert_eq!(decode(&padded, compression, u64::MAX).0.unwrap(), b"one\ntwo\n", "{compression:?}");
            let between = [&padded[..], &pack(compression, b"three\n")].concat();
            assert_eq!(decode(&between, compression, u64::MAX).0.unwrap(), b"one\ntwo\nthree\n", "{compression:?}");
        }
    }

    #[test]
    fn damage_is_reported_and_ends_the_content() {
        for compression in ALL {
            let packed = pack(compression, &b"some lines\n".repeat(100));
            for wrong in [packed[..packed.len() - 3].to_vec(), [&packed[..], b"garbage"].concat(), b"no such".to_vec()]
            {
                let e = decode(&wrong, compression, u64::MAX).0.unwrap_err();
                assert_eq!(failure_of(e, "f").code, Code::InputCorrupt, "{compression:?}");
            }
        }
    }

    #[test]
    fn window_is_granted_before_each_frame() {
        let frame = |log, bytes: &[u8]| {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(log).unwrap();
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        };
        let skippable = [0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
        let packed = [&frame(20, b"a\n")[..], &skippable, &frame(27, b"b\n")].concat();
        let (content, asked) = decode(&packed, Compression::Zstd, u64::MAX);
        assert_eq!(content.unwrap(), b"a\nb\n");
        assert_eq!(asked, [(1 << 20) + FRAME_BYTES, FRAME_BYTES, (1 << 27) + FRAME_BYTES]);
        let (content, _) = decode(&packed, Compression::Zstd, 64 << 20);
        assert_eq!(failure_of(content.unwrap_err(), "f").code, Code::DecompressionLimit);
    }

    /// The window of `zstd --long=31`, and a window larger than the library accepts.
    #[test]
    fn windows_are_supported_up_to_two_gibibytes() {
        // A header with a window descriptor, then one raw block, which is the last.
        let frame = |descriptor: u8| [&[0x28, 0xb5, 0x2f, 0xfd, 0, descriptor, 0x11, 0, 0][..], b"ok"].concat();
        let (content, asked) = decode(&frame(21 << 3), Compression::Zstd, u64::MAX);
        assert_eq!((content.unwrap(), asked), (b"ok".to_vec(), vec![(1 << 31) + FRAME_BYTES]));
        let (content, asked) = decode(&frame(22 << 3), Compression::Zstd, u64::MAX);
        let failure = failure_of(content.unwrap_err(), "f");
        assert!(failure.code == Code::InputUnsupported && failure.message.contains("4 GiB"), "{failure}");
        assert!(asked.is_empty());
    }
}
