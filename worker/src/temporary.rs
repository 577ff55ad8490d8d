//! A file that is being made, under a temporary name until it is complete.
//!
//! The owner of the file removes it, so it does not matter which side gives up first: the thread that is about to make
//! it, or the task that requested it.

use std::fs::{self, File};
use std::io::{self, IoSlice, Write};
use std::path::{Path, PathBuf};
use windrow_format::durable::{self, Durability};
use windrow_format::private;

/// A new file. Dropping it removes it, unless it was placed.
#[derive(Debug)]
pub(crate) struct TemporaryFile {
    file: File,
    name: Name,
}

/// Removes the file of this name on drop.
#[derive(Debug)]
struct Name(PathBuf);

impl Drop for Name {
    fn drop(&mut self) {
        // Renamed files have no temporary name left.
        let _ = fs::remove_file(&self.0);
    }
}

impl TemporaryFile {
    /// Creates it in the folder of `path`, its later name. Blocks.
    pub(crate) fn beside(path: &Path) -> io::Result<TemporaryFile> {
        let name = durable::temporary_beside(path)?;
        let file = match private::create_new(&name) {
            // Its folder was removed under the worker. If the whole data folder is gone, so is the worker's id, and
            // nothing is made.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let folder = path.parent().filter(|folder| folder.parent().is_some_and(Path::is_dir));
                private::create_folders(folder.ok_or(e)?)?;
                private::create_new(&name)?
            }
            made => made?,
        };
        Ok(TemporaryFile { file, name: Name(name) })
    }

    /// The open file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Renames it to `path`, replacing a file there. Blocks.
    pub(crate) fn place(self, path: &Path, durability: Durability) -> io::Result<()> {
        durable::sync_file(&self.file, durability)?;
        // Closed before the name appears: a file that is open for writing cannot be executed.
        drop(self.file);
        durable::rename(&self.name.0, path, durability)
    }
}

impl Write for TemporaryFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }
    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.file.write_vectored(parts)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::TemporaryFile;
    use crate::chunks::Chunks;
    use crate::scratch::Scratch;
    use std::fs;
    use std::sync::{Arc, mpsc};
    use tokio::task::spawn_blocking;
    use windrow_model::Digest;

    /// The file of an abandoned transfer must not be created later and stay.
    #[test]
    fn abandoned_staging_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let scratch = Arc::new(Scratch::open(folder.path()).unwrap());
        let chunks = Chunks::new(scratch.clone());
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.max_blocking_threads(1).build().unwrap().block_on(async {
            for pieces in 0..3 {
                let (go, held) = mpsc::channel::<()>();
                let busy = spawn_blocking(move || held.recv().is_err());
                let put = chunks.begin(Digest::of(b"chunk"));
                for _ in 0..pieces {
                    assert!(put.write("piece".into()).await);
                }
                drop(put);
                drop(go);
                assert!(busy.await.unwrap());
                // The only thread has finished all earlier work.
                spawn_blocking(|| ()).await.unwrap();
                assert_eq!(fs::read_dir(scratch.chunks()).unwrap().count(), 0, "after {pieces} pieces");
            }
        });
    }

    #[test]
    fn folder_that_was_removed_is_made_again() {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().join("chunks").join("name");
        assert!(TemporaryFile::beside(&place).is_ok() && place.parent().unwrap().is_dir());
        fs::remove_dir_all(root.path()).unwrap();
        assert!(TemporaryFile::beside(&place).is_err() && !root.path().exists());
    }

    #[tokio::test]
    async fn mismatched_download_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let scratch = Arc::new(Scratch::open(folder.path()).unwrap());
        let chunks = Chunks::new(scratch.clone());
        for (bytes, fine) in [("chunk", true), ("other", false)] {
            let put = chunks.begin(Digest::of(b"chunk"));
            assert!(put.write(bytes.into()).await);
            assert_eq!(put.finish().await.is_ok(), fine);
            assert_eq!(fs::read_dir(scratch.chunks()).unwrap().count(), 1, "{bytes}");
        }
    }
}
