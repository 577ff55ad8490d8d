//! Making a folder with the folders that it lies in: from the first one that is missing downwards, without recursion.

use std::fs;
use std::io;
use std::path::Path;
use windrow_format::durable::{self, Durability};

/// Like `create_dir_all`, and every new name survives a power cut. Makes each missing folder once: a file system that answers
/// a `mkdir` with "not found" below a folder that exists (procfs, autofs) is an error, and no reason to try again.
pub(crate) fn create(folder: &Path, durability: Durability) -> io::Result<()> {
    // The deepest first.
    let missing: Vec<&Path> = folder.ancestors().take_while(|f| !f.as_os_str().is_empty() && !f.is_dir()).collect();
    for folder in missing.into_iter().rev() {
        match fs::create_dir(folder) {
            Ok(()) => durable::sync_folder(durable::parent(folder), durability)?,
            // Another job has made it meanwhile.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_folders_are_made_from_the_top() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        create(&deep, Durability::NoSync).unwrap();
        create(&deep, Durability::NoSync).unwrap();
        assert!(deep.is_dir());
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(create(&dir.path().join("file/x"), Durability::NoSync).is_err());
    }

    /// procfs answers every `mkdir` with ENOENT, below folders that exist.
    #[test]
    fn mkdir_that_answers_not_found_is_an_error() {
        for path in ["/proc/x", "/proc/x/y/z", "/proc/self/x"] {
            assert_eq!(
                create(Path::new(path), Durability::NoSync).unwrap_err().kind(),
                io::ErrorKind::NotFound,
                "{path}"
            );
        }
    }
}
