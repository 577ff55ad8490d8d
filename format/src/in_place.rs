//! Checks that a path still leads to the file or folder that a process has open.
//!
//! Writes and syncs of an open file succeed after the file was deleted or its folder was moved, but a process that opens the
//! path later finds none of them. Only a new lookup of the path detects this.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use windrow_model::Escape;

/// The identity of an open file or folder, and its path. The owner must keep the file open: the kernel reuses inode numbers
/// of closed files.
#[derive(Clone, Debug)]
pub struct InPlace {
    path: PathBuf,
    /// Device and inode.
    id: (u64, u64),
}

/// The path leads to nothing, or to another file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} was deleted, moved or replaced while this process had it open", path.escaped())]
pub struct Displaced {
    /// The path at which the file was opened.
    pub path: PathBuf,
}

impl InPlace {
    /// Records the identity of `opened`, which was opened at `path`.
    ///
    /// # Errors
    /// Those of `fstat`.
    pub fn of(path: &Path, opened: &File) -> io::Result<InPlace> {
        Ok(InPlace { path: path.to_path_buf(), id: id(&opened.metadata()?) })
    }

    /// Resolves the path again, with one system call. Other errors than a missing path (permissions, a stale network file
    /// system) are not evidence of a displacement.
    ///
    /// # Errors
    /// [`Displaced`] if the path leads to nothing or to another file.
    pub fn check(&self) -> Result<(), Displaced> {
        let is_displaced = match self.path.metadata() {
            Ok(now) => id(&now) != self.id,
            Err(e) => matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
        };
        match is_displaced {
            true => Err(Displaced { path: self.path.clone() }),
            false => Ok(()),
        }
    }
}

fn id(meta: &Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn deleted_moved_and_replaced_files_are_displaced() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("folder/file"), dir.path().join("moved"));
        let folder = path.parent().unwrap();
        let make = || {
            let _ = fs::create_dir(folder);
            fs::write(&path, "1").unwrap();
            let file = File::open(&path).unwrap();
            (InPlace::of(&path, &file).unwrap(), file)
        };
        let displaced = |place: &InPlace| place.check() == Err(Displaced { path: path.clone() });
        let (place, file) = make();
        assert_eq!(place.check(), Ok(()));
        // A write is no displacement.
        fs::write(&path, "22").unwrap();
        assert_eq!(place.check(), Ok(()));
        fs::rename(folder, &moved).unwrap();
        assert!(displaced(&place));
        fs::write(folder, "no folder").unwrap();
        assert!(displaced(&place));
        fs::remove_file(folder).unwrap();
        fs::rename(&moved, folder).unwrap();
        assert_eq!(place.check(), Ok(()), "it was put back");
        fs::write(folder.join("other"), "1").unwrap();
        fs::rename(folder.join("other"), &path).unwrap();
        assert!(displaced(&place));
        let (place, _file) = make();
        fs::remove_file(&path).unwrap();
        assert!(displaced(&place));
        drop(file);
    }
}
