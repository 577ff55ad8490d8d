//! Reads a range of a file as blocks of whole records: mapped if the file is stored uncompressed, else decompressed
//! piece by piece.

use super::decoder::{Decoder, failure_of};
use super::format::{BYTE_ORDER_MARK, Block};
use super::looks_binary::looks_like;
use super::room::Room;
use super::windows::windows;
use crate::report::warning::warn_once;
use crate::task::context::TaskCx;
use crate::task::failure::TaskResult;
use std::io::{self, Read};
use std::path::Path;
use windrow_engine::MappedFile;
use windrow_format::compression::{HEAD_BYTES, of_content, of_text};
use windrow_format::framing::{last_record_end, record_end};
use windrow_format::regular_file;
use windrow_model::{Code, Compression, Escape, Failure, FileRange, Framing, RecordPlace};
use windrow_store::unsupported;

/// The approximate size of a block, in bytes: large enough to amortize the cost per block, small enough for the cache.
const BLOCK_BYTES: usize = 1 << 20;
/// Read-ahead distance after the current block, in bytes.
const AHEAD_BYTES: usize = 16 << 20;
/// Longest record of a compressed file, in bytes. It is held in memory as a whole.
pub(crate) const RECORD_MAX: usize = 1 << 30;

fn io_failure(path: &Path, e: io::Error) -> Failure {
    let code = if e.kind() == io::ErrorKind::NotFound { Code::InputChanged } else { Code::InputUnreadable };
    Failure::new(code, format!("{}: {e}", path.escaped()))
}

/// What a source declares about its files.
#[derive(Clone, Copy)]
pub(super) struct Format {
    pub framing: Framing,
    /// Whether every block needs the first record of its file.
    pub has_header: bool,
    /// Whether compressed files are decompressed and a byte order mark is left out.
    pub is_text: bool,
}

/// Calls `f` with every block of the range until it returns `false`.
pub(super) fn each_block(
    cx: &TaskCx<'_>,
    range: &FileRange,
    format: Format,
    skip: &[u64],
    f: &mut dyn FnMut(Block<'_>) -> bool,
) -> TaskResult<()> {
    check_same(range)?;
    let mut around = |block: Block<'_>| around_skipped(block, format.framing, skip, f);
    let f: &mut dyn FnMut(Block<'_>) -> bool = if skip.is_empty() { f } else { &mut around };
    let mut noted = |block: Block<'_>| {
        if block.is_start {
            warn_of_no_text(range, block.bytes);
        }
        f(block)
    };
    // Records between NUL bytes are meant to be that.
    let is_text = format.is_text && !range.as_is && !format.framing.is_binary_text();
    let f: &mut dyn FnMut(Block<'_>) -> bool = if is_text { &mut noted } else { f };
    let map = InUse { map: MappedFile::open(range.file())?, range, cx };
    match compression_of(range, format, &map.map)? {
        Compression::None => mapped(cx, range, format, &map.map, f)?,
        compression => {
            drop(map);
            decompressed(cx, range, compression, format, f)?
        }
    }
    // The file that was read must be the file that was split. If it changed meanwhile, the task has no result.
    check_same(range)
}

/// An input that is read in place. Dropping it informs the task, also if user code unwinds through it.
struct InUse<'a, 'c> {
    map: MappedFile,
    range: &'a FileRange,
    cx: &'a TaskCx<'c>,
}

impl Drop for InUse<'_, '_> {
    fn drop(&mut self) {
        if let Some(offset) = self.map.torn_at() {
            self.cx.lost_input(torn(self.range, offset));
        }
    }
}

/// Names a file whose first bytes are none of a text.
fn warn_of_no_text(range: &FileRange, bytes: &[u8]) {
    if let Some(what) = looks_like(bytes) {
        let path = range.path.escaped();
        warn_once(&format!(
            "{path} is read as text, and looks like {what}; --compression none reads it without this warning"
        ));
    }
}

/// The failure of an input of which a byte could not be read.
fn torn(range: &FileRange, offset: u64) -> Failure {
    let path = range.path.escaped();
    let place = Some(RecordPlace { file: range.path.clone(), offset, excerpt: String::new() });
    match std::fs::metadata(range.file()) {
        Ok(now) if now.len() < range.identity.length => {
            let (then, now) = (range.identity.length, now.len());
            let message =
                format!("{path} has become shorter than the {then} B that it had at first: it has {now} B now");
            Failure { place, ..Failure::new(Code::InputChanged, message) }
        }
        _ => {
            let message = format!("{path} cannot be read at byte {offset}: its disk gave no data");
            Failure { place, ..Failure::new(Code::InputUnreadable, message) }
        }
    }
}

/// Determines how the file of a range is compressed, in the same way as the splitter, which does not split compressed
/// files.
fn compression_of(range: &FileRange, format: Format, map: &[u8]) -> TaskResult<Compression> {
    if range.as_is || !format.is_text {
        return Ok(Compression::None);
    }
    let head = &map[..map.len().min(HEAD_BYTES)];
    let compression = of_text(&range.path, head).map_err(|e| Failure::from(unsupported(&range.path, e)))?;
    if compression != Compression::None && (range.offset, range.length) != (0, range.identity.length) {
        let message = format!("{} is compressed but was split as uncompressed", range.path.escaped());
        return Err(Failure::new(Code::InputMalformed, message).into());
    }
    Ok(compression)
}

/// Returns the offset of the first record: after a byte order mark, if the file is text. A piece of a dataset that was
/// put as records is not the beginning of a file.
fn first_record(range: &FileRange, format: Format, content: &[u8]) -> usize {
    let is_beginning = format.is_text && !(range.as_is && range.content.is_some());
    if is_beginning && content.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 }
}

/// Passes on the records of a block except those that begin at the offsets in `skip` (in the file).
fn around_skipped(block: Block<'_>, framing: Framing, skip: &[u64], f: &mut dyn FnMut(Block<'_>) -> bool) -> bool {
    let Block { bytes, offset, is_start, path, head } = block;
    let mut give = |from: usize, to: usize| {
        let is_start = is_start && from == 0;
        from == to || f(Block { bytes: &bytes[from..to], offset: offset + from as u64, is_start, path, head })
    };
    let mut from = 0;
    for bad in skip.iter().filter_map(|s| s.checked_sub(offset)).map(|at| at as usize) {
        // An offset within a record that is already skipped is ignored.
        if (from..bytes.len()).contains(&bad) {
            if !give(from, bad) {
                return false;
            }
            from = record_end(bytes, framing, bad + 1);
        }
    }
    give(from, bytes.len())
}

fn check_same(range: &FileRange) -> TaskResult<()> {
    let now = windrow_store::identity::of_path(range.file()).map_err(|e| io_failure(&range.path, e))?;
    // A chunk of a dataset is identified by its content, because the same content may have been stored again as another
    // file.
    let is_same = match range.content {
        Some(_) => now.length == range.identity.length,
        None => now.is_same_anywhere(&range.identity),
    };
    if is_same {
        return Ok(());
    }
    let message = format!("{} changed: it was {:?}, and is {now:?}", range.path.escaped(), range.identity);
    Err(Failure::new(Code::InputChanged, message).into())
}

fn mapped(
    cx: &TaskCx<'_>,
    range: &FileRange,
    format: Format,
    map: &MappedFile,
    f: &mut dyn FnMut(Block<'_>) -> bool,
) -> TaskResult<()> {
    let framing = format.framing;
    let (start, end) = (range.offset as usize, (range.offset + range.length) as usize);
    let bytes = map
        .get(start..end)
        .ok_or_else(|| Failure::new(Code::InputChanged, format!("{} has become shorter", range.path.escaped())))?;
    let first = if start == 0 || format.has_header { first_record(range, format, map) } else { 0 };
    let head = if format.has_header { &map[first..record_end(map, framing, 1).max(first)] } else { &[] };
    let first = if start == 0 { first } else { 0 };
    let mut give = |from: usize, to: usize| {
        let from = from.max(first);
        let is_start = start == 0 && from == first;
        let offset = range.offset + from as u64;
        from >= to || f(Block { bytes: &bytes[from..to], offset, is_start, path: &range.path, head })
    };
    if cx.sample && framing != Framing::Whole {
        windows(bytes, range.offset, framing, cx.task.job_input_bytes, &mut give);
        return Ok(());
    }
    let (mut from, mut asked) = (0, 0);
    while from < bytes.len() {
        let to = record_end(bytes, framing, from + BLOCK_BYTES);
        // The disk reads ahead while this thread computes.
        if asked < bytes.len() && asked < to + AHEAD_BYTES / 2 {
            let ahead = (to + AHEAD_BYTES).min(bytes.len());
            map.read_ahead(start + asked.max(from)..start + ahead);
            asked = ahead;
        }
        map.populate(start + from..start + to);
        if !give(from, to) {
            break;
        }
        from = to;
    }
    Ok(())
}

fn decompressed(
    cx: &TaskCx<'_>,
    range: &FileRange,
    compression: Compression,
    format: Format,
    f: &mut dyn FnMut(Block<'_>) -> bool,
) -> TaskResult<()> {
    let (path, framing) = (&range.path, format.framing);
    let file = regular_file::open(range.file()).map_err(|e| io_failure(path, e))?;
    let mut content = Decoder::new(file, compression, Room::new(cx.share.fixed()));
    let mut head = Vec::new();
    let mut buffer: Vec<u8> = Vec::new();
    let mut offset = 0u64;
    let mut wanted = BLOCK_BYTES;
    let placed = |offset: u64, e: Failure| {
        Failure::new(e.code, format!("{} at byte {offset} of its content: {}", path.escaped(), e.message))
    };
    content.grant().hold_block(wanted as u64).map_err(|e| placed(0, e))?;
    loop {
        buffer.reserve_exact(wanted.saturating_sub(buffer.len()));
        let missing = wanted.saturating_sub(buffer.len()) as u64;
        let read = content.by_ref().take(missing).read_to_end(&mut buffer);
        let at_end = read.map_err(|e| failure_of(e, &format!("{} at byte {offset} of its content", path.escaped())))?
            < missing as usize;
        if offset == 0 {
            let head = &buffer[..buffer.len().min(HEAD_BYTES)];
            of_content(head).map_err(|e| Failure::from(unsupported(path, e)))?;
        }
        let whole = if at_end { buffer.len() } else { last_record_end(&buffer, framing) };
        if whole == 0 && !at_end {
            // The buffer does not yet contain a whole record.
            if wanted > RECORD_MAX {
                let message = format!("{}: the record at byte {offset} is longer than 1 GiB", path.escaped());
                return Err(Failure::new(Code::RecordTooLarge, message).into());
            }
            let grown = content.grant().grow_block(wanted, (wanted * 2).min(RECORD_MAX + 1));
            wanted = grown.map_err(|e| placed(offset, e))?;
            cx.check_cancelled();
            if cx.stopped() {
                return Ok(());
            }
            continue;
        }
        let bytes = &buffer[..whole];
        let first = if offset == 0 { first_record(range, format, bytes) } else { 0 };
        let begins = &bytes[first..];
        let first_head = match format.has_header && offset == 0 {
            true => &begins[..record_end(bytes, framing, 1).saturating_sub(first)],
            false => &[],
        };
        if !at_end {
            head.extend_from_slice(first_head);
        }
        let head = if at_end && offset == 0 { first_head } else { &head };
        let mut give = |from: usize, to: usize| {
            let from = from.max(first);
            let is_start = offset == 0 && from == first;
            from >= to || f(Block { bytes: &bytes[from..to], offset: offset + from as u64, is_start, path, head })
        };
        let go_on = if cx.sample && framing != Framing::Whole {
            windows(bytes, offset, framing, cx.task.job_input_bytes, &mut give)
        } else {
            give(0, whole)
        };
        if !go_on || at_end {
            return Ok(());
        }
        offset += whole as u64;
        buffer.drain(..whole);
        wanted = BLOCK_BYTES.max(buffer.len() + BLOCK_BYTES / 2);
        if buffer.capacity() > 4 * wanted {
            buffer.shrink_to(wanted);
        }
        let held = content.grant().hold_block(buffer.capacity().max(wanted) as u64);
        held.map_err(|e| placed(offset, e))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_is_identified_without_its_device_number() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let identity = windrow_store::identity::of_path(file.path()).unwrap();
        let range = FileRange {
            path: file.path().into(),
            offset: 0,
            length: 0,
            identity,
            content: None,
            local: None,
            as_is: false,
        };
        let with = |change: fn(&mut FileRange)| {
            let mut other = range.clone();
            change(&mut other);
            check_same(&other)
        };
        with(|r| r.identity.device += 1).unwrap();
        with(|r| r.identity.inode += 1).unwrap_err();
        with(|r| r.identity.length += 1).unwrap_err();
        with(|r| r.identity.modified_ns += 1).unwrap_err();
        with(|r| r.identity.changed_ns += 1).unwrap_err();
        with(|r| r.identity.changed_ns = 0).unwrap();
    }

    #[test]
    fn chunk_is_identified_by_its_content() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let identity = windrow_model::FileIdentity { length: 3, ..Default::default() };
        let content = Some(windrow_model::Digest::of(b"abc"));
        let local = Some(file.path().to_path_buf());
        let range = FileRange {
            path: "windrow://set/00000".into(),
            offset: 0,
            length: 3,
            identity,
            content,
            local,
            as_is: true,
        };
        check_same(&range).unwrap_err();
        for _ in 0..2 {
            // The same content is stored again.
            std::fs::remove_file(file.path()).unwrap();
            std::fs::write(file.path(), "abc").unwrap();
            check_same(&range).unwrap();
        }
    }

    const TEXT: Format = Format { framing: Framing::Delimiter(b'\n'), has_header: false, is_text: true };

    fn range_of(path: &Path) -> FileRange {
        let identity = windrow_store::identity::of_path(path).unwrap();
        let length = identity.length;
        FileRange { path: path.into(), offset: 0, length, identity, content: None, local: None, as_is: false }
    }

    /// Returns the bytes of all blocks, and the offset of the first block.
    fn read(range: &FileRange, format: Format) -> Result<(Vec<u8>, u64), Code> {
        let (mut all, mut first) = (Vec::new(), None);
        let read = crate::testing::with_cx(range.length, |cx| {
            each_block(cx, range, format, &[], &mut |block| {
                assert_eq!(block.is_start, first.is_none());
                first.get_or_insert(block.offset);
                all.extend_from_slice(block.bytes);
                true
            })
        });
        read.map(|()| (all, first.unwrap_or(0))).map_err(|e| e.failure.code)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn only_text_is_decompressed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.gz");
        let packed = gzip(b"a\nb\n");
        std::fs::write(&path, &packed).unwrap();
        let range = range_of(&path);
        assert_eq!(read(&range, TEXT), Ok((b"a\nb\n".to_vec(), 0)));
        for framing in [Framing::Whole, Framing::Fixed(1), Framing::Delimiter(b'\n')] {
            let format = Format { framing, has_header: false, is_text: false };
            assert_eq!(read(&range, format), Ok((packed.clone(), 0)), "{framing}");
        }
        assert_eq!(read(&FileRange { as_is: true, ..range.clone() }, TEXT), Ok((packed.clone(), 0)));
        let cut = FileRange { length: range.length - 1, ..range };
        assert_eq!(read(&cut, TEXT), Err(Code::InputMalformed), "a splitter that does not know better");
    }

    #[test]
    fn mark_is_left_out_where_a_file_begins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let marked = b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n";
        std::fs::write(&path, marked).unwrap();
        let range = range_of(&path);
        assert_eq!(read(&range, TEXT), Ok((marked[3..].to_vec(), 3)));
        assert_eq!(read(&FileRange { as_is: true, ..range.clone() }, TEXT), Ok((marked[3..].to_vec(), 3)));
        // A whole file in a dataset begins like a file, but a piece of one does not.
        let chunk = FileRange { content: Some(windrow_model::Digest::of(marked)), local: Some(path), ..range };
        assert_eq!(read(&chunk, TEXT), Ok((marked[3..].to_vec(), 3)));
        assert_eq!(read(&FileRange { as_is: true, ..chunk }, TEXT), Ok((marked.to_vec(), 0)));
    }
}
