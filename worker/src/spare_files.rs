//! Files of inputs whose readers have ended, to be written over by the next fetches of the job.
//!
//! Making and deleting a file, and the pages of its content, cost a file system as much as writing it. A file may be written
//! over only if no process reads it: a task that has reported its end has unmapped its inputs. After any other end of an
//! attempt its files are deleted. Spare files go with the folder of their job.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most spare files of a job.
const FILES_MAX: usize = 8;
/// Most bytes of one, and of all: they occupy the disk.
const FILE_BYTES_MAX: u64 = 64 << 20;
const BYTES_MAX: u64 = 128 << 20;

/// The spare files of a job.
#[derive(Debug, Default)]
pub(crate) struct SpareFiles(Mutex<Vec<(PathBuf, u64)>>);

impl SpareFiles {
    /// Keeps these files of an attempt that is done, or deletes them. Blocks.
    pub(crate) fn keep_or_delete(&self, paths: Vec<PathBuf>) {
        for path in paths {
            // A task of the job may have replaced it.
            let bytes =
                fs::symlink_metadata(&path).ok().filter(fs::Metadata::is_file).map_or(u64::MAX, |meta| meta.len());
            if !self.keep(&path, bytes) {
                // The rest goes with the folder of the job.
                let _ = fs::remove_file(&path);
            }
        }
    }

    fn keep(&self, path: &Path, bytes: u64) -> bool {
        let mut spare = self.lock();
        let all: u64 = spare.iter().map(|(_, bytes)| bytes).sum();
        let fits = spare.len() < FILES_MAX && bytes <= FILE_BYTES_MAX && all + bytes <= BYTES_MAX;
        if fits {
            spare.push((path.to_path_buf(), bytes));
        }
        fits
    }

    /// Moves a spare file to a path at which there is none. Without one nothing happens.
    pub(crate) fn give(&self, path: &Path) {
        // In a statement of its own: the lock ends with it.
        let last = self.lock().pop();
        if let Some((spare, _)) = last {
            // A new file is made if that fails.
            let _ = fs::rename(spare, path);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(PathBuf, u64)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};

    #[test]
    fn spare_file_gets_another_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let spare = SpareFiles::default();
        spare.give(&path("none"));
        fs::write(path("a"), "first").unwrap();
        let inode = fs::metadata(path("a")).unwrap().ino();
        spare.keep_or_delete(vec![path("a")]);
        spare.give(&path("b"));
        assert!(!path("a").exists() && !path("none").exists());
        assert_eq!(fs::metadata(path("b")).unwrap().ino(), inode);
    }

    #[test]
    fn few_and_regular_files_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let spare = SpareFiles::default();
        fs::write(path("target"), "").unwrap();
        symlink(path("target"), path("link")).unwrap();
        let large = fs::File::create(path("large")).unwrap();
        large.set_len(FILE_BYTES_MAX + 1).unwrap();
        spare.keep_or_delete(vec![path("link"), path("large"), path("gone")]);
        assert!(spare.lock().is_empty() && !path("link").exists() && !path("large").exists());
        let many: Vec<_> = (0..3 * FILES_MAX).map(|n| path(&n.to_string())).collect();
        many.iter().for_each(|path| fs::write(path, "x").unwrap());
        spare.keep_or_delete(many.clone());
        assert_eq!(many.iter().filter(|path| path.exists()).count(), FILES_MAX);
        let large = SpareFiles::default();
        assert!(large.keep(&path("a"), FILE_BYTES_MAX) && large.keep(&path("b"), FILE_BYTES_MAX));
        assert!(!large.keep(&path("c"), 1));
    }
}
