//! What is told of a disk that has no room: the numbers that the system's words lack.

use std::io;
use std::path::Path;
use windrow_model::ByteSize;

/// Whether a disk, or somebody's share of it, is full.
pub fn is_full(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Bytes that this user may still write to the disk of `path`, or of the nearest folder above that exists.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let stat = path.ancestors().find_map(|p| rustix::fs::statvfs(p).ok())?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The error's text; of a full disk with what is free there now.
pub fn told(e: &io::Error, path: &Path) -> String {
    match free_bytes(path).filter(|_| is_full(e)) {
        Some(free) => format!("{e}; {} free", ByteSize(free)),
        None => e.to_string(),
    }
}

/// The same where it is known how much was to be written.
pub fn told_with_need(e: &io::Error, path: &Path, need_bytes: u64) -> String {
    match is_full(e) && need_bytes > 0 {
        true => format!("{}, {} needed", told(e, path), ByteSize(need_bytes)),
        false => told(e, path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_with_numbers_and_other_errors_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let path = folder.path().join("not/there/yet");
        let text = told_with_need(&full, &path, 2048);
        assert!(text.contains("free, ") && text.ends_with(&format!("{} needed", ByteSize(2048))), "{text}");
        assert!(told(&full, &path).contains("free") && free_bytes(&path) > Some(0));
        let other = io::Error::from(io::ErrorKind::NotFound);
        assert_eq!(told_with_need(&other, &path, 1), other.to_string());
    }
}
