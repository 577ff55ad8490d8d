//! Parses the header of a zstd frame (RFC 8878, 3.1.1), which gives the memory that decompression needs before any is
//! allocated.

/// Most bytes of a header: magic, descriptor, window, dictionary id, content size.
pub const FRAME_HEADER_MAX: usize = 18;

/// The first bytes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameHeader {
    /// Compressed data.
    Data {
        /// How far back the data may refer, in bytes.
        window_bytes: u64,
        /// Length of the content in bytes, if known.
        content_bytes: Option<u64>,
    },
    /// Bytes that a decoder skips.
    Skippable,
}

impl FrameHeader {
    /// Bytes of output that a decoder must keep.
    pub fn kept_bytes(self) -> u64 {
        match self {
            FrameHeader::Data { window_bytes, content_bytes } => content_bytes.unwrap_or(u64::MAX).min(window_bytes),
            FrameHeader::Skippable => 0,
        }
    }
}

/// Parses a frame header from the first bytes of a frame: [`FRAME_HEADER_MAX`] bytes, or all of a shorter frame.
/// Returns none if this is not a frame.
pub fn frame_header(bytes: &[u8]) -> Option<FrameHeader> {
    let (magic, rest) = bytes.split_first_chunk::<4>()?;
    match magic {
        [0x50..=0x5f, 0x2a, 0x4d, 0x18] => return Some(FrameHeader::Skippable),
        [0x28, 0xb5, 0x2f, 0xfd] => {}
        _ => return None,
    }
    let (&descriptor, mut rest) = rest.split_first()?;
    let is_single_segment = descriptor & 0x20 != 0;
    let mut window_bytes = None;
    if !is_single_segment {
        let (window, behind) = rest.split_first()?;
        let base = 1u64 << (10 + (window >> 3));
        window_bytes = Some(base + base / 8 * u64::from(window & 7));
        rest = behind;
    }
    // The content size follows the dictionary id.
    let content = rest.get([0, 1, 2, 4][usize::from(descriptor & 3)]..)?;
    let content_bytes = match descriptor >> 6 {
        0 if !is_single_segment => None,
        0 => Some(u64::from(*content.first()?)),
        1 => Some(u64::from(u16::from_le_bytes(*content.first_chunk()?)) + 256),
        2 => Some(u64::from(u32::from_le_bytes(*content.first_chunk()?))),
        _ => Some(u64::from_le_bytes(*content.first_chunk()?)),
    };
    // In a single segment the content is the window.
    Some(FrameHeader::Data { window_bytes: window_bytes.or(content_bytes)?, content_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(bytes: &[u8]) -> Option<u64> {
        match frame_header(bytes)? {
            FrameHeader::Data { window_bytes, .. } => Some(window_bytes),
            FrameHeader::Skippable => None,
        }
    }

    #[test]
    fn window_is_that_of_the_compressor() {
        for log in [10, 17, 20, 23, 25] {
            let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(log).unwrap();
            std::io::Write::write_all(&mut encoder, &[7; 100]).unwrap();
            assert_eq!(window(&encoder.finish().unwrap()), Some(1 << log), "window log {log}");
        }
    }

    #[test]
    fn window_of_one_segment_is_its_content() {
        for bytes in [0usize, 1, 255, 256, 300, 65_791, 65_792, 100_000] {
            let packed = zstd::bulk::compress(&vec![1; bytes], 1).unwrap();
            assert_eq!(window(&packed), Some(bytes as u64), "{bytes} bytes");
        }
    }

    #[test]
    fn small_content_needs_no_more_than_itself() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(25).unwrap();
        encoder.set_pledged_src_size(Some(3)).unwrap();
        std::io::Write::write_all(&mut encoder, b"abc").unwrap();
        assert_eq!(frame_header(&encoder.finish().unwrap()).unwrap().kept_bytes(), 3);
    }

    #[test]
    fn largest_windows_fit_a_number_and_short_headers_are_none() {
        assert_eq!(window(&[0x28, 0xb5, 0x2f, 0xfd, 0, 0xff]), Some((1 << 41) + (1 << 38) * 7));
        let single = [&[0x28, 0xb5, 0x2f, 0xfd, 0xe3, 1, 2, 3, 4][..], &[0xff; 8]].concat();
        assert_eq!(window(&single), Some(u64::MAX));
        assert!((0..single.len()).all(|cut| window(&single[..cut]).is_none()));
        assert_eq!(frame_header(&[0x5a, 0x2a, 0x4d, 0x18]), Some(FrameHeader::Skippable));
        assert_eq!(frame_header(b"text"), None);
    }
}
