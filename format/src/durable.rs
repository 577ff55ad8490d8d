//! Makes files survive a power cut: temporary file → fsync file → rename → fsync folder.
//!
//! A rename without both fsyncs may leave an empty or missing file after a power cut. Apart from the journal, this
//! module makes all fsync calls. It knows names and bytes, not their meaning.

use crate::{names, private, regular_file};
use rustix::fs::OFlags;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What a crash may lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Survives a power cut once the call has returned.
    Sync,
    /// Survives the death of any process; a power cut may lose or tear it.
    NoSync,
}

/// Makes the contents of an open file durable.
pub fn sync_file(file: &File, durability: Durability) -> io::Result<()> {
    match durability {
        Durability::Sync => file.sync_all(),
        Durability::NoSync => Ok(()),
    }
}

/// Makes the contents of a file durable.
pub fn sync_path(path: &Path, durability: Durability) -> io::Result<()> {
    match durability {
        Durability::Sync => regular_file::open(path)?.sync_all(),
        Durability::NoSync => Ok(()),
    }
}

/// Makes the names in a folder durable: of files created, renamed and removed in it.
pub fn sync_folder(folder: &Path, durability: Durability) -> io::Result<()> {
    match durability {
        Durability::Sync => open_folder(folder)?.sync_all(),
        Durability::NoSync => Ok(()),
    }
}

/// Opens a folder, and nothing else.
pub fn open_folder(folder: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(OFlags::DIRECTORY.bits() as i32).open(folder)
}

/// The folder that holds a path: `.` for a bare name.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        Some(_) => Path::new("."),
        None => Path::new("/"),
    }
}

/// Renames within one file system, replacing a file of the new name, and makes both folders durable.
pub fn rename(from: &Path, to: &Path, durability: Durability) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_folder(parent(to), durability)?;
    if parent(from) != parent(to) {
        sync_folder(parent(from), durability)?;
    }
    Ok(())
}

/// Writes a file that is complete or absent (or the old one) at any time, whichever process dies when.
pub fn write(path: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    write_with(path, durability, |w| w.write_all(bytes))
}

/// Writes as [`write()`] does, but a file that only its owner may read, such as those in data folders.
pub fn write_private(path: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    write_private_with(path, durability, |w| w.write_all(bytes))
}

/// Like [`write_with`], for a file that only its owner may read.
pub fn write_private_with<T>(
    path: &Path,
    durability: Durability,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<T>,
) -> io::Result<T> {
    write_as(private::options(), path, durability, fill)
}

/// Writes as [`write()`] does, with bytes that `fill` produces. If `fill` fails, nothing is left behind.
pub fn write_with<T>(
    path: &Path,
    durability: Durability,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<T>,
) -> io::Result<T> {
    write_as(File::options(), path, durability, fill)
}

fn write_as<T>(
    options: OpenOptions,
    path: &Path,
    durability: Durability,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<T>,
) -> io::Result<T> {
    let temp = temporary_beside(path)?;
    let written = fill_new(options, &temp, durability, fill).and_then(|value| {
        fs::rename(&temp, path)?;
        Ok(value)
    });
    match written {
        Ok(value) => {
            sync_folder(parent(path), durability)?;
            Ok(value)
        }
        Err(e) => {
            // Return the first error; a leftover is hidden and recognised as temporary.
            let _ = fs::remove_file(&temp);
            Err(e)
        }
    }
}

fn fill_new<T>(
    mut options: OpenOptions,
    temp: &Path,
    durability: Durability,
    fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<T>,
) -> io::Result<T> {
    let file = options.write(true).create_new(true).open(temp)?;
    let mut writer = BufWriter::with_capacity(1 << 16, file);
    let value = fill(&mut writer)?;
    let file = writer.into_inner().map_err(|e| e.into_error())?;
    sync_file(&file, durability)?;
    Ok(value)
}

/// A hidden name in the same folder that is unique among all machines that share the folder.
pub fn temporary_beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a path without a name"))?;
    Ok(path.with_file_name(names::temporary(name, u64::from_ne_bytes(random()?))))
}

/// Random bytes from the kernel.
pub fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        match rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty()) {
            Ok(n) => filled += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(bytes)
}

/// Creates a private file, and its folder if that does not exist yet. Writers that never call this create no folder.
pub fn create_with_folder(path: &Path) -> io::Result<File> {
    let create = || -> io::Result<File> {
        let file = regular_file::open_with(private::options().write(true).create(true).truncate(false), path)?;
        // Only after it was seen to be a regular file, and only if there is something: ext4 writes a file that was ever
        // truncated to nothing to the disk when it is closed.
        if file.metadata()?.len() > 0 {
            file.set_len(0)?;
        }
        Ok(file)
    };
    match create() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            if let Some(folder) = path.parent() {
                private::create_folders(folder)?;
            }
            create()
        }
        created => created,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_replaces_the_old_file_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write(&path, b"old", Durability::Sync).unwrap();
        write(&path, b"new", Durability::NoSync).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_keeps_the_old_file_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write(&path, b"old", Durability::Sync).unwrap();
        let failed = write_with(&path, Durability::Sync, |w| {
            w.write_all(b"half")?;
            Err::<(), _>(io::Error::other("disk on fire"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "disk on fire");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn every_path_has_a_folder() {
        assert_eq!(parent(Path::new("a")), Path::new("."));
        assert_eq!(parent(Path::new("/a")), Path::new("/"));
        assert_eq!(parent(Path::new("/")), Path::new("/"));
        assert_eq!(parent(Path::new("a/b")), Path::new("a"));
    }
}
