//! A range of a file as blocks of whole records: mapped where it lies, or decompressed piece by piece.

use super::Block;
use super::windows::windows;
use crate::context::{TaskCx, TaskResult};
use memchr::{memchr, memrchr};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use windrow_engine::MappedFile;
use windrow_model::{Code, Compression, Failure, FileRange, Framing};

/// About so many bytes are handed on at a time: large enough that its cost vanishes, small enough to stay in cache.
const BLOCK_BYTES: usize = 1 << 20;
/// So many bytes behind a block are on their way when it is read.
const AHEAD_BYTES: usize = 16 << 20;
/// A record of a compressed file has to be held in memory as a whole.
pub(crate) const RECORD_MAX: usize = 1 << 30;

/// How a file is compressed, by its name.
fn compression_of(path: &Path) -> Option<Compression> {
    match path.extension()?.to_str()? {
        "gz" => Some(Compression::Gzip),
        "zst" => Some(Compression::Zstd),
        "bz2" => Some(Compression::Bzip2),
        _ => None,
    }
}

fn io_failure(path: &Path, e: io::Error) -> Failure {
    let code = if e.kind() == io::ErrorKind::NotFound { Code::InputChanged } else { Code::InputUnreadable };
    Failure::new(code, format!("{}: {e}", path.display()))
}

/// Calls `f` with every block of the range until it says false.
pub(super) fn each_block(
    cx: &TaskCx<'_>,
    range: &FileRange,
    framing: Framing,
    header: bool,
    skip: &[u64],
    f: &mut dyn FnMut(Block<'_>) -> bool,
) -> TaskResult<()> {
    check_same(range)?;
    let mut around = |block: Block<'_>| around_skipped(block, framing, skip, f);
    let f: &mut dyn FnMut(Block<'_>) -> bool = if skip.is_empty() { f } else { &mut around };
    match compression_of(&range.path) {
        Some(compression) => decompressed(cx, range, compression, framing, header, f)?,
        None => mapped(cx, range, framing, header, f)?,
    }
    // What was read must be what was split: a file that changed meanwhile gives no result.
    check_same(range)
}

/// Hands on what lies between the records that begin at these offsets of the file.
fn around_skipped(block: Block<'_>, framing: Framing, skip: &[u64], f: &mut dyn FnMut(Block<'_>) -> bool) -> bool {
    let Block { bytes, offset, path, head } = block;
    let mut give = |from: usize, to: usize| {
        from == to || f(Block { bytes: &bytes[from..to], offset: offset + from as u64, path, head })
    };
    let mut from = 0;
    for bad in skip.iter().filter_map(|s| s.checked_sub(offset)).map(|at| at as usize) {
        // One that lies inside of a record that is skipped already is none.
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
    // A chunk of a dataset is what it is by its content: the same may be stored once more, as another file.
    let is_same = match range.content {
        Some(_) => now.length == range.identity.length,
        None => now.is_same_anywhere(&range.identity),
    };
    if is_same {
        return Ok(());
    }
    let message = format!("{} changed: it was {:?}, and is {now:?}", range.path.display(), range.identity);
    Err(Failure::new(Code::InputChanged, message).into())
}

/// The end of the record that holds the byte before `at`, in bytes that begin and end with records.
pub(super) fn record_end(bytes: &[u8], framing: Framing, at: usize) -> usize {
    if at >= bytes.len() {
        return bytes.len();
    }
    match framing {
        Framing::Delimiter(d) => memchr(d, &bytes[at.max(1) - 1..]).map_or(bytes.len(), |i| at.max(1) + i),
        Framing::Fixed(n) => (at.div_ceil(n as usize) * n as usize).min(bytes.len()),
        Framing::Whole => bytes.len(),
    }
}

fn mapped(
    cx: &TaskCx<'_>,
    range: &FileRange,
    framing: Framing,
    header: bool,
    f: &mut dyn FnMut(Block<'_>) -> bool,
) -> TaskResult<()> {
    let map = MappedFile::open(range.file())?;
    let (start, end) = (range.offset as usize, (range.offset + range.length) as usize);
    let bytes = map
        .get(start..end)
        .ok_or_else(|| Failure::new(Code::InputChanged, format!("{} has become shorter", range.path.display())))?;
    let head = if header { &map[..record_end(&map, framing, 1)] } else { &[] };
    let mut give = |from: usize, to: usize| {
        f(Block { bytes: &bytes[from..to], offset: range.offset + from as u64, path: &range.path, head })
    };
    if cx.sample && framing != Framing::Whole {
        windows(bytes, range.offset, framing, cx.task.job_input_bytes, &mut give);
        return Ok(());
    }
    let (mut from, mut asked) = (0, 0);
    while from < bytes.len() {
        let to = record_end(bytes, framing, from + BLOCK_BYTES);
        // The disk goes on reading while this thread computes.
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

/// The content of a file, decompressed if its name says that it is compressed.
pub(crate) fn open_content(path: &Path) -> io::Result<Box<dyn Read>> {
    open_as(path, compression_of(path).unwrap_or(Compression::None))
}

fn open_as(path: &Path, compression: Compression) -> io::Result<Box<dyn Read>> {
    let file = io::BufReader::with_capacity(256 << 10, File::open(path)?);
    Ok(match compression {
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(file)?),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(file)),
        Compression::None => Box::new(file),
    })
}

fn decompressed(
    cx: &TaskCx<'_>,
    range: &FileRange,
    compression: Compression,
    framing: Framing,
    header: bool,
    f: &mut dyn FnMut(Block<'_>) -> bool,
) -> TaskResult<()> {
    let path = &range.path;
    let mut reader = open_as(path, compression).map_err(|e| io_failure(path, e))?;
    let mut head = Vec::new();
    let mut buffer: Vec<u8> = Vec::new();
    let mut offset = 0u64;
    let mut wanted = BLOCK_BYTES;
    loop {
        let corrupt = |e: io::Error| {
            Failure::new(Code::InputCorrupt, format!("{} at byte {offset} of its content: {e}", path.display()))
        };
        let missing = (wanted - buffer.len()) as u64;
        let at_end = (&mut reader).take(missing).read_to_end(&mut buffer).map_err(corrupt)? < missing as usize;
        let whole = if at_end { buffer.len() } else { last_record_end(&buffer, framing) };
        if whole == 0 && !at_end {
            // Not one whole record yet.
            wanted *= 2;
            if wanted > 2 * RECORD_MAX {
                let message = format!("{}: the record at byte {offset} is longer than 1 GiB", path.display());
                return Err(Failure::new(Code::RecordTooLarge, message).into());
            }
            continue;
        }
        if header && offset == 0 {
            head = buffer[..record_end(&buffer[..whole], framing, 1)].to_vec();
        }
        if let (Framing::Fixed(n), true) = (framing, at_end)
            && whole % n as usize != 0
        {
            let message = format!("{} does not hold a whole number of {n}-byte records", path.display());
            return Err(Failure::new(Code::InputMalformed, message).into());
        }
        let bytes = &buffer[..whole];
        let mut give = |from: usize, to: usize| {
            f(Block { bytes: &bytes[from..to], offset: offset + from as u64, path, head: &head })
        };
        let go_on = if cx.sample && framing != Framing::Whole {
            windows(bytes, offset, framing, cx.task.job_input_bytes, &mut give)
        } else {
            whole == 0 || give(0, whole)
        };
        if !go_on {
            return Ok(());
        }
        offset += whole as u64;
        buffer.drain(..whole);
        if at_end {
            return Ok(());
        }
        wanted = BLOCK_BYTES.max(buffer.len() + BLOCK_BYTES / 2);
    }
}

/// The end of the last whole record.
pub(crate) fn last_record_end(bytes: &[u8], framing: Framing) -> usize {
    match framing {
        Framing::Delimiter(d) => memrchr(d, bytes).map_or(0, |i| i + 1),
        Framing::Fixed(n) => bytes.len() / n as usize * n as usize,
        Framing::Whole => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_the_same_whatever_number_its_device_has_here_and_another_one_is_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let identity = windrow_store::identity::of_path(file.path()).unwrap();
        let range = FileRange { path: file.path().into(), offset: 0, length: 0, identity, content: None, local: None };
        let with = |change: fn(&mut FileRange)| {
            let mut other = range.clone();
            change(&mut other);
            check_same(&other)
        };
        with(|r| r.identity.device += 1).unwrap();
        with(|r| r.identity.inode += 1).unwrap_err();
        with(|r| r.identity.length += 1).unwrap_err();
        with(|r| r.identity.modified_ns += 1).unwrap_err();
    }

    #[test]
    fn a_chunk_is_the_same_file_by_its_content() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let identity = windrow_model::FileIdentity { length: 3, ..Default::default() };
        let content = Some(windrow_model::Digest::of(b"abc"));
        let local = Some(file.path().to_path_buf());
        let range = FileRange { path: "windrow://set/00000".into(), offset: 0, length: 3, identity, content, local };
        check_same(&range).unwrap_err();
        for _ in 0..2 {
            // Somebody has put the same once more.
            std::fs::remove_file(file.path()).unwrap();
            std::fs::write(file.path(), "abc").unwrap();
            check_same(&range).unwrap();
        }
    }
}
