//! One file of a run, while it is written and when it is read.
//!
//! It is a shuffle file with a single segment, mapped and then unlinked: its disk space returns as soon as nobody reads it any more.

use super::unique_path;
use crate::error::{EngineError, Result};
use crate::lent::Changed;
use crate::mapped::MappedFile;
use crate::merge::Cursor;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use windrow_failpoint::failpoint;
use windrow_format::block::{FormatError, Identity};
use windrow_format::codec::Codec;
use windrow_format::private;
use windrow_format::quota::Charged;
use windrow_format::shuffle::{SegmentCursor, ShuffleWriter};

/// A run being written, with its path for errors.
pub struct Output {
    writer: ShuffleWriter,
    path: PathBuf,
}

impl Output {
    /// Creates the file.
    fn create(path: PathBuf, codec: Codec) -> Result<Self> {
        let writer = ShuffleWriter::create(&path, Identity::default(), codec);
        Ok(Output { writer: writer.map_err(EngineError::file(&path))?, path })
    }

    /// Adds a record; keys ascend.
    #[inline]
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.writer.push(0, key, value).map_err(EngineError::file(&self.path))
    }
}

/// One segment of a mapped file, as a cursor.
pub struct MappedCursor {
    file: Arc<MappedFile>,
    start: usize,
    end: usize,
    cursor: SegmentCursor,
    /// Where it is noted that the current block has changed, if others can change the file.
    changed: Option<Changed>,
}

impl MappedCursor {
    /// Over `length` bytes at `offset`, which must belong to `identity`.
    pub fn new(file: Arc<MappedFile>, offset: u64, length: u64, identity: Identity) -> Result<Self, FormatError> {
        Self::over(file, offset, length, SegmentCursor::new(identity), None)
    }

    /// The same for a file that others can change: every block is verified once more after its use, at the latest when the cursor
    /// is dropped, which can only note what it finds.
    pub fn of_changeable(
        file: Arc<MappedFile>,
        offset: u64,
        length: u64,
        identity: Identity,
        changed: Changed,
    ) -> Result<Self, FormatError> {
        Self::over(file, offset, length, SegmentCursor::of_changeable(identity), Some(changed))
    }

    fn over(
        file: Arc<MappedFile>,
        offset: u64,
        length: u64,
        cursor: SegmentCursor,
        changed: Option<Changed>,
    ) -> Result<Self, FormatError> {
        let end = offset.checked_add(length).filter(|end| *end <= file.len() as u64).ok_or(FormatError::Truncated)?;
        Ok(MappedCursor { file, start: offset as usize, end: end as usize, cursor, changed })
    }

    /// Bytes of memory that it will need.
    pub fn buffer_bytes(&self) -> usize {
        SegmentCursor::buffer_bytes(self.segment())
    }

    /// The file.
    pub fn file(&self) -> &Arc<MappedFile> {
        &self.file
    }

    /// First byte of the segment in the file.
    pub fn start(&self) -> usize {
        self.start
    }

    /// The segment's bytes.
    #[inline]
    pub fn segment(&self) -> &[u8] {
        &self.file[self.start..self.end]
    }
}

impl MappedCursor {
    /// Calls `f` with every record that is left, the current one not included.
    #[inline]
    pub fn for_each<E: From<FormatError>>(
        &mut self,
        f: &mut impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.cursor.for_each(&self.file[self.start..self.end], f)
    }
}

impl Cursor for MappedCursor {
    type Error = FormatError;

    #[inline]
    fn advance(&mut self) -> Result<bool, FormatError> {
        self.cursor.advance(&self.file[self.start..self.end])
    }
    #[inline]
    fn record(&self) -> (&[u8], &[u8]) {
        self.cursor.record(self.segment())
    }
}

impl Drop for MappedCursor {
    fn drop(&mut self) {
        if let Some(changed) = &self.changed
            && let Err(e) = self.cursor.check_again(&self.file[self.start..self.end])
        {
            changed.note(&e);
        }
    }
}

/// A mapped file that has no name any more.
pub struct RunFile {
    file: Arc<MappedFile>,
    /// The name that it had, for errors.
    path: PathBuf,
    length: u64,
    /// Its disk space counts for as long as it is there.
    _charged: Charged,
}

impl RunFile {
    /// Writes a file to `folder`; keys ascend.
    pub fn write(folder: &Path, codec: Codec, fill: impl FnOnce(&mut Output) -> Result<()>) -> Result<RunFile> {
        private::create_folders(folder).map_err(EngineError::io("create", folder))?;
        let path = unique_path(folder);
        let mut out = Output::create(path.clone(), codec)?;
        let filled = failpoint!("spill").map_err(EngineError::io("write", &path)).and_then(|()| fill(&mut out));
        let filled = filled.and_then(|()| out.writer.finish_for_now().map_err(EngineError::file(&path)));
        let written = filled.and_then(|(segments, charged)| Ok((segments, charged, MappedFile::open(&path)?)));
        // Mapped or failed: the name has served.
        let removed = fs::remove_file(&path).map_err(EngineError::io("remove", &path));
        let (segments, charged, file) = written?;
        removed?;
        let length = segments.first().map_or(0, |s| s.length);
        Ok(RunFile { file: Arc::new(file), path, length, _charged: charged })
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.file.len() as u64
    }

    /// Where it lay.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of memory that reading it needs.
    pub fn buffer_bytes(&self) -> usize {
        // All blocks are of the same size, a record larger than a block aside.
        if self.length == 0 { 0 } else { SegmentCursor::buffer_bytes(&self.file) }
    }

    /// Before its first record.
    pub fn cursor(&self) -> Result<MappedCursor> {
        let cursor = MappedCursor::new(self.file.clone(), 0, self.length, Identity::default());
        cursor.map_err(EngineError::file(&self.path))
    }
}

#[cfg(test)]
impl RunFile {
    /// Changes a bit in its second half; says where the block with it begins.
    pub fn damage(&mut self, folder: &Path) -> u64 {
        let mut blocks = windrow_format::segment::BlockCursor::new(Identity::default());
        let (mut bytes, mut start, mut end) = (self.file.to_vec(), 0, 0);
        while end < self.length as usize / 2 {
            start = end;
            end = blocks.next_block(&bytes[..self.length as usize]).unwrap().unwrap().1.end;
        }
        bytes[end - 1] ^= 1;
        let path = folder.join("damaged");
        fs::write(&path, bytes).unwrap();
        self.file = Arc::new(MappedFile::open(&path).unwrap());
        fs::remove_file(&path).unwrap();
        start as u64
    }
}
