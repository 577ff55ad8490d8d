//! The files that one staging makes, so that a cancelled one leaves none behind.
//!
//! Files are made in blocking threads, which may begin after their staging was cancelled. So a file is made under the lock of
//! the list that names it, and no file is made once the list was taken.
//!
//! The files of an attempt that is done are used again (`spare_files.rs`).

use crate::spare_files::SpareFiles;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Files that were made so far; none once they were taken.
#[derive(Debug)]
pub(crate) struct MadeFiles {
    paths: Mutex<Option<Vec<PathBuf>>>,
    spare: Arc<SpareFiles>,
}

impl MadeFiles {
    /// No files. Later ones replace spare ones.
    pub(crate) fn new(spare: Arc<SpareFiles>) -> MadeFiles {
        MadeFiles { paths: Mutex::new(Some(Vec::new())), spare }
    }

    /// Makes or opens a file by `open`, after a spare file has got its path.
    ///
    /// # Errors
    /// `Interrupted` if the files were taken, and those of `open`.
    fn open(&self, path: &Path, open: impl FnOnce() -> io::Result<File>) -> io::Result<File> {
        let mut made = self.paths.lock().unwrap_or_else(PoisonError::into_inner);
        let made = made.as_mut().ok_or(io::ErrorKind::Interrupted)?;
        if !made.iter().any(|known| known == path) {
            made.push(path.to_path_buf());
            self.spare.give(path);
        }
        open()
    }

    /// The files that were made. No more are made.
    pub(crate) fn take(&self) -> Vec<PathBuf> {
        self.paths.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
    }
}

/// A file to be made by a staging.
#[derive(Clone, Debug)]
pub(crate) struct NewFile {
    pub path: PathBuf,
    pub made: Arc<MadeFiles>,
}

impl NewFile {
    /// Makes or opens the file by `open`.
    ///
    /// # Errors
    /// `Interrupted` if the staging was cancelled, and those of `open`.
    pub(crate) fn open(&self, open: impl FnOnce(&Path) -> io::Result<File>) -> io::Result<File> {
        self.made.open(&self.path, || open(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cancelled_staging_makes_no_file_late() {
        let folder = tempfile::tempdir().unwrap();
        let made = Arc::new(MadeFiles::new(Arc::default()));
        let file = |name: &str| NewFile { path: folder.path().join(name), made: made.clone() };
        let create = |path: &Path| File::create(path);
        file("a").open(create).unwrap();
        file("a").open(create).unwrap();
        assert!(file("missing/b").open(create).is_err());
        assert_eq!(made.take(), [file("a").path, file("missing/b").path]);
        assert_eq!(file("c").open(create).unwrap_err().kind(), io::ErrorKind::Interrupted);
        assert!(!file("c").path.exists() && made.take().is_empty());
    }
}
