//! Verification of chunks against their digests. A damaged or unreadable chunk is set aside and announced as lost; a missing one is
//! announced, too.

use super::shelf::{News, State};
use super::{Chunks, DAMAGED, digests_in, make_parent};
use crate::trash;
use std::fs::{self, File};
use std::io::{self, Read};
use windrow_format::durable::{self, Durability};
use windrow_format::regular_file;
use windrow_model::Digest;
use windrow_store::identity;

impl Chunks {
    /// Reads a chunk that is here and compares it with its digest. A damaged or unreadable chunk is set aside: disks
    /// lose bits, and a job must not read bytes that were last verified when they were written.
    pub(crate) async fn is_whole(&self, digest: Digest) -> bool {
        let chunks = self.clone();
        tokio::task::spawn_blocking(move || chunks.check(digest, |file| file)).await.unwrap_or(false)
    }

    /// The same, read through the reader that `wrap` makes of the file. Blocks.
    pub(crate) fn check<R: Read>(&self, digest: Digest, wrap: impl FnOnce(File) -> R) -> bool {
        let path = self.path(digest);
        let file = match regular_file::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.note_missing(digest);
                return false;
            }
            Err(e) => {
                tracing::error!("chunk {digest} cannot be opened: {e}");
                self.lost(&mut self.shelf.lock(), digest);
                return false;
            }
        };
        let opened = identity::of_file(&file);
        let read = Digest::of_reader(wrap(file));
        if read.as_ref().is_ok_and(|(found, _)| *found == digest) {
            return true;
        }
        let mut state = self.shelf.lock();
        // Another thread may have set it aside meanwhile, and a good copy may have arrived.
        let is_it = opened.and_then(|opened| identity::same(&path, &opened));
        if is_it.unwrap_or(false) {
            let why = read.map_or_else(|e| e.to_string(), |(found, _)| format!("it reads as {found}"));
            tracing::error!("chunk {digest} is damaged on this disk and set aside: {why}");
            // It is kept: without another copy, most of a chunk is better than nothing.
            let aside = self.damaged(digest);
            if let Err(e) = make_parent(&aside).and_then(|()| fs::rename(&path, &aside)) {
                tracing::error!("chunk {digest} cannot be set aside: {e}");
            }
            self.lost(&mut state, digest);
        }
        false
    }

    /// Reads the chunks that were set aside once more: a disk may err only for a while. Blocks.
    pub(crate) fn check_damaged(&self) -> io::Result<()> {
        for digest in digests_in(&self.scratch.root().join(DAMAGED))? {
            let path = self.damaged(digest);
            let Ok((found, length)) = regular_file::open(&path).and_then(|file| Digest::of_reader(&file)) else {
                continue;
            };
            if found != digest || self.path(digest).exists() {
                continue;
            }
            self.shelf.redeem(digest, length, || durable::rename(&path, &self.path(digest), Durability::Sync))?;
            tracing::info!("chunk {digest} reads as it should again");
        }
        Ok(())
    }

    /// Announces the loss of a chunk that the coordinator counts on. A copy in the trash, which it does not count beside that one,
    /// is announced first: no job may fail in between.
    fn lost(&self, state: &mut State, digest: Digest) {
        if state.announced.contains(&digest)
            && let Some(since) = state.trash.get(&digest)
            && let Ok(metadata) = self.trash_folder().join(trash::name(digest, *since)).metadata()
        {
            self.shelf.announce(News::Trashed(digest, metadata.len()));
        }
        self.shelf.lost(state, digest);
    }

    /// Announces that a chunk is missing.
    pub(super) fn note_missing(&self, digest: Digest) {
        let mut state = self.shelf.lock();
        // Checked again under the lock: it may have been stored meanwhile.
        if !self.path(digest).exists() {
            if state.announced.contains(&digest) {
                tracing::error!("chunk {digest} is gone from this disk, and nothing has ordered that");
            }
            self.lost(&mut state, digest);
        }
    }
}
