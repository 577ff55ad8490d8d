//! The free space of disks, and error texts for a full disk with the numbers that the system's message lacks.

use std::io;
use std::path::Path;
use windrow_model::ByteSize;

/// Returns whether a disk, or the user's quota on it, is full.
pub fn is_full(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Returns whether a file has reached the limit on file sizes of this process (`ulimit -f`), or of its file system.
pub fn is_file_limit(e: &io::Error) -> bool {
    e.kind() == io::ErrorKind::FileTooLarge
}

/// The space of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Bytes that this user may still write.
    pub free_bytes: u64,
    /// Bytes in all.
    pub all_bytes: u64,
    /// Files that this user may still make; `None` if the file system does not count files.
    pub free_files: Option<u64>,
}

impl Disk {
    /// The disk that an existing file or folder is on. Makes one system call.
    ///
    /// # Errors
    /// The disk cannot be queried.
    pub fn at(path: &Path) -> io::Result<Disk> {
        let stat = rustix::fs::statvfs(path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(Disk {
            free_bytes: bytes(stat.f_bavail),
            all_bytes: bytes(stat.f_blocks),
            free_files: (stat.f_files > 0).then_some(stat.f_favail),
        })
    }

    /// The disk of `path`, or of its nearest existing ancestor; `None` if it cannot be queried.
    fn of(path: &Path) -> Option<Disk> {
        path.ancestors().find_map(|path| Disk::at(path).ok())
    }
}

/// Bytes that this user may still write to the disk of `path`, or of its nearest existing ancestor.
pub fn free_bytes(path: &Path) -> Option<u64> {
    Disk::of(path).map(|disk| disk.free_bytes)
}

/// A disk with less than this free, or than a 64th of it, has no room: of the two the smaller counts.
const SPARE_BYTES: u64 = 64 << 20;
const SPARE_SHARE: u64 = 64;

/// Bytes of a disk of `all_bytes` that data which can do without leaves free, so that what must be written still can be: the
/// journal of a coordinator, the notes of a worker.
pub fn spare_bytes(all_bytes: u64) -> u64 {
    SPARE_BYTES.min(all_bytes / SPARE_SHARE)
}

/// Fails with `StorageFull` if another `bytes` on the disk of `path` would use its reserve ([`spare_bytes`]). A disk that
/// cannot be queried counts as having space. Makes one system call.
pub fn leave_spare(path: &Path, bytes: u64) -> io::Result<()> {
    match Disk::of(path) {
        Some(disk) if disk.free_bytes < bytes.saturating_add(spare_bytes(disk.all_bytes)) => {
            Err(io::ErrorKind::StorageFull.into())
        }
        _ => Ok(()),
    }
}

/// The error's text; for a full disk, with the bytes that are free now, or that it has no room for another file; for the limit on
/// file sizes, with its name.
pub fn with_free_space(e: &io::Error, path: &Path) -> String {
    if is_file_limit(e) {
        return format!("{e}; the file has reached the limit of this process (`ulimit -f`) or of its file system");
    }
    match is_full(e).then(|| Disk::of(path)).flatten() {
        Some(Disk { free_files: Some(0), .. }) => format!("{e}; no more files fit on the disk (inodes)"),
        Some(disk) => format!("{e}; {} free", ByteSize(disk.free_bytes)),
        None => e.to_string(),
    }
}

/// The error's text; for a full disk, with the free bytes and the bytes that were to be written.
pub fn with_free_and_needed_space(e: &io::Error, path: &Path, need_bytes: u64) -> String {
    match is_full(e) && need_bytes > 0 {
        true => format!("{}, {} needed", with_free_space(e, path), ByteSize(need_bytes)),
        false => with_free_space(e, path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_disk_error_names_free_and_needed_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let path = folder.path().join("not/there/yet");
        let text = with_free_and_needed_space(&full, &path, 2048);
        assert!(text.contains("free, ") && text.ends_with(&format!("{} needed", ByteSize(2048))), "{text}");
        assert!(with_free_space(&full, &path).contains("free") && free_bytes(&path) > Some(0));
        let other = io::Error::from(io::ErrorKind::NotFound);
        assert_eq!(with_free_and_needed_space(&other, &path, 1), other.to_string());
    }

    #[test]
    fn what_would_take_the_spare_bytes_finds_no_room() {
        assert_eq!(spare_bytes(1 << 40), 64 << 20);
        assert_eq!(spare_bytes(64 << 20), 1 << 20);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("not/there/yet");
        leave_spare(&path, 0).unwrap();
        let free = free_bytes(&path).unwrap();
        assert!(is_full(&leave_spare(&path, free).unwrap_err()));
        assert!(is_full(&leave_spare(&path, u64::MAX).unwrap_err()));
    }
}
