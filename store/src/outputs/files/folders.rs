//! Creates a folder with its missing parents, from the top downwards and without recursion.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use windrow_format::durable::{self, Durability};

/// Creates a folder and its missing parents as `create_dir_all` does, so that every new name survives a power cut.
/// Creates each missing folder once: a file system that answers a `mkdir` below an existing folder with "not found"
/// (procfs, autofs) is an error and does not lead to a retry.
///
/// Returns the topmost folder that it created. After an error it has removed those that it created.
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
            // Another job has created it meanwhile.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
            Err(e) => Err(e),
        };
        if let Err(e) = made {
            if let Some(first) = &first {
                // The folder exists if only its name could not be synced.
                let _ = fs::remove_dir(folder);
                remove_empty(durable::parent(folder), first);
            }
            return Err(e);
        }
    }
    Ok(first)
}

/// Removes a folder and its parents, up to and including `first`, as long as they are empty.
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
        // No file system accepts this name: the folders created for it are removed again, existing ones stay.
        let refused = deep.join("d/e").join("x".repeat(300));
        assert!(create(&refused, Durability::NoSync).is_err());
        assert!(deep.is_dir() && !deep.join("d").exists());
        fs::write(dir.path().join("a/kept"), "").unwrap();
        remove_empty(&deep, &dir.path().join("a"));
        assert!(!dir.path().join("a/b").exists() && dir.path().join("a").exists());
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(create(&dir.path().join("file/x"), Durability::NoSync).is_err());
    }

    /// procfs answers every `mkdir` with ENOENT, even below existing folders.
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
