//! One process per data folder: exclusive `flock`s on the folder itself and on the file `lock` in it, which holds the owner's
//! process id.
//!
//! The lock on the folder holds when somebody deletes or replaces the file. The lock on the file holds on file systems that
//! lock no folders (NFS), and against releases that lock only the file. The system releases both when the process ends,
//! however it ends; the file stays.

use crate::private;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use windrow_model::Escape;

pub(crate) const LOCK: &str = "lock";
const PAUSE: Duration = Duration::from_millis(20);
const PID_BYTES_MAX: u64 = 32;

/// Why a folder is not locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has the folder.
    #[error("the folder is in use by process {pid}")]
    Held {
        /// As the holder wrote it down; empty if it has not yet.
        pid: String,
    },
    /// The lock file cannot be used.
    #[error("cannot lock {}: {source}", path.escaped())]
    Io { path: PathBuf, source: io::Error },
}

/// A folder that this process has for itself until this is dropped.
#[derive(Debug)]
pub struct FolderLock {
    /// Absent where the file system has no locks on folders.
    folder: Option<File>,
    file: File,
}

impl FolderLock {
    /// Takes the locks of a folder that exists. Tries again for `wait` while another process has them: a child that a killed
    /// owner has just forked holds them until it executes its binary.
    ///
    /// # Errors
    /// [`LockError::Held`] if another process has the folder at the end of `wait`.
    pub fn take(folder: &Path, wait: Duration) -> Result<FolderLock, LockError> {
        let path = folder.join(LOCK);
        let begun = Instant::now();
        let mut lock = loop {
            let tried = try_lock(folder, &path).map_err(|source| LockError::Io { path: path.clone(), source })?;
            match tried {
                Some(lock) => break lock,
                None if begun.elapsed() < wait => std::thread::sleep(PAUSE),
                None => return Err(LockError::Held { pid: holder(&path) }),
            }
        };
        let written = lock.file.set_len(0).and_then(|()| lock.file.rewind());
        written
            .and_then(|()| writeln!(lock.file, "{}", std::process::id()))
            .map_err(|source| LockError::Io { path: path.clone(), source })?;
        Ok(lock)
    }
}

/// Both locks, or none if another process has one of them.
fn try_lock(folder: &Path, path: &Path) -> io::Result<Option<FolderLock>> {
    let opened = File::open(folder)?;
    let folder = match flock(&opened, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Some(opened),
        Err(Errno::WOULDBLOCK) => return Ok(None),
        // A network file system makes a lock on bytes of it, which a file that is only read cannot have.
        Err(Errno::BADF | Errno::INVAL | Errno::NOLCK | Errno::NOSYS | Errno::OPNOTSUPP) => None,
        Err(e) => return Err(e.into()),
    };
    let file = private::options().read(true).write(true).create(true).truncate(false).open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(None),
        Err(e) => return Err(e.into()),
    }
    // A file that was deleted or replaced between opening and locking locks nothing.
    let id = |meta: std::fs::Metadata| (meta.dev(), meta.ino());
    let is_current = path.symlink_metadata().is_ok_and(|now| file.metadata().is_ok_and(|own| id(own) == id(now)));
    Ok(is_current.then_some(FolderLock { folder, file }))
}

/// Only for the message.
fn holder(path: &Path) -> String {
    let mut pid = String::new();
    let read = File::open(path).and_then(|file| file.take(PID_BYTES_MAX).read_to_string(&mut pid));
    read.map(|_| pid.trim().to_string()).unwrap_or_default()
}

impl Drop for FolderLock {
    /// Closing the files would not do: a child that is just being forked has them, too, until it executes its binary.
    fn drop(&mut self) {
        for file in self.folder.iter().chain([&self.file]) {
            let _ = flock(file, FlockOperation::Unlock);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn take(folder: &Path) -> Result<FolderLock, LockError> {
        FolderLock::take(folder, Duration::ZERO)
    }

    #[test]
    fn second_owner_is_refused_until_the_first_has_gone() {
        let dir = tempfile::tempdir().unwrap();
        let first = take(dir.path()).unwrap();
        match take(dir.path()).unwrap_err() {
            LockError::Held { pid } => assert_eq!(pid, std::process::id().to_string()),
            other => panic!("{other}"),
        }
        drop(first);
        take(dir.path()).unwrap();
    }

    #[test]
    fn deleted_or_replaced_lock_file_frees_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let first = take(dir.path()).unwrap();
        fs::remove_file(dir.path().join(LOCK)).unwrap();
        assert!(matches!(take(dir.path()), Err(LockError::Held { .. })));
        fs::write(dir.path().join("other"), "1").unwrap();
        fs::rename(dir.path().join("other"), dir.path().join(LOCK)).unwrap();
        assert!(matches!(take(dir.path()), Err(LockError::Held { .. })));
        drop(first);
        take(dir.path()).unwrap();
    }

    #[test]
    fn lock_of_an_older_release_on_the_file_alone_counts() {
        let dir = tempfile::tempdir().unwrap();
        let older = File::create(dir.path().join(LOCK)).unwrap();
        flock(&older, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert!(matches!(take(dir.path()), Err(LockError::Held { .. })));
        drop(older);
        take(dir.path()).unwrap();
    }
}
