//! Folders that a file system places far from each other on its disk.
//!
//! Without a journal, ext4 gives a new file no inode that was deleted in the last minutes, and searches from the beginning of
//! the inodes near its folder. After a job with thousands of files, each new file nearby searches past all of theirs. Folders
//! below one with the attribute `T` (`man chattr`) are placed where few folders are, so the next job searches elsewhere.

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use std::io;
use std::path::Path;
use windrow_format::durable;

/// Asks the file system to spread the folders that are made in this one from now on.
///
/// # Errors
/// The file system knows no such attribute (most do not), or the folder belongs to another user.
pub(crate) fn spread_folders_in(folder: &Path) -> io::Result<()> {
    let folder = durable::open_folder(folder)?;
    let flags = ioctl_getflags(&folder)?;
    if !flags.contains(IFlags::TOPDIR) {
        ioctl_setflags(&folder, flags | IFlags::TOPDIR)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_keeps_the_attribute_where_it_exists() {
        let folder = tempfile::tempdir().unwrap();
        let flags = || ioctl_getflags(durable::open_folder(folder.path()).unwrap());
        let Ok(before) = flags() else {
            println!("skipped: this file system has no attributes");
            return;
        };
        for _ in 0..2 {
            match spread_folders_in(folder.path()) {
                Ok(()) => assert_eq!(flags().unwrap(), before | IFlags::TOPDIR),
                Err(_) => assert_eq!(flags().unwrap(), before),
            }
        }
        assert!(spread_folders_in(&folder.path().join("missing")).is_err());
    }
}
