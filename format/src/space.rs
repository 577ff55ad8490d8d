//! Error texts for a full disk, with the free and needed bytes that the system's message lacks.

use std::io;
use std::path::Path;
use windrow_model::ByteSize;

/// Returns whether a disk, or the user's quota on it, is full, or the file has reached the limit on file sizes (`ulimit -f`).
pub fn is_full(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

/// Bytes that this user may still write to the disk of `path`, or of its nearest existing ancestor.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let stat = path.ancestors().find_map(|p| rustix::fs::statvfs(p).ok())?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// The error's text; for a full disk, with the bytes that are free now.
pub fn with_free_space(e: &io::Error, path: &Path) -> String {
    match free_bytes(path).filter(|_| is_full(e)) {
        Some(free) => format!("{e}; {} free", ByteSize(free)),
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
}
