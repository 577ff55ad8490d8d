//! Binaries and side values by content: `artifacts/DIGEST`, each file whole, verified and durable.
//!
//! A requested file is compared with its digest, unless it has not changed since the last comparison. A damaged file is removed:
//! the next submit uploads it again, and a running job that needs it fails.
//!
//! Every function blocks; callers use a blocking thread.

use crate::error::Error;
use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use windrow_failpoint::failpoint;
use windrow_format::durable::{self, Durability};
use windrow_format::private;
use windrow_format::regular_file;
use windrow_format::space;
use windrow_model::{Code, Digest, Escape, Failure, FileIdentity};
use windrow_store::identity;

/// Most bytes of an artifact.
const ARTIFACT_BYTES_MAX: u64 = 16 << 30;
const TEMPORARY: &str = ".new-";

/// The folder of all artifacts.
#[derive(Clone, Debug)]
pub(crate) struct Artifacts {
    folder: PathBuf,
    seen: Seen,
}

/// Files that were seen to be whole. An answer about an artifact and a deletion lock it: an artifact that was reported as there is not
/// deleted for its old age.
type Seen = Arc<Mutex<HashMap<Digest, FileIdentity>>>;

/// An upload of an artifact; it leaves nothing unless it is finished.
pub(crate) struct Upload {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    digest: Digest,
    hasher: blake3::Hasher,
    bytes: u64,
    finished: bool,
    seen: Seen,
}

impl Artifacts {
    /// Opens the folder, or makes it, and removes the files of broken uploads.
    pub(crate) fn open(folder: PathBuf) -> Result<Self, Error> {
        private::create_folders(&folder).map_err(Error::data_dir(&folder, "make the folder of artifacts"))?;
        let entries = fs::read_dir(&folder).map_err(Error::data_dir(&folder, "read the folder of artifacts"))?;
        for entry in entries.flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(Artifacts { folder, seen: Arc::default() })
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.folder.join(digest.to_string())
    }

    /// Whether this artifact is stored. If so, its age begins anew, since the caller is about to use it.
    ///
    /// # Errors
    /// It cannot be read, which an upload may mend.
    pub(crate) fn is_stored(&self, digest: Digest) -> Result<bool, Failure> {
        self.find(digest).map(|found| found.is_some()).map_err(|e| failed(&self.path(digest), &e))
    }

    /// An artifact that is stored and undamaged. Removes a damaged one.
    fn find(&self, digest: Digest) -> io::Result<Option<File>> {
        let mut seen = lock(&self.seen);
        let path = self.path(digest);
        let mut file = match regular_file::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        // What cannot be read is not known to be damaged.
        let is_whole = seen.get(&digest) == Some(&identity::of_file(&file)?) || Digest::of_reader(&file)?.0 == digest;
        if !is_whole {
            tracing::error!("artifact {digest} is damaged: removed");
            seen.remove(&digest);
            fs::remove_file(&path)?;
            return Ok(None);
        }
        // Without the new time it may have to be uploaded again one day.
        let _ = file.set_modified(SystemTime::now());
        seen.insert(digest, identity::of_file(&file)?);
        file.rewind()?;
        Ok(Some(file))
    }

    /// Deletes artifacts that are not in `used` and that no call has asked for in `unused_for`; returns their number. Uploads in progress
    /// are no artifacts yet.
    pub(crate) fn collect(&self, used: &BTreeSet<Digest>, unused_for: Duration) -> io::Result<usize> {
        let mut deleted = 0;
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let digest = entry.file_name().to_str().and_then(|name| name.parse::<Digest>().ok());
            if digest.is_none_or(|digest| used.contains(&digest)) {
                continue;
            }
            let mut seen = lock(&self.seen);
            let age = entry.metadata()?.modified()?.elapsed().unwrap_or(Duration::ZERO);
            if age >= unused_for {
                fs::remove_file(entry.path())?;
                digest.map(|digest| seen.remove(&digest));
                deleted += 1;
            }
        }
        Ok(deleted)
    }

    /// The artifact's bytes.
    pub(crate) fn read(&self, digest: Digest) -> Result<File, Failure> {
        let found = self.find(digest).map_err(|e| failed(&self.path(digest), &e))?;
        found.ok_or_else(|| {
            let message = format!("there is no artifact {digest}, or it was damaged; submit the job again");
            Failure::new(Code::BadBinary, message)
        })
    }

    /// Begins to store an artifact.
    pub(crate) fn upload(&self, digest: Digest) -> Result<Upload, Failure> {
        let temporary = self.folder.join(format!("{TEMPORARY}{}", uuid::Uuid::new_v4().simple()));
        // The folder may have been removed.
        let made = private::create_folders(&self.folder).and_then(|()| private::create_new(&temporary));
        let file = made.map_err(|e| failed(&temporary, &e))?;
        let path = self.path(digest);
        Ok(Upload {
            file,
            temporary,
            path,
            digest,
            hasher: blake3::Hasher::new(),
            bytes: 0,
            finished: false,
            seen: self.seen.clone(),
        })
    }
}

impl Upload {
    /// Takes the next bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.bytes += bytes.len() as u64;
        if self.bytes > ARTIFACT_BYTES_MAX {
            let what = format!("an artifact has more than {ARTIFACT_BYTES_MAX} bytes");
            return Err(Failure::new(Code::BadRequest, what));
        }
        self.hasher.update(bytes);
        // The journal's reserve of space stays free.
        space::leave_spare(&self.temporary, bytes.len() as u64).map_err(|e| failed(&self.temporary, &e))?;
        failpoint!("artifact.write").and_then(|()| self.file.write_all(bytes)).map_err(|e| failed(&self.temporary, &e))
    }

    /// Compares the digest and makes the artifact durable. Nothing is stored if it is not what was announced.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        let found = Digest(*self.hasher.finalize().as_bytes());
        if found != self.digest {
            let what = format!("the upload of {} has other bytes: their digest is {found}", self.digest);
            return Err(Failure::new(Code::BadRequest, what));
        }
        let synced = failpoint!("artifact.sync").and_then(|()| durable::sync_file(&self.file, Durability::Sync));
        synced.map_err(|e| failed(&self.path, &e))?;
        let mut seen = lock(&self.seen);
        durable::rename(&self.temporary, &self.path, Durability::Sync).map_err(|e| failed(&self.path, &e))?;
        self.finished = true;
        if let Ok(whole) = identity::of_file(&self.file) {
            seen.insert(self.digest, whole);
        }
        drop(seen);
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.finished {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

fn lock<T>(seen: &Mutex<T>) -> MutexGuard<'_, T> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(path: &Path, e: &io::Error) -> Failure {
    let code = if space::is_full(e) { Code::NoSpace } else { Code::IoError };
    Failure::new(code, format!("cannot store {}: {}", path.escaped(), space::with_free_space(e, path)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn upload_leaves_room_for_the_journal() {
        let Some(disk) = crate::small_disk::SmallDisk::mount(4 << 20) else { return };
        let artifacts = Artifacts::open(disk.path().join("artifacts")).unwrap();
        let bytes = vec![1; 64 << 10];
        let mut upload = artifacts.upload(Digest::of(&bytes)).unwrap();
        let failure = (0..100).find_map(|_| upload.write(&bytes).err()).unwrap();
        assert_eq!(failure.code, Code::NoSpace, "{failure:?}");
        let spare = space::spare_bytes(4 << 20);
        assert!(disk.free_bytes() >= spare, "{} of {spare} bytes", disk.free_bytes());
        drop(upload);
        let mut whole = artifacts.upload(Digest::of(&bytes)).unwrap();
        whole.write(&bytes).unwrap();
        whole.finish().unwrap();
    }

    #[test]
    fn unused_artifacts_are_deleted_and_uploads_stay() {
        let dir = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::open(dir.path().to_path_buf()).unwrap();
        let day = Duration::from_secs(24 * 3600);
        let [used, old, asked, new] = ["used", "old", "asked", "new"].map(|text| {
            let digest = Digest::of(text.as_bytes());
            let mut upload = artifacts.upload(digest).unwrap();
            upload.write(text.as_bytes()).unwrap();
            upload.finish().unwrap();
            if text != "new" {
                let file = File::open(artifacts.path(digest)).unwrap();
                file.set_modified(SystemTime::now() - 2 * day).unwrap();
            }
            digest
        });
        let mut under_way = artifacts.upload(Digest::of(b"under way")).unwrap();
        under_way.write(b"under").unwrap();
        under_way.file.set_modified(SystemTime::now() - 2 * day).unwrap();
        assert!(artifacts.is_stored(asked).unwrap());
        assert_eq!(artifacts.collect(&[used].into(), day).unwrap(), 1);
        assert_eq!([used, old, asked, new].map(|d| artifacts.is_stored(d).unwrap()), [true, false, true, true]);
        under_way.write(b" way").unwrap();
        under_way.finish().unwrap();
        assert_eq!(artifacts.collect(&BTreeSet::new(), Duration::ZERO).unwrap(), 4);
    }

    #[test]
    fn artifact_that_was_reported_is_not_deleted_for_its_age() {
        let dir = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::open(dir.path().to_path_buf()).unwrap();
        let digest = Digest::of(b"binary");
        let hour = Duration::from_secs(3600);
        for _ in 0..500 {
            fs::write(artifacts.path(digest), "binary").unwrap();
            let file = File::open(artifacts.path(digest)).unwrap();
            file.set_modified(SystemTime::now() - 2 * hour).unwrap();
            let is_there = std::thread::scope(|scope| {
                let asked = scope.spawn(|| artifacts.is_stored(digest).unwrap());
                artifacts.collect(&BTreeSet::new(), hour).unwrap();
                asked.join().unwrap()
            });
            assert!(!is_there || artifacts.path(digest).exists());
        }
    }

    #[test]
    fn damaged_artifact_can_be_uploaded_again() {
        let dir = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::open(dir.path().to_path_buf()).unwrap();
        let digest = Digest::of(b"binary");
        for damage in [b"binarY".as_slice(), b"bin", b""] {
            let mut upload = artifacts.upload(digest).unwrap();
            upload.write(b"binary").unwrap();
            upload.finish().unwrap();
            for _ in 0..2 {
                let mut bytes = Vec::new();
                artifacts.read(digest).unwrap().read_to_end(&mut bytes).unwrap();
                assert!(bytes == b"binary" && artifacts.is_stored(digest).unwrap());
            }
            fs::write(artifacts.path(digest), damage).unwrap();
            assert_eq!(artifacts.read(digest).unwrap_err().code, Code::BadBinary);
            assert!(!artifacts.is_stored(digest).unwrap());
            fs::remove_dir_all(dir.path()).unwrap();
        }
    }

    #[test]
    fn artifact_appears_whole_and_with_its_digest() {
        let dir = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::open(dir.path().join("artifacts")).unwrap();
        let digest = Digest::of(b"binary");
        assert_eq!(artifacts.read(digest).unwrap_err().code, Code::BadBinary);

        let mut wrong = artifacts.upload(digest).unwrap();
        wrong.write(b"other").unwrap();
        assert_eq!(wrong.finish().unwrap_err().code, Code::BadRequest);
        let mut broken = artifacts.upload(digest).unwrap();
        broken.write(b"bin").unwrap();
        drop(broken);
        assert!(!artifacts.is_stored(digest).unwrap());
        assert_eq!(fs::read_dir(dir.path().join("artifacts")).unwrap().count(), 0);

        for _ in 0..2 {
            let mut upload = artifacts.upload(digest).unwrap();
            upload.write(b"bin").unwrap();
            upload.write(b"ary").unwrap();
            upload.finish().unwrap();
        }
        let mut bytes = Vec::new();
        artifacts.read(digest).unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"binary");
        assert_eq!(fs::read_dir(dir.path().join("artifacts")).unwrap().count(), 1);
    }

    /// The submit of a job whose binary could not be opened was refused with the advice to build it anew.
    #[test]
    fn artifact_that_cannot_be_read_is_an_error_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::open(dir.path().to_path_buf()).unwrap();
        let digest = Digest::of(b"binary");
        fs::create_dir(artifacts.path(digest)).unwrap();
        assert_eq!(artifacts.is_stored(digest).unwrap_err().code, Code::IoError);
        assert_eq!(artifacts.read(digest).unwrap_err().code, Code::IoError);
        assert!(artifacts.path(digest).is_dir());
    }
}
