//! The bytes of collected results on disk: one file for each job, `results/JOB`, to which its tasks' blobs are appended.
//!
//! One thread writes them, so that the driver does not block. Blobs that arrive at the same moment share one sync; a blob is durable
//! before its task counts as done. A tail that a crash has cut off has no reference.

use crate::error::Error;
use bytes::Bytes;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use windrow_format::durable::{self, Durability};
use windrow_format::space;
use windrow_format::{private, regular_file};
use windrow_model::{COLLECT_BYTES_MAX, Code, Digest, Failure, JobId, StoredBlob};

/// Most bytes in the file of a job: more than it may collect, since repeated attempts leave their blobs in it.
const FILE_BYTES_MAX: u64 = 4 * COLLECT_BYTES_MAX;
/// Commands that share a sync.
const BATCH_MAX: usize = 256;

/// Called on the thread when the blobs are durable.
type Stored = Box<dyn FnOnce(Result<Vec<StoredBlob>, Failure>) + Send>;

enum Command {
    Append { job: JobId, blobs: Vec<Vec<u8>>, done: Stored },
    Remove { job: JobId },
}

/// The thread's queue. It ends when this is dropped.
#[derive(Clone)]
pub(crate) struct ResultFiles {
    folder: PathBuf,
    queue: mpsc::Sender<Command>,
}

impl ResultFiles {
    /// Opens the folder, removes the files of all jobs but `known` ones, and starts the thread.
    pub(crate) fn open(folder: PathBuf, known: &BTreeSet<JobId>) -> Result<ResultFiles, Error> {
        private::create_folders(&folder).map_err(Error::data_dir(&folder, "make the folder of results"))?;
        for entry in fs::read_dir(&folder).map_err(Error::data_dir(&folder, "list the results"))?.flatten() {
            let job = entry.file_name().to_str().and_then(|name| name.parse::<JobId>().ok());
            if job.is_some_and(|job| !known.contains(&job)) {
                let _ = fs::remove_file(entry.path());
            }
        }
        let (queue, commands) = mpsc::channel();
        let own = folder.clone();
        std::thread::Builder::new()
            .name("results".into())
            .spawn(move || write_all(&own, &commands))
            .map_err(|e| Error::Driver(format!("no thread for results: {e}")))?;
        Ok(ResultFiles { folder, queue })
    }

    /// Appends blobs of a job, in this order.
    pub(crate) fn append(&self, job: JobId, blobs: Vec<Vec<u8>>, done: Stored) {
        // Without the thread the coordinator is ending.
        let _ = self.queue.send(Command::Append { job, blobs, done });
    }

    /// Removes the file of the job.
    pub(crate) fn remove(&self, job: JobId) {
        let _ = self.queue.send(Command::Remove { job });
    }

    /// Passes the pieces of a stored blob, each of at most `piece_bytes`, to `give` until that returns false. Fails if the bytes are
    /// not the stored ones. Blocks.
    pub(crate) fn read(
        &self,
        job: JobId,
        blob: &StoredBlob,
        piece_bytes: usize,
        give: &mut dyn FnMut(Bytes) -> bool,
    ) -> Result<(), Failure> {
        let path = self.folder.join(job.to_string());
        let failed = |what: String| Failure::new(Code::IoError, format!("{}: {what}", path.display()));
        let file = regular_file::open(&path).map_err(|e| failed(e.to_string()))?;
        let mut hasher = blake3::Hasher::new();
        let mut read = 0;
        while read < blob.length {
            let bytes = (blob.length - read).min(piece_bytes as u64) as usize;
            let mut piece = vec![0; bytes];
            file.read_exact_at(&mut piece, blob.offset + read).map_err(|e| failed(e.to_string()))?;
            hasher.update(&piece);
            read += bytes as u64;
            if read == blob.length && Digest(*hasher.finalize().as_bytes()) != blob.digest {
                return Err(failed(format!("the result at {} does not have its checksum", blob.offset)));
            }
            if !give(piece.into()) {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn write_all(folder: &Path, commands: &mpsc::Receiver<Command>) {
    while let Ok(first) = commands.recv() {
        let mut batch = vec![first];
        while batch.len() < BATCH_MAX
            && let Ok(next) = commands.try_recv()
        {
            batch.push(next);
        }
        let mut open: BTreeMap<JobId, Open> = BTreeMap::new();
        let mut written: Vec<(JobId, Stored, Result<Vec<StoredBlob>, Failure>)> = Vec::new();
        for command in batch {
            match command {
                Command::Append { job, blobs, done } => {
                    let stored = append(folder, &mut open, job, &blobs);
                    written.push((job, done, stored));
                }
                Command::Remove { job } => {
                    open.remove(&job);
                    let _ = fs::remove_file(folder.join(job.to_string()));
                }
            }
        }
        let mut failed: BTreeMap<JobId, Failure> = BTreeMap::new();
        let made = open.values().any(|open| open.is_new);
        for (job, open) in &open {
            if let Err(e) = open.file.sync_data() {
                failed.insert(*job, failure(&folder.join(job.to_string()), &e));
            }
        }
        let folder_failed = match made {
            true => durable::sync_folder(folder, Durability::Sync).err().map(|e| failure(folder, &e)),
            false => None,
        };
        for (job, done, stored) in written {
            let failed = failed.get(&job).or(folder_failed.as_ref());
            done(failed.map_or(stored, |failure| Err(failure.clone())));
        }
    }
}

struct Open {
    file: File,
    length: u64,
    is_new: bool,
}

fn append(
    folder: &Path,
    open: &mut BTreeMap<JobId, Open>,
    job: JobId,
    blobs: &[Vec<u8>],
) -> Result<Vec<StoredBlob>, Failure> {
    let path = folder.join(job.to_string());
    let fail = |e: io::Error| failure(&path, &e);
    let Open { file, length, .. } = match open.entry(job) {
        Entry::Occupied(open) => open.into_mut(),
        Entry::Vacant(new) => {
            let is_new = !path.exists();
            let file = regular_file::open_with(private::options().append(true).create(true), &path).map_err(fail)?;
            let length = file.metadata().map_err(fail)?.len();
            new.insert(Open { file, length, is_new })
        }
    };
    let bytes: u64 = blobs.iter().map(|blob| blob.len() as u64).sum();
    if *length + bytes > FILE_BYTES_MAX {
        let what = format!("the attempts of the job have collected more than {FILE_BYTES_MAX} bytes in all");
        return Err(Failure::new(Code::CollectTooLarge, what));
    }
    // The journal's reserve of space stays free.
    space::leave_spare(&path, bytes).map_err(fail)?;
    let mut stored = Vec::new();
    for blob in blobs {
        windrow_failpoint::failpoint!("results.append").and_then(|()| file.write_all(blob)).map_err(|e| {
            // What was written in part is passed over.
            *length = file.metadata().map_or(*length, |meta| meta.len());
            fail(e)
        })?;
        stored.push(StoredBlob { offset: *length, length: blob.len() as u64, digest: Digest::of(blob) });
        *length += blob.len() as u64;
    }
    Ok(stored)
}

fn failure(path: &Path, e: &io::Error) -> Failure {
    let code = if space::is_full(e) { Code::NoSpace } else { Code::IoError };
    Failure::new(code, format!("{}: cannot store a result: {}", path.display(), space::with_free_space(e, path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> JobId {
        JobId::from_bytes([n; 16])
    }
    fn stored(files: &ResultFiles, job: JobId, blobs: &[&[u8]]) -> Result<Vec<StoredBlob>, Failure> {
        let (answers, answer) = mpsc::channel();
        files.append(job, blobs.iter().map(|b| b.to_vec()).collect(), Box::new(move |r| drop(answers.send(r))));
        answer.recv().unwrap()
    }
    fn read(files: &ResultFiles, job: JobId, blob: &StoredBlob) -> Result<Vec<u8>, Failure> {
        let mut all = Vec::new();
        files.read(job, blob, 3, &mut |piece| {
            assert!(piece.len() <= 3);
            all.extend_from_slice(&piece);
            true
        })?;
        Ok(all)
    }

    #[test]
    fn results_leave_room_for_the_journal() {
        let Some(disk) = crate::small_disk::SmallDisk::mount(4 << 20) else { return };
        let files = ResultFiles::open(disk.path().join("results"), &BTreeSet::new()).unwrap();
        let blob = vec![1; 256 << 10];
        let failure = (0..100).find_map(|n| stored(&files, id(n), &[&blob]).err()).unwrap();
        assert_eq!(failure.code, Code::NoSpace, "{failure:?}");
        let spare = space::spare_bytes(4 << 20);
        assert!(disk.free_bytes() >= spare, "{} of {spare} bytes", disk.free_bytes());
    }

    #[test]
    fn stored_blobs_read_back_in_pieces_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let files = ResultFiles::open(dir.path().join("results"), &BTreeSet::new()).unwrap();
        let blobs = stored(&files, id(1), &[b"first", b"", b"second one"]).unwrap();
        let more = stored(&files, id(1), &[b"third"]).unwrap();
        stored(&files, id(2), &[b"other"]).unwrap();
        drop(files);
        let files = ResultFiles::open(dir.path().join("results"), &BTreeSet::from([id(1)])).unwrap();
        let all: Vec<_> = blobs.iter().chain(&more).map(|b| read(&files, id(1), b).unwrap()).collect();
        assert_eq!(all, [&b"first"[..], b"", b"second one", b"third"]);
        assert!(!dir.path().join("results").join(id(2).to_string()).exists(), "no job has it");
        std::fs::write(dir.path().join("results").join(id(1).to_string()), b"fIrst").unwrap();
        assert_eq!(read(&files, id(1), &blobs[0]).unwrap_err().code, Code::IoError);
    }
}
