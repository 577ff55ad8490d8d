//! Detects whether a path still leads to the same file.
//!
//! A file is unchanged if its device, inode, length, modification time and change time are. The change time cannot be
//! set back, so a writer that restores the modification time is noticed. Not noticed are writes within the same tick of
//! the file system's clock, and writes through a mapping whose pages the system has not marked yet. A new hard link and
//! a new mode count as changes.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use windrow_model::FileIdentity;

/// The identity from a `stat` result.
pub fn of_metadata(meta: &Metadata) -> FileIdentity {
    FileIdentity {
        device: meta.dev(),
        inode: meta.ino(),
        length: meta.len(),
        modified_ns: nanoseconds(meta.mtime(), meta.mtime_nsec()),
        changed_ns: nanoseconds(meta.ctime(), meta.ctime_nsec()),
    }
}

fn nanoseconds(seconds: i64, rest: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

/// The identity of the file that a path leads to, through symbolic links. Does not open the file.
pub fn of_path(path: &Path) -> io::Result<FileIdentity> {
    Ok(of_metadata(&std::fs::metadata(path)?))
}

/// The identity of an open file.
pub fn of_file(file: &File) -> io::Result<FileIdentity> {
    Ok(of_metadata(&file.metadata()?))
}

/// Returns whether the path still leads to this file.
pub fn same(path: &Path, identity: &FileIdentity) -> io::Result<bool> {
    match of_path(path) {
        Ok(now) => Ok(now.is_same(identity)),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewrite_in_place_with_restored_time_is_another_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in");
        std::fs::write(&path, "before").unwrap();
        let then = of_path(&path).unwrap();
        // The clock of a file system ticks every few milliseconds.
        let now = loop {
            std::fs::write(&path, "after!").unwrap();
            let modified = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(then.modified_ns as u64);
            File::options().append(true).open(&path).unwrap().set_modified(modified).unwrap();
            let now = of_path(&path).unwrap();
            if now.changed_ns != then.changed_ns {
                break now;
            }
        };
        assert_eq!((now.inode, now.length, now.modified_ns), (then.inode, then.length, then.modified_ns));
        assert!(!same(&path, &then).unwrap() && !now.is_same_anywhere(&then));
        // An identity recorded by an earlier release is compared by that release's rule.
        let earlier = FileIdentity { changed_ns: 0, ..then };
        assert!(same(&path, &earlier).unwrap() && now.is_same_anywhere(&earlier) && earlier.is_same_anywhere(&now));
    }
}
