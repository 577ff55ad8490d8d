//! The file or folder that `data get` writes: it has a name of its own beside its target until it is complete.
//!
//! The name is random, so the rest of a get that was killed is in the way of no later one. A get that runs has its file
//! locked; one that is unlocked and has not changed for a minute is such a rest, and the next get in the same folder
//! removes it.

use super::failed;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use windrow_format::durable::parent;
use windrow_model::{Code, Escape, Failure};

/// Names of incomplete gets begin with this.
const PREFIX: &str = ".windrow-get-";
/// A get that has just begun may not have its lock yet.
const BEGINNING: Duration = Duration::from_secs(60);

/// An incomplete get. Dropping it removes it.
#[derive(Debug)]
pub(super) struct Incoming {
    path: PathBuf,
    /// Locked while this process writes.
    locked: File,
    is_complete: bool,
}

impl Incoming {
    /// Makes a file, or a folder, beside `to`.
    ///
    /// # Errors
    /// `OUTPUT_EXISTS` if `to` exists; errors of the disk.
    pub(super) fn begin(to: &Path, is_folder: bool) -> Result<Incoming, Failure> {
        if to.symlink_metadata().is_ok() {
            return Err(exists(to));
        }
        remove_rests(parent(to));
        let path = parent(to).join(format!("{PREFIX}{}", uuid::Uuid::new_v4().simple()));
        let made = match is_folder {
            true => fs::create_dir(&path).and_then(|()| File::open(&path)),
            false => File::create_new(&path),
        };
        let locked = made.map_err(|e| failed(to, &e))?;
        // On a file system without locks the rest has to be removed by hand.
        let _ = locked.try_lock();
        Ok(Incoming { path, locked, is_complete: false })
    }

    /// The file, if it is one.
    pub(super) fn file(&mut self) -> &mut File {
        &mut self.locked
    }

    /// The path of the incomplete file or folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it its name.
    ///
    /// # Errors
    /// `OUTPUT_EXISTS` if something has taken the name meanwhile; errors of the disk.
    pub(super) fn complete(mut self, to: &Path) -> Result<(), Failure> {
        windrow_store::rename_to_free_name(&self.path, to).map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => exists(to),
            _ => failed(to, &e),
        })?;
        self.is_complete = true;
        Ok(())
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if !self.is_complete {
            // The next get in this folder tries it again.
            let _ = windrow_store::remove_tree(&self.path);
        }
    }
}

fn exists(to: &Path) -> Failure {
    Failure::new(Code::OutputExists, format!("{} exists", to.escaped()))
}

/// Removes what killed gets of this user have left in the folder.
fn remove_rests(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) && is_rest(&entry.path()) {
            let _ = windrow_store::remove_tree(&entry.path());
        }
    }
}

fn is_rest(path: &Path) -> bool {
    let Ok(found) = path.symlink_metadata() else { return false };
    let age = found.modified().ok().and_then(|at| at.elapsed().ok());
    let is_own = found.uid() == rustix::process::geteuid().as_raw() && (found.is_file() || found.is_dir());
    is_own && age.is_some_and(|age| age >= BEGINNING) && File::open(path).is_ok_and(|file| file.try_lock().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::time::SystemTime;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Makes the file as old as one that was left by a get that was killed long ago.
    fn age(path: &Path) {
        File::open(path).unwrap().set_modified(SystemTime::now() - 2 * BEGINNING).unwrap();
    }

    #[test]
    fn complete_file_or_folder_gets_its_name_and_takes_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("words.txt");
        let mut incoming = Incoming::begin(&to, false).unwrap();
        incoming.file().write_all(b"a\n").unwrap();
        incoming.complete(&to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"a\n");
        assert_eq!(Incoming::begin(&to, false).unwrap_err().code, Code::OutputExists);

        let folder = dir.path().join("files");
        let incoming = Incoming::begin(&folder, true).unwrap();
        fs::write(incoming.path().join("00000"), "x").unwrap();
        incoming.complete(&folder).unwrap();

        let late = dir.path().join("late");
        let incoming = Incoming::begin(&late, false).unwrap();
        fs::write(&late, "of another program").unwrap();
        assert_eq!(incoming.complete(&late).unwrap_err().code, Code::OutputExists);
        assert_eq!(fs::read(&late).unwrap(), b"of another program");
        assert_eq!(names(dir.path()), ["files", "late", "words.txt"]);
    }

    #[test]
    fn rest_of_a_killed_get_is_removed_and_a_running_one_stays() {
        let dir = tempfile::tempdir().unwrap();
        let [file, folder, young] = ["file", "folder", "young"].map(|name| dir.path().join(format!("{PREFIX}{name}")));
        fs::write(&file, "half").unwrap();
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("00000"), "half").unwrap();
        fs::write(&young, "no lock yet").unwrap();
        let running = Incoming::begin(&dir.path().join("other"), false).unwrap();
        [file.as_path(), &folder, running.path()].into_iter().for_each(age);
        drop(Incoming::begin(&dir.path().join("words.txt"), false).unwrap());
        let left = [young.clone(), running.path().to_path_buf()];
        let mut left = left.map(|path| path.file_name().unwrap().to_str().unwrap().to_string());
        left.sort();
        assert_eq!(names(dir.path()), left);
    }
}
