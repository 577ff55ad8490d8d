//! Gives a finished folder its final name: without replacing anything, or in exchange for the old folder.
//!
//! `renameat2` does both in one step. File systems without its flags (some network and FUSE ones) get the closest
//! sequence of plain renames; each function documents its gap.

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs;
use std::io;
use std::path::Path;

/// Whether to try the flags of `renameat2`; only tests go without them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flags {
    Try,
    #[cfg(test)]
    Without,
}

/// Renames a file or a folder to a name that must be free.
///
/// On a file system without the flags of `renameat2`, a file or an empty folder that is created between the check and
/// the rename is replaced.
///
/// # Errors
/// `AlreadyExists` if the name is taken; errors of the disk.
pub fn rename_to_free_name(from: &Path, to: &Path) -> io::Result<()> {
    rename_new(from, to, Flags::Try)
}

/// Renames a folder to a name that must be free, else fails with `AlreadyExists`.
///
/// Without flags, an empty folder that is created between the check and the rename is replaced; nothing else is.
pub(crate) fn rename_new(from: &Path, to: &Path, flags: Flags) -> io::Result<()> {
    if flags == Flags::Try {
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            Err(e) if unsupported(e) => {}
            other => return other.map_err(io::Error::from),
        }
    }
    if to.symlink_metadata().is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    fs::rename(from, to).map_err(|e| match e.kind() {
        io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotADirectory => io::ErrorKind::AlreadyExists.into(),
        _ => e,
    })
}

/// Puts `new` at `place`; the old folder is then at `new` (exchanged) or at `trash`.
///
/// Without flags there is nothing at `place` between two renames, and a crash there leaves the old folder in `trash`.
pub(crate) fn swap(new: &Path, place: &Path, trash: &Path, flags: Flags) -> io::Result<()> {
    if flags == Flags::Try {
        match renameat_with(CWD, new, CWD, place, RenameFlags::EXCHANGE) {
            Err(e) if unsupported(e) => {}
            other => return other.map_err(io::Error::from),
        }
    }
    fs::rename(place, trash)?;
    fs::rename(new, place).inspect_err(|_| {
        // Restore the old folder; if that fails too, `abandon` tries it again.
        let _ = rename_new(trash, place, flags);
    })
}

fn unsupported(e: Errno) -> bool {
    // NOTSUP and OPNOTSUPP are the same number on Linux.
    matches!(e, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(path: &Path, file: &str) {
        fs::create_dir(path).unwrap();
        fs::write(path.join(file), file).unwrap();
    }

    #[test]
    fn taken_name_is_kept_with_and_without_flags() {
        for flags in [Flags::Try, Flags::Without] {
            let dir = tempfile::tempdir().unwrap();
            let at = |name: &str| dir.path().join(name);
            folder(&at("new"), "a");
            fs::create_dir(at("empty")).unwrap();
            fs::write(at("file"), "").unwrap();
            std::os::unix::fs::symlink("nowhere", at("link")).unwrap();
            for taken in ["empty", "file", "link"] {
                let e = rename_new(&at("new"), &at(taken), flags).unwrap_err();
                assert_eq!(e.kind(), io::ErrorKind::AlreadyExists, "{flags:?} {taken}");
            }
            rename_new(&at("new"), &at("free"), flags).unwrap();
            assert!(at("free/a").exists() && !at("new").exists());
        }
    }

    #[test]
    fn swap_places_the_new_folder_and_keeps_the_old_one() {
        for (flags, old) in [(Flags::Try, "new"), (Flags::Without, "trash")] {
            let dir = tempfile::tempdir().unwrap();
            let at = |name: &str| dir.path().join(name);
            folder(&at("new"), "b");
            folder(&at("place"), "a");
            swap(&at("new"), &at("place"), &at("trash"), flags).unwrap();
            assert!(at("place/b").exists() && at(old).join("a").exists());
        }
    }

    #[test]
    fn failed_swap_restores_the_old_folder() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        folder(&at("place"), "a");
        swap(&at("missing"), &at("place"), &at("trash"), Flags::Without).unwrap_err();
        assert!(at("place/a").exists() && !at("trash").exists());
    }
}
