//! The file of the journal's key-value library: its own backend, with failpoints before and after each call that makes a transaction
//! durable.

use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::path::Path;
use windrow_failpoint::failpoint;
use windrow_format::in_place::InPlace;
use windrow_format::{private, regular_file};

/// An open file.
#[derive(Debug)]
pub(super) struct JournalFile(FileBackend, InPlace);

impl JournalFile {
    /// A file that must not exist yet.
    pub(super) fn create(path: &Path) -> Result<Self, DatabaseError> {
        Self::around(path, private::create_new(path)?)
    }

    /// A file that has content: the library would take an empty one for a new one.
    pub(super) fn open(path: &Path) -> Result<Self, DatabaseError> {
        let file = regular_file::open_with(File::options().read(true).write(true), path)?;
        if file.metadata()?.len() == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is empty").into());
        }
        Self::around(path, file)
    }

    fn around(path: &Path, file: File) -> Result<Self, DatabaseError> {
        let place = InPlace::of(path, &file)?;
        FileBackend::new(file).map(|backend| JournalFile(backend, place))
    }

    /// The identity of the file and the path at which it was opened.
    pub(super) fn place(&self) -> InPlace {
        self.1.clone()
    }
}

impl StorageBackend for JournalFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        failpoint!("journal.read")?;
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        failpoint!("journal.write")?;
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        failpoint!("journal.sync")?;
        self.0.sync_data()?;
        failpoint!("journal.synced")
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        failpoint!("journal.write")?;
        self.0.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.unlock_range(start, end)
    }
}
