//! The files of attempts in the folder of a run in one process, and how parts of them are freed.

use rustix::fs::{FallocateFlags, fallocate};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use windrow_engine::Hole;
use windrow_format::names;
use windrow_format::regular_file;
use windrow_model::AttemptId;

/// Path of a file of an attempt, in the folder that all attempts share.
pub(super) fn own_file(root: &Path, attempt: &AttemptId, name: &str) -> PathBuf {
    root.join(format!("{}{name}", names::attempt_prefix(attempt)))
}

/// Path of an output, or the path that it would have if it were not kept in memory.
pub(super) fn edge_path(root: &Path, attempt: &AttemptId, output: u32) -> PathBuf {
    own_file(root, attempt, &names::edge_file(output))
}

/// Returns parts of files to the system. On a file system without this call they stay until the files are removed.
pub(super) fn punch_holes(holes: Vec<Hole>) {
    for Hole { path, from, to } in holes {
        // The file may be gone already.
        let Ok(file) = regular_file::open_with(OpenOptions::new().write(true), &path) else { continue };
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if fallocate(&file, flags, from, to - from).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn hole_frees_space_and_keeps_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("output");
        let bytes: Vec<u8> = (0..1u32 << 18).flat_map(|i| i.to_le_bytes()).collect();
        std::fs::write(&path, &bytes).unwrap();
        std::fs::File::open(&path).unwrap().sync_all().unwrap();
        let before = path.metadata().unwrap().blocks();
        let to = 512 << 10;
        let missing = Hole { path: folder.path().join("gone").into(), from: 0, to };
        punch_holes(vec![missing, Hole { path: path.clone().into(), from: 0, to }]);
        assert!(std::fs::read(&path).unwrap()[to as usize..] == bytes[to as usize..]);
        let after = path.metadata().unwrap().blocks();
        // Not every file system supports this.
        assert!(after == before || after <= before - to / 512, "{before} to {after} blocks");
    }
}
