//! Lets one process use a data folder: takes exclusive `flock`s on the folder itself and on the file `lock` in it,
//! which holds the owner's process id.
//!
//! The lock on the folder still holds when the file is deleted or replaced. The lock on the file works on file systems
//! that cannot lock folders (NFS), and against older releases, which lock only the file. The system releases both locks
//! when the process ends for any reason; the file stays.

use crate::in_place::{Displaced, InPlace};
use crate::names::LOCK;
use crate::regular_file;
use crate::space::is_full;
use crate::{durable, private};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use windrow_model::Escape;

const PAUSE: Duration = Duration::from_millis(20);
const PID_BYTES_MAX: u64 = 32;

/// The reason why a folder could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process uses the folder.
    #[error("the folder is in use by process {pid}")]
    Held {
        /// Process id of the holder, as found in the lock file; empty if it is not written yet.
        pid: String,
    },
    /// The lock file cannot be used.
    #[error("cannot lock {}: {source}", path.escaped())]
    Io {
        /// Path of the lock file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}

/// Exclusive use of a folder by this process, until it is dropped.
#[derive(Debug)]
pub struct FolderLock {
    folder: File,
    /// False if the file system cannot lock folders.
    is_folder_locked: bool,
    file: File,
    /// The folder, and the lock file if it is the only lock: the lock protects nothing once one of them leaves its path.
    places: Vec<InPlace>,
}

impl FolderLock {
    /// Locks an existing folder. Tries again for `wait` while another process holds a lock: a child that a killed owner
    /// has just forked holds the locks until it executes its binary.
    ///
    /// # Errors
    /// [`LockError::Held`] if another process still holds a lock after `wait`; [`LockError::Io`] if a lock cannot be
    /// taken.
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
        match written.and_then(|()| writeln!(lock.file, "{}", std::process::id())) {
            // The id is for messages only: the lock holds without it.
            Err(source) if !is_full(&source) => Err(LockError::Io { path, source }),
            _ => Ok(lock),
        }
    }

    /// Checks that the folder is still at its path. The owner must stop if it is not: another process may open the path as
    /// an empty folder, and no later process finds the owner's writes. Makes at most two system calls.
    ///
    /// # Errors
    /// [`Displaced`] if the folder was deleted, moved or replaced; or the lock file, on a file system that cannot lock folders.
    pub fn check(&self) -> Result<(), Displaced> {
        self.places.iter().try_for_each(InPlace::check)
    }
}

/// Takes both locks; none if another process holds one of them.
fn try_lock(folder: &Path, path: &Path) -> io::Result<Option<FolderLock>> {
    let opened = durable::open_folder(folder)?;
    let mut places = vec![InPlace::of(folder, &opened)?];
    let is_folder_locked = match flock(&opened, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => true,
        Err(Errno::WOULDBLOCK) => return Ok(None),
        // Network file systems implement this as a lock on bytes, which needs a file opened for writing.
        Err(Errno::BADF | Errno::INVAL | Errno::NOLCK | Errno::NOSYS | Errno::OPNOTSUPP) => false,
        Err(e) => return Err(e.into()),
    };
    let file = regular_file::open_with(private::options().read(true).write(true).create(true).truncate(false), path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(None),
        Err(e) => return Err(e.into()),
    }
    // If the file was deleted or replaced between opening and locking, this lock protects nothing.
    let place = InPlace::of(path, &file)?;
    let is_current = place.check().is_ok();
    if !is_folder_locked {
        places.push(place);
    }
    Ok(is_current.then_some(FolderLock { folder: opened, is_folder_locked, file, places }))
}

/// The holder's process id, for the error message.
fn holder(path: &Path) -> String {
    let mut pid = String::new();
    let read = regular_file::open(path).and_then(|file| file.take(PID_BYTES_MAX).read_to_string(&mut pid));
    read.map(|_| pid.trim().to_string()).unwrap_or_default()
}

impl Drop for FolderLock {
    /// Unlocks explicitly: closing the files is not enough, because a child that has just been forked shares them until
    /// it executes its binary.
    fn drop(&mut self) {
        if self.is_folder_locked {
            let _ = flock(&self.folder, FlockOperation::Unlock);
        }
        let _ = flock(&self.file, FlockOperation::Unlock);
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

    #[test]
    fn folder_that_is_moved_or_deleted_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, moved) = (dir.path().join("folder"), dir.path().join("moved"));
        fs::create_dir(&folder).unwrap();
        let lock = take(&folder).unwrap();
        lock.check().unwrap();
        // The lock on the folder is enough.
        fs::remove_file(folder.join(LOCK)).unwrap();
        lock.check().unwrap();
        fs::rename(&folder, &moved).unwrap();
        assert_eq!(lock.check().unwrap_err().path, folder);
        fs::create_dir(&folder).unwrap();
        lock.check().unwrap_err();
        take(&folder).unwrap();
    }
}
