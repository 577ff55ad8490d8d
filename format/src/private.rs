//! Files and folders that only their owner may read: everything that lies in data folders and in scratch folders.
//!
//! They hold users' records, whatever the mode of the inputs was. The modes are given when a name is made, so that there
//! is no moment in which others may open it, and they do not depend on the process' umask. What goes into an output has
//! the mode that the umask gives ([`output_mode`]).

use crate::folder_lock::LOCK;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::OnceLock;

/// Mode of a private folder.
pub const FOLDER_MODE: u32 = 0o700;
/// Mode of a private file.
pub const FILE_MODE: u32 = 0o600;
const OTHERS: u32 = 0o077;
/// A folder in which any user may make files, but not remove those of others.
const STICKY: u32 = 0o1000;

/// Like [`fs::create_dir_all`]: each folder that is made is private.
pub fn create_folders(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)
}

/// Options with which a file that is made is private.
pub fn options() -> OpenOptions {
    let mut options = File::options();
    options.mode(FILE_MODE);
    options
}

/// Like [`File::create_new`], private.
pub fn create_new(path: &Path) -> io::Result<File> {
    options().read(true).write(true).create_new(true).open(path)
}

/// Makes a data folder private, which may have been made by an earlier release or by hand; it must exist. Since no other
/// user gets past it, the folders below need no walk: its own entries and those of the named folders in it become private,
/// too, in one pass over each.
///
/// # Errors
/// `PermissionDenied` for a folder that all users share and use (`/tmp`; not for a new file system whose root has that
/// mode), or that is another user's.
pub fn tighten(root: &Path, folders: &[&str]) -> io::Result<()> {
    let meta = fs::metadata(root)?;
    if meta.mode() & STICKY != 0 && is_used(root)? {
        let message = "all users share this folder, and it is not empty: name one below it";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    if meta.mode() & (OTHERS | STICKY) != 0 {
        fs::set_permissions(root, Permissions::from_mode(meta.mode() & FOLDER_MODE))?;
    }
    tighten_entries(root)?;
    folders.iter().try_for_each(|name| match tighten_entries(&root.join(name)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    })
}

/// Whether something lies in the folder beside the lock of its user.
fn is_used(folder: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        if entry?.file_name() != LOCK {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whatever lies in `folder` itself. Links are not followed; what goes away meanwhile needs nothing.
fn tighten_entries(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let (path, is_link) = match entry.and_then(|entry| Ok((entry.path(), entry.file_type()?.is_symlink()))) {
            Ok(found) => found,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        match (!is_link).then(|| close_to_others(&path)) {
            Some(Err(e)) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

fn close_to_others(path: &Path) -> io::Result<()> {
    let meta = fs::symlink_metadata(path)?;
    if meta.mode() & OTHERS == 0 || meta.file_type().is_symlink() {
        return Ok(());
    }
    // By name: no other user gets into the folder any more, to put a link there.
    fs::set_permissions(path, Permissions::from_mode(meta.mode() & FOLDER_MODE))
}

/// The mode of files in outputs: what this process' umask leaves of `rw-rw-rw-`. Read once.
pub fn output_mode() -> u32 {
    static MODE: OnceLock<u32> = OnceLock::new();
    *MODE.get_or_init(|| {
        // The call that asks for the umask also sets it, for all threads.
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let umask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
        let umask = umask.and_then(|text| u32::from_str_radix(text.trim(), 8).ok());
        0o666 & !umask.unwrap_or(0o022)
    })
}

/// Gives a private file that becomes part of an output the mode that it has there.
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
    fn what_is_made_is_private_at_once() {
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
    fn root_of_a_new_file_system_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        chmod(dir.path(), 0o1777);
        fs::write(dir.path().join(LOCK), "").unwrap();
        tighten(dir.path(), &[]).unwrap();
        assert_eq!(mode(dir.path()), 0o700);
    }
}
