//! The folder that a backup is written into: `TO.partial`, which gets the name `TO` when it is whole.
//!
//! A *marker* is the first file in it, and the last that goes before it gets its name. Only a folder with a marker is what an earlier
//! backup left, and is replaced; the process that writes a backup has the marker locked, so it replaces none that is being written.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use windrow_model::{Code, Escape, Failure};

/// The marker's name.
const MARKER: &str = "windrow-backup-in-progress";

/// A backup that is being written. Dropping it removes it.
#[derive(Debug)]
pub struct PartialBackup {
    pub folder: PathBuf,
    /// Locked while this process writes.
    marker: Option<File>,
}

impl PartialBackup {
    /// Makes the folder for a backup that is to be at `to`, in place of what an earlier one has left.
    ///
    /// # Errors
    /// `OUTPUT_EXISTS` if something else is there, or a backup that is being written; the disk's own.
    pub fn begin(to: &Path) -> Result<PartialBackup, Failure> {
        let mut folder = to.as_os_str().to_owned();
        folder.push(".partial");
        let folder = PathBuf::from(folder);
        remove_earlier(&folder)?;
        DirBuilder::new().mode(0o700).create(&folder).map_err(|e| failed(&folder, &e))?;
        let mut partial = PartialBackup { folder, marker: None };
        let path = partial.folder.join(MARKER);
        let marker = create(&path).map_err(|e| failed(&path, &e))?;
        // A file system without locks: what is left there has to be removed by hand.
        let _ = marker.try_lock();
        partial.marker = Some(marker);
        Ok(partial)
    }

    /// Everything is in the folder, and durable: it gets its name.
    ///
    /// # Errors
    /// The disk's own; the folder is removed then.
    pub fn complete(mut self, to: &Path) -> Result<(), Failure> {
        let marker = self.folder.join(MARKER);
        fs::remove_file(&marker).map_err(|e| failed(&marker, &e))?;
        let named = sync(&self.folder).and_then(|()| fs::rename(&self.folder, to));
        named.map_err(|e| failed(to, &e))?;
        self.marker = None;
        sync(parent(to)).map_err(|e| failed(to, &e))
    }
}

impl Drop for PartialBackup {
    fn drop(&mut self) {
        if self.marker.is_some() {
            // What stays is known by its marker, and goes with the next backup.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// Removes what an earlier backup has left, and nothing else.
fn remove_earlier(folder: &Path) -> Result<(), Failure> {
    let refused = |why: &str| Failure::new(Code::OutputExists, format!("{}: {why}", folder.escaped()));
    match folder.symlink_metadata() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(folder, &e)),
        Ok(found) if !found.is_dir() => {
            return Err(refused("it is no folder that a backup has left, so it is not replaced: move it away"));
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
        let why = format!(
            "it has no file {MARKER}, so it is nothing that an earlier backup has left, and is not deleted: move it away"
        );
        return Err(refused(&why));
    }
    match File::open(&marker).map(|file| file.try_lock().map(|()| file)) {
        // Held until the folder is gone.
        Ok(Ok(_locked)) => fs::remove_dir_all(folder).map_err(|e| failed(folder, &e)),
        Ok(Err(fs::TryLockError::WouldBlock)) => Err(refused("another backup is being written into it")),
        Ok(Err(fs::TryLockError::Error(e))) | Err(e) => Err(failed(&marker, &e)),
    }
}

/// A new file that only its owner reads: it holds jobs and the token.
pub fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

pub fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

pub fn failed(path: &Path, e: &io::Error) -> Failure {
    Failure::new(Code::OutputFailed, format!("{}: {e}", path.escaped()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(begun: Result<PartialBackup, Failure>) -> Code {
        begun.unwrap_err().code
    }

    /// The fault: whatever lay at `TO.partial` was deleted with all that was in it.
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
        // Its process ends without a word.
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
