//! Is it still the same file?
//!
//! A file is what it was if device, inode, length and modification time are. A writer that keeps all four in place
//! (writes in the same clock tick, or sets the time back) is not noticed.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use windrow_model::FileIdentity;

/// Identity from what `stat` told.
pub fn of_metadata(meta: &Metadata) -> FileIdentity {
    FileIdentity {
        device: meta.dev(),
        inode: meta.ino(),
        length: meta.len(),
        modified_ns: meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec()),
    }
}

/// Identity of the file that a path leads to now, through symbolic links. Does not open it.
pub fn of_path(path: &Path) -> io::Result<FileIdentity> {
    Ok(of_metadata(&std::fs::metadata(path)?))
}

/// Identity of an open file.
pub fn of_file(file: &File) -> io::Result<FileIdentity> {
    Ok(of_metadata(&file.metadata()?))
}

/// True if the path still leads to the file that it led to.
pub fn same(path: &Path, identity: &FileIdentity) -> io::Result<bool> {
    match of_path(path) {
        Ok(now) => Ok(now == *identity),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
        Err(e) => Err(e),
    }
}
