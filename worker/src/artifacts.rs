//! Job binaries and side values: fetched once from the coordinator, verified, made executable, kept.
//!
//! Concurrent requests for one digest share one fetch. A file is read and compared with its digest before it is
//! trusted: a file of an earlier incarnation, because it was never synced, and a file that has changed since it was
//! last requested. Damaged and missing files are fetched from the coordinator again.

use crate::error::disk_failure;
use crate::scratch::Scratch;
use crate::sealed_script;
use crate::temporary::TemporaryFile;
use crate::writer::Writer;
use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::OnceCell;
use windrow_format::durable::Durability;
use windrow_format::regular_file;
use windrow_model::{Class, Code, Digest, Failure, FileIdentity};
use windrow_net::{Backoff, Connection, Patience, Silent, clients, from_status};
use windrow_proto::v1;
use windrow_store::identity;

const TRIES_MAX: u32 = 3;
/// Bound on attempts to open an artifact that changes every time.
const CHANGES_MAX: u32 = 10;
/// Silence after which the coordinator counts as gone.
const PROGRESS_DEADLINE: Duration = Duration::from_secs(20);
/// Read and execute, for the worker's user only. Artifacts are never written to again.
const MODE: u32 = 0o500;

/// The artifacts of this node.
#[derive(Debug)]
pub(crate) struct Artifacts {
    scratch: Arc<Scratch>,
    known: Mutex<HashMap<Digest, Known>>,
}

/// An artifact that was compared with its digest, opened.
#[derive(Clone, Debug)]
pub(crate) struct Executable {
    /// Path of the file, which may have been removed or replaced since. The program sees it as its own name.
    pub path: PathBuf,
    pub file: Arc<File>,
}

impl Executable {
    /// A file that needs no verification.
    #[cfg(test)]
    pub(crate) fn at(path: PathBuf) -> io::Result<Executable> {
        Ok(Executable { file: Arc::new(regular_file::open(&path)?), path })
    }
}

/// An artifact that was requested in this incarnation.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Set once the file was verified.
    whole: Arc<OnceCell<()>>,
    /// Metadata of the file when it was last handed out.
    given: Option<Look>,
}

/// The metadata that changes with the content or the mode of a file.
type Look = (FileIdentity, u32);

fn look(meta: &fs::Metadata) -> Look {
    (identity::of_metadata(meta), meta.mode())
}

impl Artifacts {
    /// Artifacts in this data folder.
    pub(crate) fn new(scratch: Arc<Scratch>) -> Self {
        Artifacts { scratch, known: Mutex::default() }
    }

    /// The path of an artifact, fetched from the coordinator if it is missing. Marks the artifact as used.
    pub(crate) async fn get(&self, digest: Digest, coordinator: Option<&Connection>) -> Result<PathBuf, Failure> {
        Ok(self.open(digest, coordinator).await?.path)
    }

    /// Like [`Artifacts::get`], with the verified file opened: the file at its path may be replaced later.
    pub(crate) async fn open(&self, digest: Digest, coordinator: Option<&Connection>) -> Result<Executable, Failure> {
        for _ in 0..CHANGES_MAX {
            let path = self.find(digest, coordinator).await?;
            let given = match self.give(digest, &path) {
                Some(file) => unchangeable(file, digest).await.map_err(|e| disk_failure("read", &path, 0, &e))?,
                None => None,
            };
            match given {
                Some(file) => return Ok(Executable { path, file: Arc::new(file) }),
                // The file has changed since it was verified.
                None => drop(self.lock().remove(&digest)),
            }
        }
        let message = format!("artifact {digest} changes again and again in this worker's data folder");
        Err(Failure::new(Code::IoError, message))
    }

    /// Marks an artifact as used, so that it is not collected, and opens it. `None` if the file has changed since it
    /// was verified.
    fn give(&self, digest: Digest, path: &Path) -> Option<File> {
        let mut known = self.lock();
        let known = known.get_mut(&digest)?;
        let given = || {
            let file = regular_file::open(path)?;
            if known.given.is_some_and(|given| file.metadata().is_ok_and(|meta| look(&meta) != given)) {
                return Ok(None);
            }
            // If the time cannot be set, the file may be collected too early.
            let _ = file.set_modified(SystemTime::now());
            let now = look(&file.metadata()?);
            io::Result::Ok(Some((file, now)))
        };
        let (file, now) = given().ok().flatten()?;
        known.given = Some(now);
        Some(file)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Deletes artifacts that are not in `used` and were last requested more than `unused_for` ago. Returns their
    /// number.
    pub(crate) fn collect(&self, used: &BTreeSet<Digest>, unused_for: Duration) -> io::Result<usize> {
        let mut deleted = 0;
        for entry in fs::read_dir(self.scratch.artifacts())? {
            let entry = entry?;
            // Downloads in progress have other names.
            let Some(digest) = entry.file_name().to_str().and_then(|name| name.parse::<Digest>().ok()) else {
                continue;
            };
            let mut known = self.lock();
            let age = entry.metadata()?.modified()?.elapsed().unwrap_or(Duration::ZERO);
            if !used.contains(&digest) && age >= unused_for {
                fs::remove_file(entry.path())?;
                known.remove(&digest);
                deleted += 1;
            }
        }
        Ok(deleted)
    }

    async fn find(&self, digest: Digest, coordinator: Option<&Connection>) -> Result<PathBuf, Failure> {
        let whole = self.lock().entry(digest).or_default().whole.clone();
        let path = self.scratch.artifact(digest);
        // If the fetching task fails or is dropped, the next one tries.
        let found = whole
            .get_or_try_init(|| async {
                let existing = path.clone();
                let seen = tokio::task::spawn_blocking(move || verified(&existing, digest)).await.ok().flatten();
                if let Some(seen) = seen {
                    self.lock().entry(digest).or_default().given = Some(seen);
                    return Ok(());
                }
                let Some(coordinator) = coordinator else {
                    let message = format!("artifact {digest} is not here, and the coordinator is not to be reached");
                    return Err(Failure::new(Code::Unreachable, message));
                };
                let mut backoff = Backoff::reconnect();
                loop {
                    match fetch(digest, &path, coordinator.clone()).await {
                        Err(e) if e.code.class() == Class::Retry && backoff.tries() + 1 < TRIES_MAX => {
                            tokio::time::sleep(backoff.next_delay()).await;
                        }
                        other => break other?,
                    }
                }
                // The written file is read once more, which also records its metadata.
                let fetched = path.clone();
                let seen = tokio::task::spawn_blocking(move || verified(&fetched, digest)).await.ok().flatten();
                let damaged = || Failure::new(Code::FetchFailed, format!("artifact {digest} is not what was written"));
                self.lock().entry(digest).or_default().given = Some(seen.ok_or_else(damaged)?);
                Ok(())
            })
            .await;
        if let Err(failure) = found {
            // Digests without a file are forgotten, unless another task requests the same one.
            self.lock().retain(|known, state| *known != digest || Arc::strong_count(&state.whole) > 2);
            return Err(failure);
        }
        Ok(path)
    }
}

/// A sealed copy of a script, or any other file as it is. `None` if the script does not have the digest.
async fn unchangeable(file: File, digest: Digest) -> io::Result<Option<File>> {
    if !sealed_script::is_script(&file)? {
        return Ok(Some(file));
    }
    tokio::task::spawn_blocking(move || sealed_script::seal(&file, digest)).await.map_err(io::Error::other)?
}

/// Metadata of the file if it has this digest and did not change while it was read.
fn verified(path: &Path, digest: Digest) -> Option<Look> {
    let read = || -> io::Result<Option<Look>> {
        let file = regular_file::open(path)?;
        file.set_permissions(Permissions::from_mode(MODE))?;
        let before = look(&file.metadata()?);
        let (found, _) = Digest::of_reader(&file)?;
        Ok((found == digest && look(&file.metadata()?) == before).then_some(before))
    };
    read().ok().flatten()
}

async fn fetch(digest: Digest, path: &Path, coordinator: Connection) -> Result<(), Failure> {
    let disk = |e: &io::Error| disk_failure("write", path, 0, e);
    let silent = |silent: Silent| {
        Failure::new(Code::Unreachable, format!("the coordinator stopped sending an artifact: {silent}"))
    };
    let mut patience = Patience::new(PROGRESS_DEADLINE);
    let request = v1::GetArtifactRequest { digest: Some(digest.into()) };
    let mut client = clients::session(coordinator);
    let answer = patience.wait(client.get_artifact(request), |_| 0).await.map_err(silent)?;
    let mut pieces = answer.map_err(|s| from_status(&s))?.into_inner();
    let place = path.to_path_buf();
    let writer = Writer::start(true, move || TemporaryFile::beside(&place));
    loop {
        let piece = patience.message(&mut pieces, |piece| piece.data.len()).await.map_err(silent)?;
        let Some(piece) = piece.map_err(|s| from_status(&s))? else { break };
        if !writer.write(vec![piece.data]).await {
            break;
        }
    }
    let written = writer.finish().await.map_err(|e| disk(&e))?;
    if written.digest != digest {
        let message = format!("the coordinator sent other bytes ({}) than artifact {digest}", written.digest);
        return Err(Failure::new(Code::FetchFailed, message));
    }
    let executable = written.file.file().set_permissions(Permissions::from_mode(MODE));
    executable.and_then(|()| written.file.place(path, Durability::NoSync)).map_err(|e| disk(&e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn damaged_artifact_is_withheld_and_repaired() {
        let folder = tempfile::tempdir().unwrap();
        let scratch = Arc::new(Scratch::open(folder.path()).unwrap());
        let artifacts = Artifacts::new(scratch.clone());
        let digest = Digest::of(b"binary");
        let path = scratch.artifact(digest);
        fs::write(&path, "binary").unwrap();
        for _ in 0..3 {
            assert_eq!(artifacts.get(digest, None).await.unwrap(), path);
        }
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        artifacts.get(digest, None).await.unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, MODE);
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        // Without a coordinator the file cannot be fetched.
        fs::write(&path, "binarY").unwrap();
        assert_eq!(artifacts.get(digest, None).await.unwrap_err().code, Code::Unreachable);
        fs::write(&path, "binary").unwrap();
        artifacts.get(digest, None).await.unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(artifacts.get(digest, None).await.unwrap_err().code, Code::Unreachable);
        assert_eq!(artifacts.lock().len(), 0, "what is not here is not remembered");
    }

    #[tokio::test]
    async fn opened_artifact_cannot_change() {
        use std::io::Read;
        let folder = tempfile::tempdir().unwrap();
        let scratch = Arc::new(Scratch::open(folder.path()).unwrap());
        let artifacts = Artifacts::new(scratch.clone());
        let digest = Digest::of(b"binary");
        let path = scratch.artifact(digest);
        fs::write(&path, "binary").unwrap();
        let opened = artifacts.open(digest, None).await.unwrap();
        fs::write(folder.path().join("other"), "other!").unwrap();
        fs::rename(folder.path().join("other"), &path).unwrap();
        let mut text = String::new();
        opened.file.as_ref().read_to_string(&mut text).unwrap();
        assert_eq!(text, "binary");
        assert_eq!(artifacts.open(digest, None).await.unwrap_err().code, Code::Unreachable);
    }

    #[tokio::test]
    async fn rewritten_script_starts_as_verified() {
        use std::io::Read;
        let folder = tempfile::tempdir().unwrap();
        let scratch = Arc::new(Scratch::open(folder.path()).unwrap());
        let artifacts = Artifacts::new(scratch.clone());
        let script = "#!/bin/sh\nexit 0\n";
        let digest = Digest::of(script.as_bytes());
        let path = scratch.artifact(digest);
        fs::write(&path, script).unwrap();
        let opened = artifacts.open(digest, None).await.unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        fs::write(&path, "#!/bin/sh\nexit 1\n").unwrap();
        let mut text = String::new();
        opened.file.as_ref().read_to_string(&mut text).unwrap();
        assert_eq!(text, script);
    }

    #[tokio::test]
    async fn unused_artifacts_expire() {
        let folder = tempfile::tempdir().unwrap();
        let scratch = Arc::new(Scratch::open(folder.path()).unwrap());
        let artifacts = Artifacts::new(scratch.clone());
        let day = Duration::from_secs(24 * 3600);
        let [used, old, asked] = ["used", "old", "asked"].map(|text| {
            let digest = Digest::of(text.as_bytes());
            fs::write(scratch.artifact(digest), text).unwrap();
            File::open(scratch.artifact(digest)).unwrap().set_modified(SystemTime::now() - 2 * day).unwrap();
            digest
        });
        artifacts.get(asked, None).await.unwrap();
        assert_eq!(artifacts.collect(&[used].into(), day).unwrap(), 1);
        let there = [used, old, asked].map(|d| scratch.artifact(d).exists());
        assert_eq!(there, [true, false, true]);
        // A file that existed before is looked for again.
        assert_eq!(artifacts.collect(&[used].into(), Duration::ZERO).unwrap(), 1);
        assert_eq!(artifacts.get(asked, None).await.unwrap_err().code, Code::Unreachable);
    }
}
