//! The folder of a cluster: the given one, or a temporary one that is removed at the end.
//!
//! A cluster that is killed leaves its temporary folder; the next cluster of the same user removes it. The locks tell which
//! folders are in use: a cluster locks its folder right after it has made it, its coordinator and workers lock theirs, and
//! the system releases all of them when the processes end.

use crate::output;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use windrow_format::folder_lock::FolderLock;
use windrow_format::names::LOCK;
use windrow_model::{Code, Escape, Failure};

/// Prefix of the names of temporary folders.
const PREFIX: &str = "windrow-up-";
/// Folders without a lock of their own are of earlier releases, or were made just now.
const UNLOCKED_FOR: Duration = Duration::from_secs(60);
/// Another cluster that starts may take a new folder for one that was left.
const TRIES_MAX: u32 = 8;

/// The folder of a cluster.
pub(super) struct Folder {
    path: PathBuf,
    /// Present if the folder is removed at the end.
    temporary: Option<FolderLock>,
}

impl Folder {
    /// The given folder, or a new temporary one.
    ///
    /// # Errors
    /// No temporary folder can be made or locked.
    pub(super) fn open(given: Option<PathBuf>) -> Result<Folder, Failure> {
        match given {
            Some(folder) => Ok(Folder { path: std::path::absolute(&folder).unwrap_or(folder), temporary: None }),
            None => Folder::make(),
        }
    }

    fn make() -> Result<Folder, Failure> {
        let failed = |why: String| Failure::new(Code::IoError, format!("cannot make a temporary folder: {why}"));
        let mut tries = 0;
        loop {
            tries += 1;
            let private = fs::Permissions::from_mode(0o700);
            let made = tempfile::Builder::new().prefix(PREFIX).permissions(private).tempdir();
            let made = made.map_err(|e| failed(e.to_string()))?.keep();
            match FolderLock::take(&made, Duration::ZERO) {
                Ok(lock) => return Ok(Folder { path: made, temporary: Some(lock) }),
                Err(e) if tries == TRIES_MAX => return Err(failed(e.to_string())),
                Err(_) => {}
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.temporary.is_some() {
            remove(&self.path);
        }
    }
}

fn remove(path: &Path) {
    match windrow_store::remove_tree(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            output::say(&format!("the temporary folder {} stays: {e}", path.escaped()));
        }
        _ => {}
    }
}

/// Removes the temporary folders of this user's clusters that were killed. Blocks.
pub(super) fn remove_left_ones() {
    remove_dead_in(&std::env::temp_dir(), rustix::process::geteuid().as_raw());
}

/// The same in this folder, for this user.
fn remove_dead_in(parent: &Path, user: u32) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with(PREFIX)
            && let Some(_locks) = lock_if_dead(&path, user)
        {
            output::say(&format!("removing {}, which a cluster that was killed has left", path.escaped()));
            remove(&path);
        }
    }
}

/// The locks of a cluster's folder, if none of its processes lives. They are held during the removal.
fn lock_if_dead(path: &Path, user: u32) -> Option<Vec<FolderLock>> {
    // A folder, and not a link to one: another user may have made a link to a folder of this user.
    let is_own = |path: &Path| path.symlink_metadata().ok().filter(|meta| meta.is_dir() && meta.uid() == user);
    let meta = is_own(path)?;
    let age = meta.modified().ok()?.elapsed().unwrap_or_default();
    if age < UNLOCKED_FOR && path.join(LOCK).symlink_metadata().is_err() {
        return None;
    }
    let mut locks = vec![FolderLock::take(path, Duration::ZERO).ok()?];
    for entry in fs::read_dir(path).ok()? {
        let part = entry.ok()?.path();
        if is_own(&part).is_some() {
            locks.push(FolderLock::take(&part, Duration::ZERO).ok()?);
        }
    }
    Some(locks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::time::SystemTime;

    fn own() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    /// A folder as a cluster makes it, with its processes' locks.
    fn cluster(parent: &Path, name: &str) -> (PathBuf, Vec<FolderLock>) {
        let path = parent.join(format!("{PREFIX}{name}"));
        let folders = [path.clone(), path.join("coordinator"), path.join("worker-0")];
        let lock = |folder: &PathBuf| {
            fs::create_dir(folder).unwrap();
            FolderLock::take(folder, Duration::ZERO).unwrap()
        };
        let locks = folders.iter().map(lock).collect();
        (path, locks)
    }

    #[test]
    fn only_folders_of_dead_clusters_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        let (dead, locks) = cluster(parent.path(), "dead");
        drop(locks);
        let (alive, _held) = cluster(parent.path(), "alive");
        // A worker that has not ended yet.
        let (ending, mut locks) = cluster(parent.path(), "ending");
        locks.drain(..2);
        let target = parent.path().join("target");
        fs::create_dir(&target).unwrap();
        fs::write(target.join("file"), "kept").unwrap();
        symlink(&target, parent.path().join(format!("{PREFIX}link"))).unwrap();
        symlink(&target, dead.join("link")).unwrap();
        fs::write(parent.path().join(format!("{PREFIX}file")), "").unwrap();
        remove_dead_in(parent.path(), own() + 1);
        assert!(dead.exists(), "it belongs to another user");
        remove_dead_in(parent.path(), own());
        assert!(!dead.exists() && alive.exists() && ending.exists());
        assert!(target.join("file").exists());
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 5);
        drop(locks);
        remove_dead_in(parent.path(), own());
        assert!(!ending.exists() && alive.exists());
    }

    #[test]
    fn folder_without_a_lock_is_left_alone_for_a_while() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join(format!("{PREFIX}new"));
        fs::create_dir(&path).unwrap();
        remove_dead_in(parent.path(), own());
        assert!(path.exists());
        fs::File::open(&path).unwrap().set_modified(SystemTime::now() - 2 * UNLOCKED_FOR).unwrap();
        remove_dead_in(parent.path(), own());
        assert!(!path.exists());
    }

    #[test]
    fn temporary_folder_is_locked_and_removed_at_the_end() {
        let folder = Folder::open(None).unwrap();
        let path = folder.path().to_path_buf();
        assert!(folder.is_temporary() && FolderLock::take(&path, Duration::ZERO).is_err());
        drop(folder);
        assert!(!path.exists());
    }
}
