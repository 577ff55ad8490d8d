//! The cluster that a data folder belongs to, and the newest state of its journal that this worker has seen.
//!
//! ```text
//! cluster    the cluster's id, epoch, nonce and revision of the journal; replaced as a whole, and synced
//! chunks/    marked with the id once more (`chunks_mark.rs`)
//! ```
//! An order to delete chunks counts only if it comes from this cluster and from a journal that is not behind: chunks
//! that a newer journal refers to look like garbage to an older one. The files are durable before such an order is
//! carried out.

use crate::chunks_mark;
use crate::error::Error;
use crate::note_names::CLUSTER;
use crate::scratch::Scratch;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use windrow_format::durable::{self, Durability};
use windrow_format::regular_file;
use windrow_model::{ClusterId, Code, Epoch, Failure, Seen};

/// The cluster as recorded in a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// `None` before the folder has joined a cluster.
    pub cluster: Option<ClusterId>,
    pub seen: Seen,
}

/// The membership of an open data folder.
#[derive(Debug)]
pub(crate) struct Membership {
    file: PathBuf,
    chunks: PathBuf,
    known: Mutex<Known>,
    /// Changes that the journal of this session has recorded.
    heard: AtomicU64,
    /// Whether a coordinator of the cluster has this worker's session.
    in_session: AtomicBool,
}

impl Membership {
    /// Reads the folder. Blocks.
    ///
    /// # Errors
    /// A malformed file; chunks of another cluster than the folder's (`CLUSTER_MISMATCH`).
    pub(crate) fn open(scratch: &Scratch) -> Result<Membership, Error> {
        let (file, chunks) = (scratch.root().join(CLUSTER), scratch.chunks());
        let wrong = |path: &Path| {
            let path = path.to_path_buf();
            move |source| Error::DataDir { path, source }
        };
        let of_folder = read(&file).map_err(wrong(&file))?;
        let of_chunks = chunks_mark::read(&chunks).map_err(wrong(&chunks))?;
        let known = match (of_folder, of_chunks) {
            (Some(Known { cluster: Some(folder), .. }), Some(marked)) if folder != marked => {
                return Err(Error::OtherClustersChunks { folder: chunks, chunks: marked, cluster: folder });
            }
            // Copies of folders lose marks.
            (Some(known), _) => known,
            (None, marked) => Known { cluster: marked, seen: Seen::default() },
        };
        Ok(Membership {
            file,
            chunks,
            known: Mutex::new(known),
            heard: AtomicU64::new(0),
            in_session: AtomicBool::new(false),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        // The value is replaced as a whole.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known now.
    pub(crate) fn known(&self) -> Known {
        *self.lock()
    }

    /// Records that a coordinator has registered this worker; durable when this returns. Blocks.
    ///
    /// # Errors
    /// `CLUSTER_MISMATCH`; `JOURNAL_BEHIND` for a journal that is older than one seen before; errors of the disk.
    pub(crate) fn join(&self, cluster: ClusterId, now: Seen) -> Result<(), Failure> {
        let mut known = self.lock();
        let before = *known;
        if let Some(own) = before.cluster
            && own != cluster
        {
            let message = format!("the data folder belongs to {own}, the coordinator's journal is of {cluster}");
            return Err(Failure::new(Code::ClusterMismatch, message));
        }
        let Seen { epoch, nonce, revision } = before.seen;
        if now.epoch < epoch || now.epoch == epoch && (now.nonce != nonce || now.revision < revision) && nonce != 0 {
            let message = format!(
                "the coordinator's journal is in epoch {} with {} changes of datasets, this worker has seen epoch {epoch} and {revision}",
                now.epoch, now.revision
            );
            return Err(Failure::new(Code::JournalBehind, message));
        }
        let next = Known { cluster: Some(cluster), seen: now };
        if let Err(e) = chunks_mark::write(&self.chunks, cluster) {
            tracing::warn!("{} cannot be marked with the cluster's id: {e}", self.chunks.display());
        }
        if next == before {
            return Ok(());
        }
        match self.write(next) {
            // A full disk is no reason to leave the cluster; without the record an older journal may go unnoticed.
            Err(failure) if before.cluster.is_some() => {
                tracing::warn!("how far the journal is cannot be noted: {failure}")
            }
            written => written?,
        }
        if before.cluster.is_none() {
            tracing::info!(%cluster, "the data folder joins the cluster");
        }
        *known = next;
        // The old value is of an earlier session, perhaps with a journal that was restored since.
        self.heard.store(now.revision, Ordering::Release);
        Ok(())
    }

    /// The journal has recorded this many changes: `learn` writes that down. Returns at once.
    pub(crate) fn hear(&self, revision: u64) {
        self.heard.fetch_max(revision, Ordering::AcqRel);
    }

    /// Writes down the number of changes. Durable when this returns; concurrent calls share one write. Blocks.
    pub(crate) fn learn(&self) -> Result<(), Failure> {
        let mut known = self.lock();
        let revision = self.heard.load(Ordering::Acquire);
        if revision > known.seen.revision {
            let next = Known { seen: Seen { revision, ..known.seen }, ..*known };
            self.write(next)?;
            *known = next;
        }
        Ok(())
    }

    fn write(&self, known: Known) -> Result<(), Failure> {
        let Known { cluster, seen: Seen { epoch, nonce, revision } } = known;
        let cluster = cluster.map(|id| id.to_string()).unwrap_or_default();
        let text = format!("{cluster}\nepoch {epoch}\nnonce {nonce}\nrevision {revision}\n");
        durable::write_private(&self.file, text.as_bytes(), Durability::Sync).map_err(|e| unwritten(&self.file, &e))
    }

    /// Whether a coordinator of this cluster has this worker's session now.
    pub(crate) fn is_in_session(&self) -> bool {
        self.in_session.load(Ordering::Acquire)
    }

    pub(crate) fn set_in_session(&self, in_session: bool) {
        self.in_session.store(in_session, Ordering::Release);
    }

    /// Refuses requests for another cluster. A request without a cluster means this one.
    pub(crate) fn check(&self, cluster: Option<ClusterId>) -> Result<(), Failure> {
        match (cluster, self.known().cluster) {
            (Some(theirs), Some(own)) if theirs != own => {
                let message = format!("this worker belongs to {own}, what came is for {theirs}");
                Err(Failure::new(Code::ClusterMismatch, message))
            }
            (Some(theirs), None) => {
                let message = format!("this worker has joined no cluster, what came is for {theirs}");
                Err(Failure::new(Code::ClusterMismatch, message))
            }
            _ => Ok(()),
        }
    }
}

fn unwritten(path: &Path, e: &io::Error) -> Failure {
    crate::error::disk_failure("write", path, 0, e)
}

/// The file's content; `None` if there is none.
fn read(path: &Path) -> io::Result<Option<Known>> {
    match regular_file::read_note(path) {
        Ok(text) => match parse(&text) {
            Some(known) => Ok(Some(known)),
            None => Err(io::Error::new(io::ErrorKind::InvalidData, "it is not what a worker writes there")),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn parse(text: &str) -> Option<Known> {
    let mut lines = text.lines();
    let cluster = Some(lines.next()?.parse().ok()?);
    let mut number = |name: &str| lines.next()?.strip_prefix(name)?.trim().parse::<u64>().ok();
    let seen = Seen { epoch: Epoch(number("epoch")?), nonce: number("nonce")?, revision: number("revision")? };
    Some(Known { cluster, seen })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const OURS: ClusterId = ClusterId(uuid::Uuid::from_u128(1));
    const OTHER: ClusterId = ClusterId(uuid::Uuid::from_u128(2));

    fn open(folder: &Path) -> Result<Membership, Error> {
        Membership::open(&Scratch::open(folder).unwrap())
    }
    fn seen(epoch: u64, nonce: u64, revision: u64) -> Seen {
        Seen { epoch: Epoch(epoch), nonce, revision }
    }
    fn code(joined: Result<(), Failure>) -> Option<Code> {
        joined.err().map(|failure| failure.code)
    }

    #[test]
    fn folder_keeps_its_cluster_and_the_newest_journal_it_has_seen() {
        let folder = tempfile::tempdir().unwrap();
        let member = open(folder.path()).unwrap();
        assert_eq!(member.known(), Known::default());
        assert_eq!(code(member.join(OURS, seen(3, 9, 4))), None);
        member.hear(6);
        member.hear(5);
        member.learn().unwrap();
        drop(member);
        let member = open(folder.path()).unwrap();
        assert_eq!(member.known(), Known { cluster: Some(OURS), seen: seen(3, 9, 6) });
        assert_eq!(code(member.join(OTHER, seen(9, 1, 99))), Some(Code::ClusterMismatch));
        for behind in [seen(2, 1, 99), seen(3, 9, 5), seen(3, 8, 6)] {
            assert_eq!(code(member.join(OURS, behind)), Some(Code::JournalBehind), "{behind:?}");
        }
        // A restored journal has a higher epoch and may have fewer changes.
        assert_eq!(code(member.join(OURS, seen(100, 7, 2))), None);
        assert_eq!(open(folder.path()).unwrap().known().seen, seen(100, 7, 2));
    }

    #[test]
    fn chunks_of_another_cluster_are_refused_first() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path()).unwrap().join(OURS, seen(1, 1, 0)).unwrap();
        let chunks = folder.path().join("chunks");
        if chunks_mark::read(&chunks).unwrap().is_none() {
            // A file system without attributes has no marks.
            return;
        }
        chunks_mark::write(&chunks, OTHER).unwrap();
        assert_eq!(open(folder.path()).unwrap_err().code(), Code::ClusterMismatch);
        chunks_mark::write(&chunks, OURS).unwrap();
        assert_eq!(open(folder.path()).unwrap().known().cluster, Some(OURS));
        // The mark of the chunks alone is enough.
        fs::remove_file(folder.path().join(CLUSTER)).unwrap();
        assert_eq!(open(folder.path()).unwrap().known(), Known { cluster: Some(OURS), seen: Seen::default() });
    }

    #[test]
    fn request_for_another_cluster_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let member = open(folder.path()).unwrap();
        assert_eq!((code(member.check(None)), code(member.check(Some(OURS)))), (None, Some(Code::ClusterMismatch)));
        member.join(OURS, seen(1, 1, 0)).unwrap();
        assert_eq!((code(member.check(None)), code(member.check(Some(OURS)))), (None, None));
        assert_eq!(code(member.check(Some(OTHER))), Some(Code::ClusterMismatch));
    }

    #[test]
    fn damaged_membership_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        drop(open(folder.path()).unwrap());
        for text in ["", "cluster-", "cluster-00000000000000000000000000000001\nepoch x\n"] {
            fs::write(folder.path().join(CLUSTER), text).unwrap();
            assert!(matches!(open(folder.path()), Err(Error::DataDir { .. })), "{text}");
        }
    }
}
