//! The folder that a backup is written into: `TO.partial`, which is renamed to `TO` when it is complete.
//!
//! A *marker* is the first file in it, and the last to be removed before the rename. Only a folder with a marker is the
//! rest of an earlier backup, and is replaced; the process that writes a backup has the marker locked, so a running
//! backup is not replaced.

use super::failed;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use windrow_format::durable::{Durability, parent, sync_folder};
use windrow_format::private;
use windrow_model::{Code, Escape, Failure};

/// The marker's name.
const MARKER: &str = "windrow-backup-in-progress";

/// A backup that is being written. Dropping it removes it.
#[derive(Debug)]
pub(super) struct PartialBackup {
    pub folder: PathBuf,
    /// Locked while this process writes.
    marker: Option<File>,
}

impl PartialBackup {
    /// Makes the folder for a backup at `to`, replacing the rest of an earlier one.
    ///
    /// # Errors
    /// `OUTPUT_EXISTS` for any other file there, or a backup in progress; errors of the disk.
    pub(super) fn begin(to: &Path) -> Result<PartialBackup, Failure> {
        let mut folder = to.as_os_str().to_owned();
        folder.push(".partial");
        let folder = PathBuf::from(folder);
        remove_earlier(&folder)?;
        private::create_new_folder(&folder).map_err(|e| failed(&folder, &e))?;
        let mut partial = PartialBackup { folder, marker: None };
        let path = partial.folder.join(MARKER);
        let marker = private::create_new(&path).map_err(|e| failed(&path, &e))?;
        // On a file system without locks the rest has to be removed by hand.
        let _ = marker.try_lock();
        partial.marker = Some(marker);
        Ok(partial)
    }

    /// Renames the folder, in which everything is durable.
    ///
    /// # Errors
    /// Errors of the disk; the folder is removed then.
    pub(super) fn complete(mut self, to: &Path) -> Result<(), Failure> {
        let marker = self.folder.join(MARKER);
        fs::remove_file(&marker).map_err(|e| failed(&marker, &e))?;
        let named = sync_folder(&self.folder, Durability::Sync).and_then(|()| fs::rename(&self.folder, to));
        named.map_err(|e| failed(to, &e))?;
        self.marker = None;
        sync_folder(parent(to), Durability::Sync).map_err(|e| failed(to, &e))
    }
}

impl Drop for PartialBackup {
    fn drop(&mut self) {
        if self.marker.is_some() {
            // The rest is recognised by its marker, and removed by the next backup.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// Removes the rest of an earlier backup, and nothing else.
fn remove_earlier(folder: &Path) -> Result<(), Failure> {
    let refused = |why: &str| Failure::new(Code::OutputExists, format!("{}: {why}", folder.escaped()));
    match folder.symlink_metadata() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(folder, &e)),
        Ok(found) if !found.is_dir() => {
            return Err(refused("it is not the rest of a backup, so it is not replaced: move it away"));
        }
        Ok(_) => {}
    }
    // A backup that ended before it had a marker left an empty folder.
    match fs::remove_dir(folder) {
        Ok(()) => return Ok(()),
        Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => {}
        Err(e) => return Err(failed(folder, &e)),
    }
    let marker = folder.join(MARKER);
    if !marker.symlink_metadata().is_ok_and(|found| found.is_file()) {
        let why =
            format!("it has no file {MARKER}, so it is not the rest of a backup, and is not deleted: move it away");
        return Err(refused(&why));
    }
    match File::open(&marker).map(|file| file.try_lock().map(|()| file)) {
        // Held until the folder is gone.
        Ok(Ok(_locked)) => fs::remove_dir_all(folder).map_err(|e| failed(folder, &e)),
        Ok(Err(fs::TryLockError::WouldBlock)) => Err(refused("another backup is being written into it")),
        Ok(Err(fs::TryLockError::Error(e))) | Err(e) => Err(failed(&marker, &e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(begun: Result<PartialBackup, Failure>) -> Code {
        begun.unwrap_err().code
    }

    /// The fault was that anything at `TO.partial` was deleted with its content.
    #[test]
    fn folder_without_a_marker_is_not_deleted() {
        let place = tempfile::tempdir().unwrap();
        let (to, partial) = (place.path().join("b"), place.path().join("b.partial"));
        fs::create_dir(&partial).unwrap();
        fs::write(partial.join("journal.dump"), "mine").unwrap();
        let refused = PartialBackup::begin(&to).unwrap_err();
        assert_eq!(refused.code, Code::OutputExists);
        assert!(refused.message.contains(MARKER) && refused.message.contains("not deleted"), "{refused}");
        assert_eq!(fs::read(partial.join("journal.dump")).unwrap(), b"mine");
        fs::remove_dir_all(&partial).unwrap();
        fs::write(&partial, "a file").unwrap();
        assert_eq!(code(PartialBackup::begin(&to)), Code::OutputExists);
        fs::remove_file(&partial).unwrap();
        // A link to a folder with a marker is not followed.
        let real = PartialBackup::begin(&place.path().join("real")).unwrap();
        std::os::unix::fs::symlink(&real.folder, &partial).unwrap();
        assert_eq!(code(PartialBackup::begin(&to)), Code::OutputExists);
        assert!(real.folder.join(MARKER).exists());
    }

    #[test]
    fn stale_partial_backup_is_replaced_and_a_live_one_kept() {
        let place = tempfile::tempdir().unwrap();
        let to = place.path().join("b");
        let mut first = PartialBackup::begin(&to).unwrap();
        fs::write(first.folder.join("token"), "old").unwrap();
        let refused = PartialBackup::begin(&to).unwrap_err();
        assert!(refused.message.contains("being written"), "{refused}");
        // Its process is killed.
        first.marker = None;
        drop(first);
        let second = PartialBackup::begin(&to).unwrap();
        assert!(!second.folder.join("token").exists());
        fs::write(second.folder.join("token"), "new").unwrap();
        second.complete(&to).unwrap();
        let names: Vec<_> = fs::read_dir(&to).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["token"]);
        // An empty folder holds nothing to lose.
        fs::create_dir(place.path().join("c.partial")).unwrap();
        let third = PartialBackup::begin(&place.path().join("c")).unwrap();
        let folder = third.folder.clone();
        drop(third);
        assert!(!folder.exists(), "a backup that fails leaves nothing");
    }
}
