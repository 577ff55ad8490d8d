//! One file of a run: its writer and its reader.
//!
//! A run file is a shuffle file with a single segment, mapped and then unlinked: its disk space is freed with its last
//! reader.

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
use windrow_format::segment::{Batch, Places};
use windrow_format::shuffle::{SegmentCursor, ShuffleWriter};

/// A run that is being written, with its path for errors.
pub(crate) struct Output {
    writer: ShuffleWriter,
    path: PathBuf,
}

impl Output {
    /// Creates the file.
    fn create(path: PathBuf, codec: Codec) -> Result<Self> {
        let writer = ShuffleWriter::create(&path, Identity::default(), codec);
        Ok(Output { writer: writer.map_err(EngineError::file(&path))?, path })
    }

    /// Adds a record; keys must ascend.
    #[inline]
    pub(crate) fn push(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.writer.push(0, key, value).map_err(EngineError::file(&self.path))
    }
}

/// A cursor over one segment of a mapped file.
pub(crate) struct MappedCursor {
    file: Arc<MappedFile>,
    start: usize,
    end: usize,
    cursor: SegmentCursor,
    /// Records that the current block has changed, if other processes can change the file.
    changed: Option<Changed>,
}

impl MappedCursor {
    /// A cursor over `length` bytes at `offset`, which must belong to `identity`.
    pub(crate) fn new(
        file: Arc<MappedFile>,
        offset: u64,
        length: u64,
        identity: Identity,
    ) -> Result<Self, FormatError> {
        Self::over(file, offset, length, SegmentCursor::new(identity), None)
    }

    /// A cursor over bytes in the memory of this process, which wrote them without checksums.
    pub(crate) fn unchecked(file: Arc<MappedFile>, offset: u64, length: u64) -> Result<Self, FormatError> {
        Self::over(file, offset, length, SegmentCursor::unchecked(), None)
    }

    /// A cursor over a file that other processes can change: every block is verified again after its use. For the last
    /// block that happens when the cursor is dropped, which can only record a mismatch in `changed`.
    pub(crate) fn of_changeable(
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

    /// Bytes of memory that the cursor will need.
    pub(crate) fn buffer_bytes(&self) -> usize {
        SegmentCursor::buffer_bytes(self.segment())
    }

    /// The mapped file.
    pub(crate) fn file(&self) -> &Arc<MappedFile> {
        &self.file
    }

    /// Offset of the segment in the file, in bytes.
    pub(crate) fn start(&self) -> usize {
        self.start
    }

    /// The bytes of the segment.
    #[inline]
    pub(crate) fn segment(&self) -> &[u8] {
        &self.file[self.start..self.end]
    }
}

impl MappedCursor {
    /// Calls `f` with every remaining record, excluding the current one.
    #[inline]
    pub(crate) fn for_each<E: From<FormatError>>(
        &mut self,
        f: &mut impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.cursor.for_each(&self.file[self.start..self.end], f)
    }

    /// Calls `f` with the current record and all that follow, some neighbours at a time.
    #[inline]
    pub(crate) fn for_each_batch<E: From<FormatError>>(
        &mut self,
        places: &mut Places,
        f: &mut impl FnMut(Batch<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.cursor.for_each_batch(&self.file[self.start..self.end], places, f)
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

/// A mapped file that has been unlinked.
pub(crate) struct RunFile {
    file: Arc<MappedFile>,
    /// The former path, for errors.
    path: PathBuf,
    length: u64,
    /// Charges the disk space to the quota until the file is dropped.
    _charged: Charged,
}

impl RunFile {
    /// Writes a file to `folder`; `fill` must push keys in ascending order.
    pub(crate) fn write(folder: &Path, codec: Codec, fill: impl FnOnce(&mut Output) -> Result<()>) -> Result<RunFile> {
        private::create_folders(folder).map_err(EngineError::io("create", folder))?;
        let path = unique_path(folder);
        let mut out = Output::create(path.clone(), codec)?;
        let filled = failpoint!("spill").map_err(EngineError::io("write", &path)).and_then(|()| fill(&mut out));
        let filled = filled.and_then(|()| out.writer.finish_for_now().map_err(EngineError::file(&path)));
        let written = filled.and_then(|(segments, charged)| Ok((segments, charged, MappedFile::open_own(&path)?)));
        // The name is no longer needed, whether the file is mapped or an error occurred.
        let removed = fs::remove_file(&path).map_err(EngineError::io("remove", &path));
        let (segments, charged, file) = written?;
        removed?;
        let length = segments.first().map_or(0, |s| s.length);
        Ok(RunFile { file: Arc::new(file), path, length, _charged: charged })
    }

    /// Size of the file in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.file.len() as u64
    }

    /// The former path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of memory that a reader needs.
    pub(crate) fn buffer_bytes(&self) -> usize {
        // All blocks have the same size, except for records larger than a block.
        if self.length == 0 { 0 } else { SegmentCursor::buffer_bytes(&self.file) }
    }

    /// A cursor before the first record.
    pub(crate) fn cursor(&self) -> Result<MappedCursor> {
        let cursor = MappedCursor::new(self.file.clone(), 0, self.length, Identity::default());
        cursor.map_err(EngineError::file(&self.path))
    }
}

#[cfg(test)]
impl RunFile {
    /// Flips a bit in the second half; returns the offset of the damaged block.
    pub(crate) fn damage(&mut self, folder: &Path) -> u64 {
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
