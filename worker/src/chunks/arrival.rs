//! Chunks that arrive: pieces from a client or another worker, and files of tasks that are kept.
//!
//! A stored chunk is whole and durable: it is verified, synced and renamed, and its folder is synced.

use super::shelf::{News, Shelf};
use super::{Chunks, gone};
use crate::error::disk_failure;
use crate::finished_part;
use crate::temporary::TemporaryFile;
use crate::writer::Writer;
use bytes::Bytes;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use tokio::sync::{AcquireError, OwnedSemaphorePermit};
use windrow_format::durable::{self, Durability};
use windrow_model::{Code, Digest, Failure, PartReport};

/// Chunks that callers store at a time. Each holds a blocking thread until its last piece has come, and reads for other
/// workers need threads, too.
pub(crate) const ARRIVALS_MAX: usize = 128;

/// A chunk that is arriving. Dropping it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Put {
    digest: Digest,
    path: PathBuf,
    damaged: PathBuf,
    writer: Writer<TemporaryFile>,
    shelf: Shelf,
    /// Stored by a client, for a put that may fail.
    for_client: bool,
}

impl Chunks {
    /// A permit to receive a chunk from a caller of this worker's port, held until the chunk is stored or dropped.
    pub(crate) async fn arrival(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        self.arrivals.clone().acquire_owned().await
    }

    /// Begins to receive the chunk with this digest from a client that puts a dataset.
    pub(crate) fn begin_for_client(&self, digest: Digest) -> Put {
        Put { for_client: true, ..self.begin(digest) }
    }

    /// Begins to receive the chunk with this digest.
    pub(crate) fn begin(&self, digest: Digest) -> Put {
        let path = self.scratch.chunk(digest);
        let place = path.clone();
        let writer = Writer::start(true, move || TemporaryFile::beside(&place));
        Put { digest, path, damaged: self.damaged(digest), writer, shelf: self.shelf.clone(), for_client: false }
    }

    /// Keeps the file of a finished part as a chunk, durable when this returns; the file itself stays. `None` if it is
    /// empty. Idempotent. Blocks.
    ///
    /// # Errors
    /// The file is not as its task has written it, or those of the disk.
    pub(crate) fn keep(&self, file: &Path, part: &PartReport) -> Result<Option<(Digest, u64)>, Failure> {
        let keep = || -> io::Result<Option<(Digest, u64)>> {
            let (opened, digest) = finished_part::open(file, part)?;
            let length = part.bytes;
            if length == 0 {
                return Ok(None);
            }
            durable::sync_file(&opened, Durability::Sync)?;
            let link = || match fs::hard_link(file, self.scratch.chunk(digest)) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                linked => linked,
            };
            self.shelf.redeem(digest, length, link)?;
            durable::sync_folder(&self.scratch.chunks(), Durability::Sync)?;
            Ok(Some((digest, length)))
        };
        keep().map_err(|e| disk_failure("keep", file, 0, &e))
    }
}

impl Put {
    /// Writes a piece; false if the disk failed, which `finish` reports.
    pub(crate) async fn write(&self, piece: Bytes) -> bool {
        self.writer.write(vec![piece]).await
    }

    /// Verifies the content and makes it durable.
    pub(crate) async fn finish(self) -> Result<(), Failure> {
        let Put { digest, path, damaged, writer, shelf, for_client } = self;
        let written = writer.finish().await.map_err(|e| disk_failure("write", &path, 0, &e))?;
        if written.digest != digest {
            let message = format!("chunk {digest} arrived with digest {}", written.digest);
            return Err(Failure::new(Code::BadRequest, message));
        }
        let place = path.clone();
        let placed = tokio::task::spawn_blocking(move || {
            durable::sync_file(written.file.file(), Durability::Sync)?;
            let length = written.file.file().metadata()?.len();
            let news = if for_client { News::Stored(digest, length) } else { News::Held(digest, length) };
            shelf.redeem_as(news, digest, || written.file.place(&place, Durability::NoSync))?;
            // A whole copy is here, so the damaged one is of no use.
            gone(fs::remove_file(damaged))?;
            place.parent().map_or(Ok(()), |folder| durable::sync_folder(folder, Durability::Sync))
        });
        placed.await.map_err(io::Error::other).flatten().map_err(|e| disk_failure("write", &path, 0, &e))
    }
}
