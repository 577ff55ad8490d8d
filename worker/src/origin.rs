//! Distinguishes the data folder in which a worker id was made from its copies.
//!
//! A copy carries the id of a worker that may still run. Two workers with one id would replace each other at the
//! coordinator, and kill each other's executors on one machine. So the file `origin` holds what a copy cannot have:
//! inode number and birth time of the folder. Neither changes when the folder is renamed or the machine restarts. An
//! image of a whole file system has both: then the coordinator refuses the worker that comes second.

use crate::note_names::ORIGIN;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;
use windrow_format::durable::{self, Durability};
use windrow_format::regular_file;

/// Inode number, and birth in nanoseconds since 1970; 0 where the file system does not record it.
type Folder = (u64, u128);

/// The path of the record.
pub(crate) fn file(root: &Path) -> PathBuf {
    root.join(ORIGIN)
}

/// Whether the folder is a copy. A folder without a record is new or of an earlier release, and counts as an original.
pub(crate) fn is_copy(root: &Path) -> io::Result<bool> {
    let recorded = match regular_file::read_note(file(root)) {
        Ok(text) => parse(&text),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => return Err(e),
    };
    let now = look(root)?;
    Ok(recorded.is_some_and(|then| differs(then, now)))
}

/// Records that the id in the folder was made for it, unless the record says so: a start on a full disk writes nothing here.
pub(crate) fn record(root: &Path) -> io::Result<()> {
    let (inode, born_ns) = look(root)?;
    if regular_file::read_note(file(root)).ok().as_deref().and_then(parse) == Some((inode, born_ns)) {
        return Ok(());
    }
    durable::write_private(&file(root), format!("{inode} {born_ns}\n").as_bytes(), Durability::Sync)
}

/// Some file systems renumber their files at each mount, and some record no birth times: a folder differs only if every
/// recorded value differs. A copy is born after the record in the original is on disk, so within the same tick of the
/// clock only if that takes less than a tick.
fn differs(then: Folder, now: Folder) -> bool {
    let other_birth = then.1 != now.1 || then.1 == 0 || now.1 == 0;
    then.0 != now.0 && other_birth
}

fn look(root: &Path) -> io::Result<Folder> {
    let meta = fs::metadata(root)?;
    let born = meta.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    Ok((meta.ino(), born.map_or(0, |at| at.as_nanos())))
}

fn parse(text: &str) -> Option<Folder> {
    let (inode, born_ns) = text.trim().split_once(' ')?;
    Some((inode.parse().ok()?, born_ns.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copied_folder_is_distinguished_from_a_moved_one() {
        let dir = tempfile::tempdir().unwrap();
        let [original, copy, moved] = ["original", "copy", "moved"].map(|name| dir.path().join(name));
        fs::create_dir(&original).unwrap();
        fs::create_dir(&copy).unwrap();
        // Births are counted in ticks of the file system's clock, whose length is unknown.
        for n in 0..1_000 {
            if differs(look(&original).unwrap(), look(&copy).unwrap()) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
            // The folder of the earlier birth stays, so that its inode is not reused.
            fs::rename(&copy, dir.path().join(format!("earlier-{n}"))).unwrap();
            fs::create_dir(&copy).unwrap();
        }
        assert!(!is_copy(&original).unwrap(), "a folder without a record");
        record(&original).unwrap();
        fs::copy(original.join(ORIGIN), copy.join(ORIGIN)).unwrap();
        assert!(is_copy(&copy).unwrap() && !is_copy(&original).unwrap());
        fs::rename(&original, &moved).unwrap();
        assert!(!is_copy(&moved).unwrap());
        record(&copy).unwrap();
        assert!(!is_copy(&copy).unwrap());
    }

    #[test]
    fn folder_differs_only_by_number_and_birth_together() {
        assert!(differs((1, 10), (2, 20)));
        assert!(differs((1, 0), (2, 0)), "no birth is recorded");
        assert!(!differs((1, 10), (2, 10)), "numbered anew at a mount");
        assert!(!differs((1, 10), (1, 20)) && !differs((1, 0), (1, 0)));
    }
}
