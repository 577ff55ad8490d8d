//! Making a folder with the folders that it lies in: from the first one that is missing downwards, without recursion.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use windrow_format::durable::{self, Durability};

/// Like `create_dir_all`, and every new name survives a power cut. Makes each missing folder once: a file system that answers
/// a `mkdir` with "not found" below a folder that exists (procfs, autofs) is an error, and no reason to try again.
///
/// Gives the first folder that it has made. After an error those that it had made are gone again.
pub(crate) fn create(folder: &Path, durability: Durability) -> io::Result<Option<PathBuf>> {
    // The deepest first.
    let missing: Vec<&Path> = folder.ancestors().take_while(|f| !f.as_os_str().is_empty() && !f.is_dir()).collect();
    let mut first = None;
    for folder in missing.into_iter().rev() {
        let made = match fs::create_dir(folder) {
            Ok(()) => {
                first.get_or_insert_with(|| folder.to_path_buf());
                durable::sync_folder(durable::parent(folder), durability)
            }
            // Another job has made it meanwhile.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
            Err(e) => Err(e),
        };
        if let Err(e) = made {
            if let Some(first) = &first {
                // It is there if only its name could not be synced.
                let _ = fs::remove_dir(folder);
                remove_empty(durable::parent(folder), first);
            }
            return Err(e);
        }
    }
    Ok(first)
}

/// Removes a folder and those that it lies in, up to and with `first`, as long as they are empty.
pub(crate) fn remove_empty(folder: &Path, first: &Path) {
    for folder in folder.ancestors().take_while(|folder| folder.starts_with(first)) {
        match fs::remove_dir(folder) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            // Another job uses it.
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_folders_are_made_from_the_top() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        assert_eq!(create(&deep, Durability::NoSync).unwrap(), Some(dir.path().join("a")));
        assert_eq!(create(&deep, Durability::NoSync).unwrap(), None);
        assert!(deep.is_dir());
        // A name that no file system takes: what was made for it goes again, and what was there stays.
        let refused = deep.join("d/e").join("x".repeat(300));
        assert!(create(&refused, Durability::NoSync).is_err());
        assert!(deep.is_dir() && !deep.join("d").exists());
        fs::write(dir.path().join("a/kept"), "").unwrap();
        remove_empty(&deep, &dir.path().join("a"));
        assert!(!dir.path().join("a/b").exists() && dir.path().join("a").exists());
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
