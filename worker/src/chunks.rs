//! Chunks of datasets: files named by the digest of their content.
//!
//! A chunk that was acknowledged is whole and survives a power cut: verified, synced, renamed, and the folder synced,
//! before the answer.
//!
//! Deleting takes a while, and what is to be deleted may be stored again meanwhile. So an order to delete *dooms* chunks,
//! whoever stores one or finds it here redeems it, and only what is still doomed when its turn comes is deleted.

use crate::error::disk_failure;
use crate::scratch::Scratch;
use crate::temporary::TemporaryFile;
use crate::writer::Writer;
use bytes::Bytes;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use windrow_format::durable::{self, Durability};
use windrow_model::{Code, Digest, Failure};
use windrow_store::identity;

/// The chunks of this node.
#[derive(Clone, Debug)]
pub struct Chunks {
    scratch: Arc<Scratch>,
    doomed: Doomed,
    /// Found to be other than their names say, and removed, since that was last asked for.
    damaged: Arc<Mutex<Vec<Digest>>>,
}

/// Chunks that are to be deleted. Files appear under a chunk's name, and go, only while this is locked.
#[derive(Clone, Debug, Default)]
struct Doomed(Arc<Mutex<HashSet<Digest>>>);

impl Doomed {
    fn lock(&self) -> MutexGuard<'_, HashSet<Digest>> {
        // Nobody leaves it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a chunk's file appear: it stays, whatever was to be deleted.
    fn redeem<T>(&self, digest: Digest, store: impl FnOnce() -> T) -> T {
        let mut doomed = self.lock();
        doomed.remove(&digest);
        store()
    }
}

/// A chunk that is arriving. Dropping it leaves nothing behind.
#[derive(Debug)]
pub struct Put {
    digest: Digest,
    path: PathBuf,
    writer: Writer<TemporaryFile>,
    doomed: Doomed,
}

impl Chunks {
    /// Chunks in this data folder.
    pub fn new(scratch: Arc<Scratch>) -> Self {
        Chunks { scratch, doomed: Doomed::default(), damaged: Arc::default() }
    }

    /// Begins to take in a chunk that is to have this digest.
    pub fn begin(&self, digest: Digest) -> Put {
        let path = self.scratch.chunk(digest);
        let place = path.clone();
        let writer = Writer::start(true, move || TemporaryFile::beside(&place));
        Put { digest, path, writer, doomed: self.doomed.clone() }
    }

    /// A chunk that is here.
    pub async fn open(&self, digest: Digest) -> Result<File, Failure> {
        let path = self.scratch.chunk(digest);
        let opened = tokio::task::spawn_blocking(move || File::open(path)).await.map_err(io::Error::other);
        opened.flatten().map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Failure::new(Code::FetchFailed, format!("chunk {digest} is not on this worker")),
            _ => Failure::new(Code::IoError, format!("cannot open chunk {digest}: {e}")),
        })
    }
}

impl Chunks {
    /// Where a chunk lies once it is here.
    pub fn path(&self, digest: Digest) -> PathBuf {
        self.scratch.chunk(digest)
    }

    /// Keeps a file of this node as a chunk, durable when this returns; the file stays where it is, too. `None` if it is
    /// empty. May be repeated. Blocks.
    pub fn keep(&self, file: &Path) -> Result<Option<(Digest, u64)>, Failure> {
        let keep = || -> io::Result<Option<(Digest, u64)>> {
            let opened = File::open(file)?;
            let (digest, length) = Digest::of_reader(&opened)?;
            if length == 0 {
                return Ok(None);
            }
            durable::sync_file(&opened, Durability::Sync)?;
            match self.doomed.redeem(digest, || fs::hard_link(file, self.scratch.chunk(digest))) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                _ => durable::sync_folder(&self.scratch.chunks(), Durability::Sync)?,
            }
            Ok(Some((digest, length)))
        };
        keep().map_err(|e| disk_failure("keep", file, 0, &e))
    }

    /// If a chunk is here, it stays. True if it was to be deleted.
    pub async fn keep_if_here(&self, digest: Digest) -> Option<bool> {
        let chunks = self.clone();
        let look = move || {
            let mut doomed = chunks.doomed.lock();
            chunks.path(digest).is_file().then(|| doomed.remove(&digest))
        };
        tokio::task::spawn_blocking(look).await.ok().flatten()
    }

    /// Reads a chunk that is here, and compares it with its name. One that is damaged, or cannot be read, goes. Disks lose bits: a
    /// job must not read what nobody has looked at since it was written.
    pub async fn is_whole(&self, digest: Digest) -> bool {
        let chunks = self.clone();
        tokio::task::spawn_blocking(move || chunks.check(digest)).await.unwrap_or(false)
    }

    fn check(&self, digest: Digest) -> bool {
        let Ok(file) = File::open(self.path(digest)) else { return false };
        if Digest::of_reader(&file).is_ok_and(|(found, _)| found == digest) {
            return true;
        }
        let _doomed = self.doomed.lock();
        // Somebody else may have noticed it, too, and have got a good copy by now.
        let is_it = identity::of_file(&file).and_then(|read| identity::same(&self.path(digest), &read));
        if is_it.unwrap_or(false) {
            tracing::error!("chunk {digest} is damaged on this disk: removed");
            let _ = fs::remove_file(self.path(digest));
            self.damaged.lock().unwrap_or_else(PoisonError::into_inner).push(digest);
        }
        false
    }

    /// Chunks that were damaged, each once.
    pub fn take_damaged(&self) -> Vec<Digest> {
        std::mem::take(&mut *self.damaged.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Every chunk that is here to stay. Blocks.
    pub fn list(&self) -> io::Result<Vec<Digest>> {
        // First: what is deleted while this looks is not told. What is redeemed then, whoever stores it tells.
        let doomed = self.doomed.lock().clone();
        let mut found = Vec::new();
        for entry in fs::read_dir(self.scratch.chunks())? {
            // What has another name is on its way.
            found.extend(entry?.file_name().to_str().and_then(|name| name.parse::<Digest>().ok()));
        }
        found.retain(|digest| !doomed.contains(digest));
        Ok(found)
    }

    /// These are to be deleted; each is with `remove`, unless it is stored again before.
    pub fn doom(&self, digests: &[Digest]) {
        self.doomed.lock().extend(digests);
    }

    /// Deletes a chunk if it is still doomed. Blocks.
    pub fn remove(&self, digest: Digest) -> io::Result<()> {
        let mut doomed = self.doomed.lock();
        if !doomed.remove(&digest) {
            return Ok(());
        }
        match fs::remove_file(self.path(digest)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}

impl Put {
    /// Takes in a piece; false if the disk failed, which `finish` explains.
    pub async fn write(&self, piece: Bytes) -> bool {
        self.writer.write(vec![piece]).await
    }

    /// Verifies what came and makes it durable.
    pub async fn finish(self) -> Result<(), Failure> {
        let Put { digest, path, writer, doomed } = self;
        let written = writer.finish().await.map_err(|e| disk_failure("write", &path, 0, &e))?;
        if written.digest != digest {
            let message = format!("chunk {digest} arrived with digest {}", written.digest);
            return Err(Failure::new(Code::BadRequest, message));
        }
        let place = path.clone();
        let placed = tokio::task::spawn_blocking(move || {
            durable::sync_file(written.file.file(), Durability::Sync)?;
            doomed.redeem(digest, || written.file.place(&place, Durability::NoSync))?;
            place.parent().map_or(Ok(()), |folder| durable::sync_folder(folder, Durability::Sync))
        });
        placed.await.map_err(io::Error::other).flatten().map_err(|e| disk_failure("write", &path, 0, &e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Here {
        folder: tempfile::TempDir,
        chunks: Chunks,
    }

    impl Here {
        fn new() -> Here {
            let folder = tempfile::tempdir().unwrap();
            let chunks = Chunks::new(Arc::new(Scratch::open(&folder.path().join("data")).unwrap()));
            Here { folder, chunks }
        }
        /// Keeps a file of a task's as a chunk.
        fn keep(&self, text: &str) -> Digest {
            let file = self.folder.path().join("part");
            fs::write(&file, text).unwrap();
            self.chunks.keep(&file).unwrap().unwrap().0
        }
        async fn put(&self, text: &'static str) -> Digest {
            let digest = Digest::of(text.as_bytes());
            let put = self.chunks.begin(digest);
            assert!(put.write(Bytes::from_static(text.as_bytes())).await);
            put.finish().await.unwrap();
            digest
        }
        fn is_here(&self, digest: Digest) -> bool {
            self.chunks.path(digest).is_file()
        }
    }

    /// A job's output is what a dataset was that is being deleted: the order came first, the chunk stays.
    #[tokio::test]
    async fn what_is_stored_again_or_found_after_an_order_to_delete_stays() {
        let here = Here::new();
        let all = [here.keep("kept"), here.keep("put"), here.keep("found"), here.keep("gone")];
        here.chunks.doom(&all);
        assert_eq!(here.chunks.list().unwrap(), [], "nobody is told of what is about to go");
        here.keep("kept");
        here.put("put").await;
        assert_eq!(here.chunks.keep_if_here(all[2]).await, Some(true));
        all.iter().for_each(|digest| here.chunks.remove(*digest).unwrap());
        assert_eq!(all.map(|digest| here.is_here(digest)), [true, true, true, false]);
        assert_eq!(here.chunks.keep_if_here(all[3]).await, None);
        assert_eq!(here.chunks.keep_if_here(all[0]).await, Some(false));
        assert_eq!(here.chunks.list().unwrap().len(), 3);
        // The next order is another one.
        here.chunks.doom(&all);
        all.iter().for_each(|digest| here.chunks.remove(*digest).unwrap());
        assert_eq!(here.chunks.list().unwrap(), []);
    }

    #[tokio::test]
    async fn a_chunk_that_is_not_what_its_name_says_goes_and_is_told_once() {
        let here = Here::new();
        let [good, bad] = [here.keep("good"), here.put("bad").await];
        assert!(here.chunks.is_whole(good).await && here.chunks.is_whole(bad).await);
        let path = here.chunks.path(bad);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "bat").unwrap();
        assert!(!here.chunks.is_whole(bad).await);
        assert!(!here.is_here(bad) && here.is_here(good));
        assert_eq!((here.chunks.take_damaged(), here.chunks.take_damaged()), (vec![bad], vec![]));
        assert!(!here.chunks.is_whole(bad).await, "it is not here");
        here.put("bad").await;
        assert!(here.chunks.is_whole(bad).await);
        assert!(here.chunks.take_damaged().is_empty());
    }

    /// However a deletion and a publication interleave: what was kept is there.
    #[test]
    fn a_chunk_that_is_kept_while_it_is_deleted_is_there() {
        let here = Here::new();
        let digest = here.keep("same bytes again");
        for _ in 0..200 {
            here.chunks.doom(&[digest]);
            std::thread::scope(|scope| {
                scope.spawn(|| here.chunks.remove(digest).unwrap());
                here.keep("same bytes again");
            });
            assert!(here.is_here(digest));
        }
    }
}
