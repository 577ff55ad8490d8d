//! The data folder of a worker: its lock, its id, its incarnation, and the paths of everything else.
//!
//! ```text
//! lock           held as long as the worker runs; holds its process id
//! worker         its id, made on the first start
//! origin         what distinguishes this folder from a copy of it (`origin.rs`)
//! groups         the base of the control groups that were made last
//! reserve, spares/   room and inodes for these notes on a full disk (`reserve.rs`)
//! incarnation    grows with every start
//! artifacts/     job binaries and side values, by digest; kept
//! chunks/        chunks of datasets, by digest; kept
//! crumbs/        the current record of each executor; at a start, those of executors that died with the worker
//! jobs/INCARNATION/JOB/reports              finished attempts, for the next incarnation (`report_log.rs`)
//! jobs/INCARNATION/JOB/spool-GENERATION     small outputs of one executor's attempts; removed with the job
//! jobs/INCARNATION/JOB/ATTEMPT.*            larger outputs and parts (`attempt_files.rs`), removed with the attempt; fetched
//!                                           inputs, removed when it has run
//! ```
//! A start moves files of earlier incarnations away at once. Finished outputs among them are recovered
//! (`recovered_outputs.rs`); [`Scratch::sweep`] deletes the rest in the background, and never leaves its own root or
//! follows a link.

use crate::attempt_files::AttemptFiles;
use crate::error::Error;
use crate::note_names::{INCARNATION, WORKER};
use crate::origin;
use crate::reserve::Reserve;
use crate::spread_folders::spread_folders_in;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Mutex;
use std::time::Duration;
use windrow_format::durable::{self, Durability};
use windrow_format::folder_lock::{FolderLock, LockError};
use windrow_format::regular_file;
use windrow_format::{names, private};
use windrow_model::{AttemptId, Digest, Escape, Incarnation, JobId, WorkerId};
use windrow_store::remove_tree;

/// Holds the base of the control groups that were made last.
const GROUPS: &str = "groups";
const ARTIFACTS: &str = "artifacts";
const CHUNKS: &str = "chunks";
const CRUMBS: &str = "crumbs";
const JOBS: &str = "jobs";
/// In a job's folder: the log of its finished attempts.
const REPORTS: &str = "reports";
/// In a job's folder: prefix of the names of spools.
const SPOOL: &str = "spool-";
/// Folders that a sweep deletes.
const TRASH: &str = "trash";
/// Prefix of the trash entries that were `jobs` of an earlier incarnation.
const OLD_JOBS: &str = "jobs";

/// A child that a killed worker had just forked holds the lock for a moment longer, until it becomes an executor.
const LOCK_WAIT: Duration = Duration::from_secs(1);

/// An open data folder. No other process can open it before this is dropped.
#[derive(Debug)]
pub(crate) struct Scratch {
    root: PathBuf,
    worker: WorkerId,
    is_copy: bool,
    incarnation: Mutex<Incarnation>,
    reserve: Reserve,
    lock: FolderLock,
}

impl Scratch {
    /// Opens the folder, which is created if missing. Touches no file if another process has it.
    pub(crate) fn open(root: &Path) -> Result<Scratch, Error> {
        let wrong = |path: &Path| {
            let path = path.to_path_buf();
            move |source| Error::DataDir { path, source }
        };
        private::create_folders(root).map_err(wrong(root))?;
        // Executors run in folders below it and get absolute paths.
        let root = fs::canonicalize(root).map_err(wrong(root))?;
        let lock = FolderLock::take(&root, LOCK_WAIT).map_err(|e| match e {
            LockError::Held { pid } => Error::DataDirInUse { folder: root.clone(), pid },
            LockError::Io { path, source } => Error::DataDir { path, source },
        })?;
        private::tighten(&root, &[ARTIFACTS, CHUNKS]).map_err(wrong(&root))?;
        let reserve = Reserve::of(&root);
        for folder in [ARTIFACTS, CHUNKS] {
            let path = root.join(folder);
            reserve.with_room(|| private::create_folders(&path)).map_err(wrong(&path))?;
            remove_temporaries(&path).map_err(wrong(&path))?;
        }
        let known = read_number::<WorkerId>(&root.join(WORKER))?;
        let is_copied = origin::is_copy(&root).map_err(wrong(&origin::file(&root)))?;
        let copied_from = known.filter(|_| is_copied);
        let worker = match known.filter(|_| copied_from.is_none()) {
            Some(id) => id,
            None => {
                let id = WorkerId(uuid::Uuid::now_v7());
                let path = root.join(WORKER);
                let note = format!("{id}\n");
                let write = || durable::write_private(&path, note.as_bytes(), Durability::Sync);
                reserve.with_room(write).map_err(wrong(&path))?;
                id
            }
        };
        if let Some(original) = copied_from {
            let folder = root.escaped();
            tracing::warn!(
                "{folder} is a copy of the data folder of worker {original}: it is worker {worker} from now on"
            );
        }
        // After the id: if this process dies in between, the folder gets another id.
        reserve.with_room(|| origin::record(&root)).map_err(wrong(&origin::file(&root)))?;
        let last = read_number::<u64>(&root.join(INCARNATION))?.unwrap_or(0);
        let is_copy = copied_from.is_some();
        let scratch = Scratch { root, worker, is_copy, incarnation: Mutex::new(Incarnation(last)), reserve, lock };
        scratch.set_aside()?;
        Ok(scratch)
    }

    /// The folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Checks that the folder is still at its path. Blocks while its disk does.
    ///
    /// # Errors
    /// [`Error::Displaced`] if it is not: the worker must stop.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.lock.check().map_err(Error::Displaced)
    }

    /// The id of this folder's worker.
    pub(crate) fn worker(&self) -> WorkerId {
        self.worker
    }

    /// Whether this start gave a copied folder an id of its own: finished outputs in it belong to another worker.
    pub(crate) fn is_copy(&self) -> bool {
        self.is_copy
    }

    /// The file that records the base of this worker's control groups.
    pub(crate) fn groups(&self) -> PathBuf {
        self.root.join(GROUPS)
    }

    /// Begins a new incarnation; its number is never reused, even after a crash.
    pub(crate) fn next_incarnation(&self) -> Result<Incarnation, Error> {
        let mut current = self.incarnation.lock().unwrap_or_else(|e| e.into_inner());
        let next = Incarnation(current.0 + 1);
        let path = self.root.join(INCARNATION);
        let note = format!("{next}\n");
        let write = || durable::write_private(&path, note.as_bytes(), Durability::Sync);
        self.reserve.with_room(write).map_err(|source| Error::DataDir { path: path.clone(), source })?;
        *current = next;
        self.spread_jobs(next);
        Ok(next)
    }

    /// Makes the folder of an incarnation, whose jobs are spread over the disk if the file system can do that. An error is none
    /// of the worker: the first job makes the folder, too.
    fn spread_jobs(&self, incarnation: Incarnation) {
        let folder = self.root.join(JOBS).join(incarnation.to_string());
        if let Err(e) = private::create_folders(&folder).and_then(|()| spread_folders_in(&folder)) {
            tracing::debug!("the files of jobs are not spread over the disk: {e}");
        }
    }

    /// The path of an artifact.
    pub(crate) fn artifact(&self, digest: Digest) -> PathBuf {
        self.root.join(ARTIFACTS).join(digest.to_string())
    }

    /// The folder of all artifacts.
    pub(crate) fn artifacts(&self) -> PathBuf {
        self.root.join(ARTIFACTS)
    }

    /// The folder of executors' crumbs.
    pub(crate) fn crumbs(&self) -> PathBuf {
        self.root.join(CRUMBS)
    }

    /// The path of a chunk.
    pub(crate) fn chunk(&self, digest: Digest) -> PathBuf {
        self.root.join(CHUNKS).join(digest.to_string())
    }

    /// The folder of all chunks.
    pub(crate) fn chunks(&self) -> PathBuf {
        self.root.join(CHUNKS)
    }

    /// All files of a job in one incarnation.
    pub(crate) fn job(&self, incarnation: Incarnation, job: JobId) -> PathBuf {
        job_below(&self.root, incarnation, job)
    }

    /// The log of finished attempts in a job's folder.
    pub(crate) fn reports_in(job: &Path) -> PathBuf {
        job.join(REPORTS)
    }

    /// In a job's folder: the spool of the executor of this generation, which no other executor of the incarnation has.
    pub(crate) fn spool_in(job: &Path, generation: u64) -> PathBuf {
        job.join(format!("{SPOOL}{generation}"))
    }

    /// Moves all files of a job away, those of every incarnation: the same job may restart at once. Returns the folders
    /// to delete; the next start's sweep deletes what remains.
    pub(crate) fn set_aside_job(&self, job: JobId) -> Vec<PathBuf> {
        let incarnations = fs::read_dir(self.root.join(JOBS)).into_iter().flatten().flatten();
        let folders = incarnations.map(|incarnation| incarnation.path().join(names::job_folder(job)));
        let moved = folders.filter_map(|folder| {
            let aside = self.in_trash("job");
            let moved = match fs::rename(&folder, &aside) {
                // The trash folder has been removed from outside.
                Err(e) if e.kind() == io::ErrorKind::NotFound && folder.is_dir() => {
                    private::create_folders(&self.root.join(TRASH)).and_then(|()| fs::rename(&folder, &aside))
                }
                other => other,
            };
            match moved {
                Ok(()) => Some(aside),
                Err(e) if e.kind() == io::ErrorKind::NotFound => None,
                Err(e) => {
                    tracing::warn!("cannot move {} away: {e}", folder.escaped());
                    Some(folder)
                }
            }
        });
        moved.collect()
    }

    /// Folders of earlier incarnations since the last sweep: each has the layout of `jobs`.
    pub(crate) fn set_aside_incarnations(&self) -> Vec<PathBuf> {
        let trash = fs::read_dir(self.root.join(TRASH)).into_iter().flatten().flatten();
        let incarnations = trash.filter(|entry| entry.file_name().as_bytes().starts_with(OLD_JOBS.as_bytes()));
        incarnations.map(|entry| entry.path()).collect()
    }

    /// Makes private folders, with room from the reserve if the disk is full.
    pub(crate) fn make_folders(&self, folder: &Path) -> io::Result<()> {
        self.reserve.with_room(|| private::create_folders(folder))
    }

    /// Fills the reserve up. Call it when the disk has room.
    pub(crate) fn refill_reserve(&self) -> io::Result<()> {
        self.reserve.refill()
    }

    /// The files of an attempt.
    pub(crate) fn attempt(&self, attempt: &AttemptId) -> AttemptFiles {
        AttemptFiles::within(self.job(attempt.incarnation, attempt.task.job), attempt)
    }

    /// Moves the files of earlier incarnations away, in constant time wherever the file system moves folders.
    fn set_aside(&self) -> Result<(), Error> {
        let wrong = |path: &Path, source| Error::DataDir { path: path.to_path_buf(), source };
        let (trash, jobs) = (self.root.join(TRASH), self.root.join(JOBS));
        // The trash is deleted, so it must not be a link. Only `artifacts` and `chunks` may be links, to another disk.
        let made = remove_link(&trash).and_then(|()| self.make_folders(&trash));
        made.map_err(|e| wrong(&trash, e))?;
        let aside = self.in_trash(OLD_JOBS);
        let moved = match self.reserve.with_room(|| fs::rename(&jobs, &aside)) {
            // An overlay file system moves no folder of a lower layer, such as the image of a container.
            Err(e) if e.kind() == io::ErrorKind::CrossesDevices => remove_if_there(&jobs),
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        };
        moved.and_then(|()| self.make_folders(&jobs)).map_err(|e| wrong(&jobs, e))
    }

    /// A new name in the trash.
    fn in_trash(&self, what: &str) -> PathBuf {
        self.root.join(TRASH).join(format!("{what}-{}", uuid::Uuid::now_v7().simple()))
    }

    /// Deletes the trash in the background. An entry that cannot be deleted does not keep the rest; the first error is
    /// returned.
    pub(crate) fn sweep(&self) -> io::Result<()> {
        let mut swept = Ok(());
        remove_link(&self.root.join(TRASH))?;
        for entry in fs::read_dir(self.root.join(TRASH))? {
            swept = swept.and(remove_if_there(&entry?.path()));
        }
        swept
    }
}

/// Removes a symbolic link, but not its target. A program of a job may have replaced a folder by one.
fn remove_link(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_symlink() => {
            tracing::warn!("{} is a symbolic link, which no worker makes: it is removed", path.escaped());
            fs::remove_file(path)
        }
        Ok(_) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match remove_tree(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn job_below(root: &Path, incarnation: Incarnation, job: JobId) -> PathBuf {
    root.join(JOBS).join(incarnation.to_string()).join(names::job_folder(job))
}

/// The worker whose data folder this is, if it can be read.
pub(crate) fn worker_of(root: &Path) -> Option<WorkerId> {
    read_number(&root.join(WORKER)).ok().flatten()
}

/// Reads a file of one line; `None` if it does not exist.
fn read_number<T: FromStr<Err: std::fmt::Display>>(path: &Path) -> Result<Option<T>, Error> {
    let wrong = |source| Error::DataDir { path: path.to_path_buf(), source };
    match regular_file::read_note(path) {
        Ok(text) => {
            let parsed = text.trim().parse::<T>();
            parsed.map(Some).map_err(|e| wrong(io::Error::new(io::ErrorKind::InvalidData, e.to_string())))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(wrong(e)),
    }
}

fn remove_temporaries(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if names::is_temporary(&entry.file_name()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use windrow_sim::samples::attempt;

    #[test]
    fn worker_starts_on_a_lower_layer_of_an_overlay() {
        let dir = tempfile::tempdir().unwrap();
        let [lower, upper, work, merged] = ["lower", "upper", "work", "merged"].map(|name| dir.path().join(name));
        for folder in [&upper, &work, &merged] {
            fs::create_dir(folder).unwrap();
        }
        let image = Scratch::open(&lower).unwrap();
        fs::create_dir_all(image.job(Incarnation(1), JobId::from_bytes([1; 16]))).unwrap();
        drop(image);
        let [lower, upper, work] = [&lower, &upper, &work].map(|path| path.to_str().unwrap());
        let layers = format!("lowerdir={lower},upperdir={upper},workdir={work}");
        let mount =
            std::process::Command::new("mount").args(["-t", "overlay", "-o", &layers, "none"]).arg(&merged).output();
        if !mount.is_ok_and(|mounted| mounted.status.success()) {
            println!("skipped: mounting is not allowed here");
            return;
        }
        let opened = Scratch::open(&merged).map(|scratch| fs::read_dir(scratch.root().join(JOBS)).unwrap().count());
        let _ = std::process::Command::new("umount").arg("-l").arg(&merged).status();
        assert_eq!(opened.unwrap(), 0);
    }

    /// A worker on a disk without a free inode could not be started, and nothing could be read from it.
    #[test]
    fn worker_starts_on_a_disk_without_inodes() {
        let dir = tempfile::tempdir().unwrap();
        let disk = ["-t", "tmpfs", "-o", "size=16m,nr_inodes=400", "none"];
        let mounted = std::process::Command::new("mount").args(disk).arg(dir.path()).output();
        if !mounted.is_ok_and(|mounted| mounted.status.success()) {
            println!("skipped: mounting is not allowed here");
            return;
        }
        let root = dir.path().join("data");
        let first = Scratch::open(&root).unwrap();
        first.refill_reserve().unwrap();
        let id = first.worker();
        drop(first);
        let mut opened = Vec::new();
        // Again and again, each time with what the start before has freed taken away.
        for round in 0..3 {
            let filler =
                (0..400).take_while(|n| fs::write(dir.path().join(format!("{round}-{n}")), "").is_ok()).count();
            let scratch = Scratch::open(&root);
            let begun = scratch.as_ref().map_err(ToString::to_string).and_then(|scratch| {
                assert!(scratch.worker() == id && filler < 400);
                scratch.next_incarnation().map(|incarnation| incarnation.0).map_err(|e| e.to_string())
            });
            opened.push(begun);
        }
        let _ = std::process::Command::new("umount").arg("-l").arg(dir.path()).status();
        assert_eq!(opened, [Ok(1), Ok(2), Ok(3)]);
    }

    #[test]
    fn second_worker_on_a_folder_sees_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let first = Scratch::open(folder.path()).unwrap();
        let error = Scratch::open(folder.path()).unwrap_err();
        assert_eq!(error.code(), windrow_model::Code::DataDirInUse);
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        drop(first);
        Scratch::open(folder.path()).unwrap();
    }

    #[test]
    fn a_worker_keeps_its_name_and_never_repeats_an_incarnation() {
        let folder = tempfile::tempdir().unwrap();
        let first = Scratch::open(folder.path()).unwrap();
        let name = first.worker();
        assert_eq!(first.next_incarnation().unwrap(), Incarnation(1));
        assert_eq!(first.next_incarnation().unwrap(), Incarnation(2));
        drop(first);
        let second = Scratch::open(folder.path()).unwrap();
        assert_eq!(second.worker(), name);
        assert_eq!(second.next_incarnation().unwrap(), Incarnation(3));
    }

    #[test]
    fn copied_data_folder_gets_an_id_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let [original, copy] = ["original", "copy"].map(|name| dir.path().join(name));
        let first = Scratch::open(&original).unwrap();
        first.next_incarnation().unwrap();
        // Not within the same tick of the file system's clock.
        std::thread::sleep(Duration::from_millis(50));
        fs::create_dir_all(&copy).unwrap();
        for file in [WORKER, INCARNATION, "origin"] {
            fs::copy(original.join(file), copy.join(file)).unwrap();
        }
        let second = Scratch::open(&copy).unwrap();
        assert!(second.worker() != first.worker() && second.is_copy());
        let (ids, is_copy) = ([first.worker(), second.worker()], first.is_copy());
        drop((first, second));
        let again = [&original, &copy].map(|folder| Scratch::open(folder).unwrap());
        assert_eq!([again[0].worker(), again[1].worker()], ids);
        assert!(!is_copy && again.iter().all(|scratch| !scratch.is_copy()));
    }

    #[test]
    fn job_restarts_while_its_old_files_are_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let scratch = Scratch::open(folder.path()).unwrap();
        let attempt = scratch.attempt(&attempt(1, 0));
        let job = windrow_sim::samples::attempt(1, 0).task.job;
        assert!(scratch.set_aside_job(job).is_empty(), "there is nothing yet");
        fs::create_dir_all(attempt.folder()).unwrap();
        fs::write(attempt.edge(0), "old").unwrap();
        // Removing this folder loses nothing that matters.
        fs::remove_dir_all(scratch.root().join(TRASH)).unwrap();
        let aside = scratch.set_aside_job(job);
        fs::create_dir_all(attempt.folder()).unwrap();
        fs::write(attempt.edge(0), "new").unwrap();
        assert_eq!(aside.len(), 1);
        aside.into_iter().for_each(|old| fs::remove_dir_all(old).unwrap());
        assert_eq!(fs::read_to_string(attempt.edge(0)).unwrap(), "new");
    }

    #[test]
    fn leftovers_of_programs_are_swept_after_start() {
        let folder = tempfile::tempdir().unwrap();
        let id = attempt(1, 0);
        {
            let scratch = Scratch::open(folder.path()).unwrap();
            let job = scratch.job(id.incarnation, id.task.job);
            // A program works in its job's folder: files that it leaves there lie beside its attempts.
            for below in ["a/b/c/d/e", "0-0/report", "7-7-7-7-7"] {
                fs::create_dir_all(job.join(below)).unwrap();
            }
            let mut deep = job.join("deep");
            for _ in 0..1_000 {
                deep.push("d");
            }
            fs::create_dir_all(&deep).unwrap();
            fs::write(scratch.attempt(&id).edge(0), "half").unwrap();
        }
        let scratch = Scratch::open(folder.path()).unwrap();
        assert!(crate::recovered_outputs::restore(&scratch).is_empty());
        scratch.sweep().unwrap();
        assert_eq!(fs::read_dir(folder.path().join(TRASH)).unwrap().count(), 0);
    }

    #[test]
    fn folder_replaced_by_a_link_is_not_swept_through_it() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("precious"), "x").unwrap();
        let folder = tempfile::tempdir().unwrap();
        drop(Scratch::open(folder.path()).unwrap());
        for name in [TRASH, JOBS] {
            fs::remove_dir(folder.path().join(name)).unwrap();
            std::os::unix::fs::symlink(outside.path(), folder.path().join(name)).unwrap();
        }
        let scratch = Scratch::open(folder.path()).unwrap();
        scratch.sweep().unwrap();
        // While the worker runs, too.
        fs::remove_dir(folder.path().join(TRASH)).unwrap();
        std::os::unix::fs::symlink(outside.path(), folder.path().join(TRASH)).unwrap();
        let _ = scratch.sweep();
        assert!(outside.path().join("precious").exists());
    }

    #[test]
    fn leftovers_of_a_dead_worker_are_removed() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("precious"), "x").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let kept;
        {
            let scratch = Scratch::open(folder.path()).unwrap();
            let attempt = scratch.attempt(&attempt(1, 0));
            fs::create_dir_all(attempt.folder()).unwrap();
            fs::write(attempt.edge(0), "old").unwrap();
            std::os::unix::fs::symlink(outside.path(), attempt.folder().join("link")).unwrap();
            kept = scratch.artifact(Digest::of(b"binary"));
            fs::write(&kept, "binary").unwrap();
            fs::write(folder.path().join(ARTIFACTS).join(names::temporary("half".as_ref(), 7)), "").unwrap();
        }
        let scratch = Scratch::open(folder.path()).unwrap();
        scratch.sweep().unwrap();
        assert_eq!(fs::read_dir(folder.path().join(JOBS)).unwrap().count(), 0);
        assert_eq!(fs::read_dir(folder.path().join(TRASH)).unwrap().count(), 0);
        assert_eq!(fs::read_dir(folder.path().join(ARTIFACTS)).unwrap().count(), 1, "half a download is gone");
        assert!(kept.exists() && outside.path().join("precious").exists());
    }
}
