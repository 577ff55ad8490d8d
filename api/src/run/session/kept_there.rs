//! Which datasets of a cluster belong to a session, so that those of a killed one are found.
//!
//! The names of a session's datasets begin with its id. A file in the user's state folder has the id and the URL of the
//! cluster, and is locked as long as the session lives. The next session on this machine that uses the same cluster removes
//! the datasets of files without a lock.

use super::remote::Remote;
use crate::error::Result;
use crate::report::warning::warn;
use crate::run::job_id::new_job_id;
use crate::run::leftovers::{UNLOCKED_FOR, lock};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use windrow_format::private::create_folders;
use windrow_format::regular_file;
use windrow_model::{Escape, Failure};
use windrow_net::StateFolder;

/// First part of the names of sessions' datasets.
const PREFIX: &str = "session-";
/// The folder of the files, in the state folder.
const FOLDER: &str = "sessions";
/// Most bytes of such a file: a URL.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// The datasets of a living session.
pub(super) struct Claim {
    /// The beginning of their names.
    prefix: String,
    /// The file with the URL, and its lock. `None` if it cannot be written; then the datasets of a killed session stay.
    file: Option<(PathBuf, Option<File>)>,
}

impl Claim {
    /// Claims names for a session's datasets. Removes the datasets of dead sessions.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub(super) fn new(remote: &Remote) -> Result<Claim> {
        let prefix = format!("{PREFIX}{}.", new_job_id()?.0.simple());
        let file = match StateFolder::of_user() {
            Ok(state) => {
                let folder = state.folder().join(FOLDER);
                remove_dead(&folder, remote);
                write(&folder.join(&prefix), remote.url()).map_err(|e| e.to_string())
            }
            Err(e) => Err(e.message),
        };
        let file = file.map_err(|why| {
            warn(&format!("if this session is killed, its datasets stay until `windrow data rm` removes them: {why}"));
        });
        Ok(Claim { prefix, file: file.ok() })
    }

    /// The name of a dataset.
    pub(super) fn dataset(&self, name: &str, number: u32) -> String {
        format!("{}{name}.{number}", self.prefix)
    }

    /// Removes the datasets, and the file if all of them are gone.
    pub(super) fn remove(&self, remote: &Remote) {
        match remove_of(&self.prefix, remote) {
            Ok(()) => {
                // A file that stays claims no dataset.
                let _ = self.file.as_ref().map(|(path, _)| fs::remove_file(path));
            }
            Err(e) => warn(&format!("intermediate results stay in datasets `{}…`: {}", self.prefix, e.message)),
        }
    }
}

/// Writes the file of a session and locks it.
fn write(path: &Path, url: &str) -> io::Result<(PathBuf, Option<File>)> {
    if let Some(folder) = path.parent() {
        create_folders(folder)?;
    }
    fs::write(path, url)?;
    Ok((path.to_path_buf(), lock(path)))
}

fn remove_of(prefix: &str, remote: &Remote) -> Result<(), Failure> {
    let names = remote.dataset_names()?;
    names.iter().filter(|name| name.starts_with(prefix)).try_for_each(|name| remote.remove_dataset(name))
}

/// Removes the datasets on this cluster of sessions that are dead.
fn remove_dead(folder: &Path, remote: &Remote) {
    for (path, prefix) in files(folder) {
        let Some(url) = dead(&path, UNLOCKED_FOR) else { continue };
        // Held during the removal, so that of two sessions only one removes the datasets.
        let Some(_lock) = lock(&path) else { continue };
        if url != remote.url() {
            continue;
        }
        match remove_of(&prefix, remote) {
            Ok(()) => _ = fs::remove_file(&path),
            Err(e) => warn(&format!("datasets `{}…` of a dead session stay: {}", prefix.escaped(), e.message)),
        }
    }
}

/// The files of sessions, with the beginnings of their datasets' names.
fn files(folder: &Path) -> impl Iterator<Item = (PathBuf, String)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let id = name.strip_prefix(PREFIX)?.strip_suffix('.')?;
        let is_id = id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit());
        is_id.then_some((entry.path(), name))
    })
}

/// The URL in the file of a session that has not been locked for this long.
fn dead(path: &Path, unlocked_for: Duration) -> Option<String> {
    let age = path.symlink_metadata().ok()?.modified().ok()?.elapsed().unwrap_or(Duration::ZERO);
    if age < unlocked_for {
        return None;
    }
    lock(path)?;
    regular_file::read_text(path, FILE_BYTES_MAX).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_files_without_a_lock_are_of_dead_sessions() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(format!("{PREFIX}{}.", "a".repeat(32)));
        let (path, lock) = write(&path, "http://127.0.0.1:1").unwrap();
        fs::write(folder.path().join("session-1.json"), "").unwrap();
        let found: Vec<PathBuf> = files(folder.path()).map(|(path, _)| path).collect();
        assert_eq!(found, std::slice::from_ref(&path));
        assert_eq!(dead(&path, Duration::ZERO), None, "it is locked");
        drop(lock);
        assert_eq!(dead(&path, Duration::from_secs(60)), None, "it may be locked soon");
        assert_eq!(dead(&path, Duration::ZERO).as_deref(), Some("http://127.0.0.1:1"));
    }
}
