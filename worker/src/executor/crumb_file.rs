//! The memory in which an executor says which record each of its threads is at, as a file in the data folder.
//!
//! The file outlives the executor and the worker: if both are killed, the worker's next incarnation reads it and
//! reports to the coordinator which records were being processed. That identifies a task that kills workers. The file
//! is deleted when its executor has ended, and after it was read. Its blocks are allocated at creation, so that a full
//! disk cannot fault an executor that writes to it. Where the file system does not guarantee that, the memory is
//! anonymous, and nothing is reported.

use rustix::fs::{FallocateFlags, Mode, OFlags};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use windrow_format::crumbs;
use windrow_format::regular_file;
use windrow_model::{AttemptId, RecordPlace};
use windrow_proto::v1;

/// File systems that write to allocated blocks without allocating more: ext4, xfs, tmpfs, overlayfs.
const IN_PLACE: [i64; 4] = [0xEF53, 0x5846_5342, 0x0102_1994, 0x794c_7630];

/// Bound on the wait for excerpts before registration.
const EXCERPTS_WITHIN: Duration = Duration::from_secs(1);

/// An attempt that ran when the last incarnation of the worker ended, and the record that it was at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Left {
    pub attempt: AttemptId,
    pub place: Option<RecordPlace>,
}

impl From<Left> for v1::LeftAttempt {
    fn from(left: Left) -> Self {
        v1::LeftAttempt { attempt: Some(left.attempt.into()), place: left.place.map(Into::into) }
    }
}

/// Reads excerpts of the records, within a time limit: their storage may not answer.
pub(crate) async fn with_excerpts(left: Vec<Left>) -> Vec<Left> {
    if left.is_empty() {
        return left;
    }
    let records = left.clone();
    let looking = tokio::task::spawn_blocking(move || {
        let look = |place: RecordPlace| windrow_store::record_place(place.file, place.offset);
        records.into_iter().map(|left| Left { place: left.place.map(look), ..left }).collect()
    });
    match tokio::time::timeout(EXCERPTS_WITHIN, looking).await {
        Ok(Ok(with_excerpts)) => with_excerpts,
        _ => left,
    }
}

/// The folder of the crumb files; absent if they are anonymous.
#[derive(Debug)]
pub(crate) struct CrumbFolder {
    folder: Option<PathBuf>,
    next: AtomicU64,
}

impl CrumbFolder {
    /// Takes over the folder and reads the crumbs that executors of the last incarnation left in it.
    pub(crate) fn open(folder: PathBuf) -> (CrumbFolder, Vec<Left>) {
        let left = read_all(&folder);
        let usable = match windrow_store::remove_tree(&folder) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => make_folder(&folder),
        };
        let folder = usable.map(|usable| usable.then_some(folder)).unwrap_or_else(|e| {
            tracing::warn!("which records kill this worker will not be known: {e}");
            None
        });
        (CrumbFolder { folder, next: AtomicU64::new(0) }, left)
    }

    /// Anonymous memory.
    #[cfg(test)]
    pub(crate) fn unnamed() -> CrumbFolder {
        CrumbFolder { folder: None, next: AtomicU64::new(0) }
    }

    /// Memory for one executor.
    pub(crate) fn make(&self) -> io::Result<CrumbFile> {
        let named = self.folder.as_ref().map(|folder| {
            let path = folder.join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let file = File::from(rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)?);
            // From here on the file is deleted on every path.
            let made = CrumbFile { file, path: Some(path) };
            rustix::fs::fallocate(&made.file, FallocateFlags::empty(), 0, crumbs::BYTES as u64)?;
            Ok::<CrumbFile, io::Error>(made)
        });
        match named {
            Some(Ok(made)) => Ok(made),
            _ => Ok(CrumbFile { file: crumbs::region()?, path: None }),
        }
    }
}

/// One executor's memory; the file is deleted when this is dropped.
#[derive(Debug)]
pub(crate) struct CrumbFile {
    file: File,
    path: Option<PathBuf>,
}

impl CrumbFile {
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Whether the executor has begun to use it.
    pub(crate) fn is_in_use(&self) -> bool {
        let mut first = [0; 8];
        self.file.read_exact_at(&mut first, 0).is_ok() && first != [0; 8]
    }
}

impl Drop for CrumbFile {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // A remaining file belongs to a dead process, and the next start deletes it.
            let _ = fs::remove_file(path);
        }
    }
}

/// Makes the folder; whether its files keep their blocks allocated.
fn make_folder(folder: &PathBuf) -> io::Result<bool> {
    windrow_format::private::create_folders(folder)?;
    #[allow(clippy::unnecessary_cast, reason = "the type differs between systems")]
    let kind = rustix::fs::statfs(folder)?.f_type as i64;
    Ok(IN_PLACE.contains(&kind))
}

/// The attempts that were active when the files were last written.
fn read_all(folder: &PathBuf) -> Vec<Left> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries
        .filter(|e| e.file_type().is_ok_and(|kind| kind.is_file()))
        .filter_map(|e| regular_file::open(&e.path()).ok());
    let whole = files.filter(|file| file.metadata().is_ok_and(|m| m.len() == crumbs::BYTES as u64));
    let threads = whole.flat_map(|file| crumbs::read_now(&file).unwrap_or_default());
    let place = |p: crumbs::Place| RecordPlace { file: p.file, offset: p.offset, excerpt: String::new() };
    threads.map(|now| Left { attempt: now.attempt, place: now.place.map(place) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use windrow_format::crumbs::Crumbs;
    use windrow_sim::samples::attempt;

    /// Writes words as another process that maps the file would.
    fn write_crumbs(file: &CrumbFile, n: u32, offset: u64) {
        let words: Vec<AtomicU64> = (0..crumbs::WORDS).map(|_| AtomicU64::new(0)).collect();
        let slot = Crumbs::new(&words).unwrap().slot(0).unwrap();
        slot.begin(&attempt(1, n));
        slot.file(Path::new("/in"), 1_000);
        slot.record(offset);
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.load(Ordering::Relaxed).to_ne_bytes()).collect();
        file.file().write_all_at(&bytes, 0).unwrap();
    }

    #[test]
    fn next_incarnation_reads_the_crumbs_of_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("crumbs");
        let (first, left) = CrumbFolder::open(path.clone());
        assert_eq!(left, []);
        let (ended, killed) = (first.make().unwrap(), first.make().unwrap());
        assert!(!killed.is_in_use());
        write_crumbs(&ended, 0, 1);
        write_crumbs(&killed, 1, 250);
        assert!(killed.is_in_use());
        drop(ended);
        if killed.path.is_none() {
            return eprintln!("skipped: files there may move");
        }
        std::mem::forget(killed);
        let place = RecordPlace { file: "/in".into(), offset: 250, excerpt: String::new() };
        let (second, left) = CrumbFolder::open(path.clone());
        assert_eq!(left, [Left { attempt: attempt(1, 1), place: Some(place) }]);
        drop(second.make().unwrap());
        assert_eq!(CrumbFolder::open(path).1, [], "it is reported once");
    }

    #[test]
    fn garbage_in_the_folder_is_no_crumb() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("short"), "x").unwrap();
        fs::write(folder.path().join("long"), vec![7; crumbs::BYTES]).unwrap();
        fs::create_dir(folder.path().join("folder")).unwrap();
        let (_, left) = CrumbFolder::open(folder.path().to_path_buf());
        assert!(left.is_empty(), "no slot of it is active: {left:?}");
    }
}
