//! Chunks of datasets: files named by the digest of their content.
//!
//! A chunk that was acknowledged is whole and survives a power cut: verified, synced, renamed, and the folder synced,
//! before the answer.

use crate::error::disk_failure;
use crate::scratch::Scratch;
use crate::temporary::TemporaryFile;
use crate::writer::Writer;
use bytes::Bytes;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;
use windrow_format::durable::{self, Durability};
use windrow_model::{Code, Digest, Failure};

/// The chunks of this node.
#[derive(Clone, Debug)]
pub struct Chunks(Arc<Scratch>);

/// A chunk that is arriving. Dropping it leaves nothing behind.
#[derive(Debug)]
pub struct Put {
    digest: Digest,
    path: PathBuf,
    writer: Writer<TemporaryFile>,
}

impl Chunks {
    /// Chunks in this data folder.
    pub fn new(scratch: Arc<Scratch>) -> Self {
        Chunks(scratch)
    }

    /// Begins to take in a chunk that is to have this digest.
    pub fn begin(&self, digest: Digest) -> Put {
        let path = self.0.chunk(digest);
        let place = path.clone();
        let writer = Writer::start(true, move || TemporaryFile::beside(&place));
        Put { digest, path, writer }
    }

    /// A chunk that is here.
    pub async fn open(&self, digest: Digest) -> Result<File, Failure> {
        let path = self.0.chunk(digest);
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
        self.0.chunk(digest)
    }

    /// Keeps a file of this node as a chunk, durable when this returns; the file stays where it is, too. `None` if it is
    /// empty. May be repeated. Blocks.
    pub fn keep(&self, file: &Path) -> Result<Option<(Digest, u64)>, Failure> {
        let keep = || -> io::Result<Option<(Digest, u64)>> {
            let mut hasher = blake3::Hasher::new();
            let opened = File::open(file)?;
            hasher.update_reader(&opened)?;
            let (digest, length) = (Digest(*hasher.finalize().as_bytes()), hasher.count());
            if length == 0 {
                return Ok(None);
            }
            durable::sync_file(&opened, Durability::Sync)?;
            match fs::hard_link(file, self.0.chunk(digest)) {
                Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
                _ => durable::sync_folder(&self.0.chunks(), Durability::Sync)?,
            }
            Ok(Some((digest, length)))
        };
        keep().map_err(|e| disk_failure("keep", file, 0, &e))
    }

    /// Every chunk that is here. Blocks.
    pub fn list(&self) -> io::Result<Vec<Digest>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.0.chunks())? {
            // What has another name is on its way.
            found.extend(entry?.file_name().to_str().and_then(|name| name.parse::<Digest>().ok()));
        }
        Ok(found)
    }

    /// Deletes a chunk unless it was stored (again) after `before`. Blocks.
    pub fn remove(&self, digest: Digest, before: SystemTime) -> io::Result<()> {
        let path = self.0.chunk(digest);
        match fs::metadata(&path).and_then(|meta| meta.modified()) {
            Ok(stored) if stored > before => Ok(()),
            Ok(_) => fs::remove_file(&path),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
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
        let Put { digest, path, writer } = self;
        let written = writer.finish().await.map_err(|e| disk_failure("write", &path, 0, &e))?;
        if written.digest != digest {
            let message = format!("chunk {digest} arrived with digest {}", written.digest);
            return Err(Failure::new(Code::BadRequest, message));
        }
        let place = path.clone();
        let placed = tokio::task::spawn_blocking(move || written.file.place(&place, Durability::Sync));
        placed.await.map_err(io::Error::other).flatten().map_err(|e| disk_failure("write", &path, 0, &e))
    }
}
