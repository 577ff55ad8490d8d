//! A small file system for tests.

use std::path::Path;
use std::process::Command;

/// A small tmpfs; dropping it unmounts it.
pub(crate) struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// A file system of this size; `None` where this process may not mount.
    pub(crate) fn mount(bytes: u64) -> Option<SmallDisk> {
        let folder = tempfile::tempdir().expect("temporary folders can be made");
        let size = format!("size={bytes}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).output();
        match mounted.is_ok_and(|m| m.status.success()) {
            true => Some(SmallDisk(folder)),
            false => {
                println!("skipped: mounting is not allowed here");
                None
            }
        }
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Bytes that can still be written.
    pub(crate) fn free_bytes(&self) -> u64 {
        windrow_format::space::free_bytes(self.path()).expect("a mounted file system has a size")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}
