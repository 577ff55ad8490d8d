//! Files and folders that only their owner may read: everything in data folders and scratch folders.
//!
//! They hold users' records, whatever the mode of the inputs was. Modes are set when a name is created, so that other
//! users can never open it, and they do not depend on the umask of the process. Output files get the mode that the
//! umask gives ([`output_mode`]).

use crate::names::LOCK;
use crate::regular_file;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::OnceLock;
use windrow_model::Escape;

/// Mode of a private folder.
pub const FOLDER_MODE: u32 = 0o700;
/// Mode of a private file.
pub const FILE_MODE: u32 = 0o600;
const OTHERS: u32 = 0o077;
/// Mode bit of a folder in which any user may create files, but not remove those of others.
const STICKY: u32 = 0o1000;

/// Creates folders as [`fs::create_dir_all`] does; each created folder is private.
pub fn create_folders(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)
}

/// Creates one folder, a private one.
///
/// # Errors
/// `AlreadyExists` if something has the name.
pub fn create_new_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().mode(FOLDER_MODE).create(folder)
}

/// Options that make a created file private.
pub fn options() -> OpenOptions {
    let mut options = File::options();
    options.mode(FILE_MODE);
    options
}

/// Creates a file as [`File::create_new`] does, but a private one.
pub fn create_new(path: &Path) -> io::Result<File> {
    options().read(true).write(true).create_new(true).open(path)
}

/// Makes an existing data folder private, which an earlier release or an operator may have created with a wider mode.
/// Since no other user gets past it, the folders below need no walk: its own entries and those of the named folders in
/// it also become private, in one pass over each.
///
/// # Errors
/// `PermissionDenied` for a non-empty folder that all users share (such as `/tmp`; an empty one may be the root of a
/// new file system), or that belongs to another user.
pub fn tighten(root: &Path, folders: &[&str]) -> io::Result<()> {
    let meta = fs::metadata(root)?;
    if meta.mode() & STICKY != 0 && is_used(root)? {
        let message = "all users share this folder, and it is not empty: name one below it";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    if meta.mode() & (OTHERS | STICKY) != 0 {
        fs::set_permissions(root, Permissions::from_mode(meta.mode() & FOLDER_MODE)).map_err(|e| named(root, &e))?;
    }
    tighten_entries(root)?;
    folders.iter().try_for_each(|name| match tighten_entries(&root.join(name)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    })
}

/// Returns whether the folder has entries other than the lock file.
fn is_used(folder: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        if entry?.file_name() != LOCK {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Tightens the entries of `folder`. Links are not followed; entries that disappear meanwhile are skipped.
fn tighten_entries(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder).map_err(|e| named(folder, &e))? {
        let (path, is_link) = match entry.and_then(|entry| Ok((entry.path(), entry.file_type()?.is_symlink()))) {
            Ok(found) => found,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        match (!is_link).then(|| close_to_others(&path)) {
            Some(Err(e)) if e.kind() != io::ErrorKind::NotFound => return Err(named(&path, &e)),
            _ => {}
        }
    }
    Ok(())
}

/// Adds the path to an error.
fn named(path: &Path, e: &io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{}: {e}", path.escaped()))
}

fn close_to_others(path: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    if meta.mode() & OTHERS == 0 || meta.file_type().is_symlink() {
        return Ok(());
    }
    // By name is safe: other users can no longer enter the folder to put a link there.
    fs::set_permissions(path, Permissions::from_mode(meta.mode() & FOLDER_MODE))
}

/// The mode of output files: `rw-rw-rw-` minus this process's umask. Read once.
pub fn output_mode() -> u32 {
    static MODE: OnceLock<u32> = OnceLock::new();
    *MODE.get_or_init(|| {
        // The system call that returns the umask also sets it, for all threads; the status file only reads it.
        let status = regular_file::read_note("/proc/self/status").unwrap_or_default();
        let umask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
        let umask = umask.and_then(|text| u32::from_str_radix(text.trim(), 8).ok());
        0o666 & !umask.unwrap_or(0o022)
    })
}

/// Gives a private file that becomes part of an output the mode of output files.
pub fn open_to_readers(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(output_mode()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn created_files_and_folders_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let (outer, inner) = (dir.path().join("a"), dir.path().join("a/b"));
        create_folders(&inner).unwrap();
        create_new(&inner.join("file")).unwrap();
        assert_eq!([mode(&outer), mode(&inner), mode(&inner.join("file"))], [0o700, 0o700, 0o600]);
        open_to_readers(&inner.join("file")).unwrap();
        assert_eq!(mode(&inner.join("file")), output_mode());
    }

    #[test]
    fn open_folder_of_an_earlier_release_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("data");
        for folder in ["chunks", "jobs"] {
            fs::create_dir_all(root.join(folder)).unwrap();
            chmod(&root.join(folder), 0o755);
        }
        for (file, open) in [("journal", 0o644), ("chunks/one", 0o644), ("chunks/binary", 0o755)] {
            fs::write(root.join(file), "x").unwrap();
            chmod(&root.join(file), open);
        }
        let outside = dir.path().join("outside");
        fs::write(&outside, "x").unwrap();
        chmod(&outside, 0o644);
        std::os::unix::fs::symlink(&outside, root.join("link")).unwrap();
        chmod(&root, 0o755);
        tighten(&root, &["chunks", "never-made"]).unwrap();
        for (name, expected) in [
            ("", 0o700),
            ("chunks", 0o700),
            ("jobs", 0o700),
            ("journal", 0o600),
            ("chunks/one", 0o600),
            ("chunks/binary", 0o700),
        ] {
            assert_eq!(mode(&root.join(name)), expected, "{name}");
        }
        assert_eq!(mode(&outside), 0o644);
    }

    #[test]
    fn folder_that_users_share_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        chmod(dir.path(), 0o1777);
        fs::write(dir.path().join("of-another-user"), "").unwrap();
        assert_eq!(tighten(dir.path(), &[]).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(mode(dir.path()), 0o1777);
    }

    #[test]
    fn error_names_the_file_at_fault() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("chunks"), "no folder").unwrap();
        let error = tighten(dir.path(), &["chunks"]).unwrap_err();
        assert!(error.to_string().contains(&dir.path().join("chunks").display().to_string()), "{error}");
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn root_of_a_new_file_system_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        chmod(dir.path(), 0o1777);
        fs::write(dir.path().join(LOCK), "").unwrap();
        tighten(dir.path(), &[]).unwrap();
        assert_eq!(mode(dir.path()), 0o700);
    }
}
