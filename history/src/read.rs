//! Reads the log of a job, whatever has become of its files.
//!
//! A file is a sequence of zstd frames with checksums, each of whole lines. A crash may leave the last frame cut off: the
//! lines in its readable part count. After other damage the search goes on at the next frame. Each gives one event
//! [`Event::Damaged`] in its place. Memory is bounded: one file, which is at most [`FILE_BYTES_MAX`], and one frame.

use crate::event::{Event, Line};
use crate::files::JobFiles;
use memchr::memmem;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::path::Path;
use windrow_format::regular_file;

/// Bytes of a file. Writers begin the next one far below.
pub(crate) const FILE_BYTES_MAX: u64 = 64 << 20;
/// Bytes of the lines of a frame.
const FRAME_BYTES_MAX: u64 = 64 << 20;
/// Logarithm of the largest window of a frame.
const WINDOW_LOG_MAX: u32 = 26;
/// The first bytes of a frame.
const MAGIC: [u8; 4] = 0xFD2F_B528u32.to_le_bytes();

/// A place in a log between two frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// Number of the file of the job.
    pub part: u32,
    /// Offset in it, in bytes.
    pub offset: u64,
}

/// A line of a log: as it stands there, without its end, and as an event.
pub struct Logged<'t> {
    /// The JSON of the line.
    pub text: &'t [u8],
    /// Its event.
    pub line: Line,
}

/// What a reader does with each line: break ends the reading.
pub type Take<'f> = &'f mut dyn FnMut(Logged<'_>) -> ControlFlow<()>;

impl JobFiles {
    /// Reads all lines of the log from this place on. Returns the place behind the last whole frame, where another read may go
    /// on. `None`: `take` has ended the reading. `is_live`: the log is being written, so a frame that is cut off at its end is
    /// on its way to the disk, and left to the next read.
    ///
    /// # Errors
    /// A folder or file cannot be read. Damage is no error.
    pub fn read(&self, from: Cursor, is_live: bool, take: Take<'_>) -> io::Result<Option<Cursor>> {
        let parts = self.parts()?;
        let mut cursor = from;
        let last = parts.last().copied();
        for part in parts.into_iter().filter(|part| *part >= from.part) {
            if part > cursor.part {
                cursor = Cursor { part, offset: 0 };
            }
            let bytes = match read_from(&self.part(part), cursor.offset) {
                Ok(bytes) => bytes,
                // Removed meanwhile.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            let file = File { part, begin: cursor.offset, bytes: &bytes, is_last: Some(part) == last, is_live };
            match file.read(take) {
                Some(read) => cursor.offset += read as u64,
                None => return Ok(None),
            }
        }
        Ok(Some(cursor))
    }
}

/// The content of a file from an offset on.
fn read_from(path: &Path, offset: u64) -> io::Result<Vec<u8>> {
    let mut file = regular_file::open(path)?;
    let length = file.metadata()?.len();
    if length > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} bytes are too many for a log", length)));
    }
    let mut bytes = Vec::with_capacity(length.saturating_sub(offset) as usize);
    file.seek(SeekFrom::Start(offset))?;
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The content of a file of a log, from `begin` on.
struct File<'b> {
    part: u32,
    begin: u64,
    bytes: &'b [u8],
    is_last: bool,
    is_live: bool,
}

impl File<'_> {
    /// Returns how many bytes were read.
    fn read(&self, take: Take<'_>) -> Option<usize> {
        let mut at = 0;
        let mut t = 0;
        while at < self.bytes.len() {
            let rest = &self.bytes[at..];
            let whole =
                zstd::zstd_safe::find_frame_compressed_size(rest).ok().filter(|size| (1..=rest.len()).contains(size));
            let (frame, is_whole) = (&rest[..whole.unwrap_or(rest.len())], whole.is_some());
            let is_tail = self.is_last && !is_whole && memmem::find(&rest[1..], &MAGIC).is_none();
            if is_tail && self.is_live {
                return Some(at);
            }
            let mut lines = Vec::new();
            let read = decompress(frame, &mut lines);
            // A frame with a wrong checksum says nothing, one that is cut off says its first part.
            let usable = read.is_ok() || !is_whole;
            if usable {
                self.take_lines(&lines, at, &mut t, take)?;
            }
            let mut next = at + frame.len();
            if !is_whole || read.is_err() {
                let what = if is_whole { "a frame has a wrong checksum" } else { "a frame is cut off or is none" };
                self.damaged(t, at, what, take)?;
                if is_tail {
                    return Some(at);
                }
                if !is_whole {
                    next = memmem::find(&rest[1..], &MAGIC).map_or(self.bytes.len(), |skip| at + 1 + skip);
                }
            }
            at = next;
        }
        Some(at)
    }

    fn take_lines(&self, lines: &[u8], at: usize, t: &mut u64, take: Take<'_>) -> Option<()> {
        let whole = memchr::memrchr(b'\n', lines).map_or(0, |end| end + 1);
        for text in lines[..whole].split(|b| *b == b'\n').filter(|text| !text.is_empty()) {
            match Line::parse(text) {
                Some(line) => {
                    *t = line.t;
                    if take(Logged { text, line }).is_break() {
                        return None;
                    }
                }
                None => self.damaged(*t, at, "a line is no event", take)?,
            }
        }
        Some(())
    }

    fn damaged(&self, t: u64, at: usize, what: &'static str, take: Take<'_>) -> Option<()> {
        let line =
            Line { t, event: Event::Damaged { part: self.part, offset: self.begin + at as u64, what: what.into() } };
        let mut text = Vec::new();
        line.write_to(&mut text);
        text.pop();
        take(Logged { text: &text, line }).is_continue().then_some(())
    }
}

/// Appends the content of a frame, or as much of it as there is.
fn decompress(frame: &[u8], into: &mut Vec<u8>) -> io::Result<()> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(frame)?.single_frame();
    decoder.window_log_max(WINDOW_LOG_MAX)?;
    let read = decoder.take(FRAME_BYTES_MAX + 1).read_to_end(into)?;
    if read as u64 > FRAME_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame is too large"));
    }
    Ok(())
}

/// Makes frames, with one state of the compressor for all of them.
pub(crate) struct Frames(zstd::bulk::Compressor<'static>);

impl Frames {
    pub(crate) fn new() -> io::Result<Frames> {
        let mut compressor = zstd::bulk::Compressor::new(1)?;
        compressor.include_checksum(true)?;
        Ok(Frames(compressor))
    }

    /// One frame of these lines.
    pub(crate) fn compress(&mut self, lines: &[u8]) -> io::Result<Vec<u8>> {
        self.0.compress(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::Folder;
    use std::fs;
    use windrow_model::JobId;

    fn compress(text: &[u8]) -> Vec<u8> {
        Frames::new().unwrap().compress(text).unwrap()
    }

    fn frame(range: std::ops::Range<u64>) -> Vec<u8> {
        let mut text = Vec::new();
        range.for_each(|n| Line { t: n, event: Event::Dropped { n } }.write_to(&mut text));
        compress(&text)
    }

    fn files(dir: &tempfile::TempDir, parts: &[Vec<u8>]) -> JobFiles {
        let files = Folder::new(dir.path()).job(JobId::from_bytes([1; 16]));
        fs::create_dir_all(files.folder()).unwrap();
        for (n, bytes) in parts.iter().enumerate() {
            fs::write(files.part(n as u32), bytes).unwrap();
        }
        files
    }

    /// The numbers of the events, and the places at which there is damage.
    fn read(files: &JobFiles, from: Cursor) -> (Vec<u64>, Vec<u64>, Option<Cursor>) {
        let (mut numbers, mut damage) = (Vec::new(), Vec::new());
        let end = files.read(from, false, &mut |logged| {
            match logged.line.event {
                Event::Dropped { n } => numbers.push(n),
                Event::Damaged { offset, .. } => damage.push(offset),
                other => panic!("{other:?}"),
            }
            ControlFlow::Continue(())
        });
        (numbers, damage, end.unwrap())
    }

    #[test]
    fn file_cut_at_any_byte_gives_its_first_events() {
        let dir = tempfile::tempdir().unwrap();
        let frames = [frame(0..5), frame(5..9), frame(9..40)];
        let whole: Vec<u8> = frames.concat();
        let ends: Vec<usize> = (1..=frames.len()).map(|n| frames[..n].concat().len()).collect();
        for length in 0..=whole.len() {
            let files = files(&dir, &[whole[..length].to_vec()]);
            let (numbers, damage, end) = read(&files, Cursor::default());
            assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>(), "cut at {length}");
            let complete = ends.iter().filter(|end| **end <= length).count();
            assert!(numbers.len() as u64 >= [0, 5, 9, 40][complete], "cut at {length}: {numbers:?}");
            let is_cut = length > 0 && !ends.contains(&length);
            assert_eq!(damage.len(), usize::from(is_cut), "cut at {length}");
            let behind = ends.iter().filter(|end| **end <= length).max().copied().unwrap_or(0);
            assert_eq!(end, Some(Cursor { part: 0, offset: behind as u64 }), "cut at {length}");
        }
    }

    #[test]
    fn byte_flipped_anywhere_never_invents_an_event() {
        let dir = tempfile::tempdir().unwrap();
        let whole = [frame(0..5), frame(5..9), frame(9..14)].concat();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x55;
            let (numbers, damage, _) = read(&files(&dir, &[bytes]), Cursor::default());
            assert!(numbers.is_sorted() && numbers.iter().all(|n| *n < 14), "{at}: {numbers:?}");
            assert!(!damage.is_empty() || numbers.len() == 14, "{at}: {numbers:?}");
        }
    }

    #[test]
    fn reading_goes_on_behind_garbage_and_in_the_next_part() {
        let dir = tempfile::tempdir().unwrap();
        let cut = frame(20..30);
        let first = [frame(0..3), vec![7; 100], frame(3..5), cut[..cut.len() - 6].to_vec()].concat();
        let files = files(&dir, &[first, frame(30..33)]);
        let (numbers, damage, end) = read(&files, Cursor::default());
        assert_eq!((&numbers[..5], &numbers[numbers.len() - 3..]), (&[0, 1, 2, 3, 4][..], &[30, 31, 32][..]));
        assert_eq!(damage.len(), 2);
        assert_eq!(end.map(|end| end.part), Some(1));
    }

    #[test]
    fn reading_goes_on_where_it_ended() {
        let dir = tempfile::tempdir().unwrap();
        let first = frame(0..3);
        let at_first = read(&files(&dir, std::slice::from_ref(&first)), Cursor::default()).2.unwrap();
        let both = files(&dir, &[[first, frame(3..7)].concat(), frame(7..9)]);
        let (numbers, damage, end) = read(&both, at_first);
        assert_eq!((numbers, damage), ((3..9).collect(), Vec::new()));
        assert_eq!(read(&both, end.unwrap()), (Vec::new(), Vec::new(), end));
    }

    #[test]
    fn frame_that_inflates_without_end_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let bomb = compress(&vec![b'x'; FRAME_BYTES_MAX as usize + 100]);
        let files = files(&dir, &[[bomb, frame(0..2)].concat()]);
        let (numbers, damage, _) = read(&files, Cursor::default());
        assert_eq!((numbers, damage.len()), (vec![0, 1], 1));
    }
}
