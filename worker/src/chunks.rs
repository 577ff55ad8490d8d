//! Chunks of datasets: files named by the digest of their content.
//!
//! ```text
//! chunks/DIGEST              a chunk that this worker holds
//! chunks-trash/DIGEST-TIME   unreferenced for long; deleted after its time (`trash.rs`), or restored
//! chunks-damaged/DIGEST      content did not match the name; kept until a whole copy is here, since disks also err for a while
//! ```
//! An acknowledged chunk is whole and survives a power cut (`chunks/arrival.rs`). A chunk that is stored again while it is being
//! deleted stays (`chunks/removal.rs`). Every change is news for the coordinator (`chunks/shelf.rs`), which counts on the copies that
//! were announced to it.

mod arrival;
mod check;
mod listing;
mod removal;
mod shelf;
mod trashed;

pub(crate) use arrival::ARRIVALS_MAX;
pub(crate) use shelf::{Doom, News};

use crate::scratch::Scratch;
use crate::trash;
use shelf::Shelf;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::Semaphore;
use windrow_format::durable;
use windrow_format::regular_file;
use windrow_model::{Code, Digest, Failure};

/// Folders beside `chunks`.
const TRASH: &str = "chunks-trash";
const DAMAGED: &str = "chunks-damaged";

/// A chunk's digest and length in bytes.
pub(crate) type Measured = (Digest, u64);

/// The chunks of this node.
#[derive(Clone, Debug)]
pub(crate) struct Chunks {
    scratch: Arc<Scratch>,
    shelf: Shelf,
    arrivals: Arc<Semaphore>,
}

impl Chunks {
    /// Chunks in this data folder. Blocks.
    pub(crate) fn new(scratch: Arc<Scratch>) -> Self {
        let chunks = Chunks { scratch, shelf: Shelf::default(), arrivals: Arc::new(Semaphore::new(ARRIVALS_MAX)) };
        let mut state = chunks.shelf.lock();
        let entries = fs::read_dir(chunks.trash_folder()).into_iter().flatten().flatten();
        state.trash.extend(entries.filter_map(|entry| trash::parse(entry.file_name().to_str()?)));
        // The chunks that are here now will be announced by `list`; chunks that appear later are verified first.
        state.announced.extend(digests_in(&chunks.scratch.chunks()).into_iter().flatten());
        drop(state);
        chunks
    }

    /// Opens a chunk that is here.
    pub(crate) async fn open(&self, digest: Digest) -> Result<File, Failure> {
        let chunks = self.clone();
        let open = move || {
            let opened = regular_file::open(&chunks.path(digest));
            if opened.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
                chunks.note_missing(digest);
            }
            opened
        };
        let opened = tokio::task::spawn_blocking(open).await.map_err(io::Error::other);
        opened.flatten().map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Failure::new(Code::FetchFailed, format!("chunk {digest} is not on this worker")),
            _ => Failure::new(Code::IoError, format!("cannot open chunk {digest}: {e}")),
        })
    }

    /// The path of a chunk that is here.
    pub(crate) fn path(&self, digest: Digest) -> PathBuf {
        self.scratch.chunk(digest)
    }

    /// The folder of all chunks.
    pub(crate) fn folder(&self) -> PathBuf {
        self.scratch.chunks()
    }

    fn trash_folder(&self) -> PathBuf {
        self.scratch.root().join(TRASH)
    }

    fn damaged(&self, digest: Digest) -> PathBuf {
        self.scratch.root().join(DAMAGED).join(digest.to_string())
    }
}

/// Digests of the chunks in a folder, which may be missing.
fn digests_in(folder: &Path) -> io::Result<Vec<Digest>> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        found.extend(entry?.file_name().to_str().and_then(|name| name.parse::<Digest>().ok()));
    }
    Ok(found)
}

fn make_parent(path: &Path) -> io::Result<()> {
    windrow_format::private::create_folders(durable::parent(path))
}

/// A missing file counts as removed.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64)
}

#[cfg(test)]
mod tests;
