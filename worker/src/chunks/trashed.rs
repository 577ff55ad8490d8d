//! Chunks in the trash: they come back when they are needed, and are deleted after their time (`trash.rs`).

use super::shelf::News;
use super::{Chunks, gone, unix_ms};
use crate::trash;
use std::fs;
use windrow_format::durable::{self, Durability};
use windrow_model::Digest;

impl Chunks {
    /// Redeems a chunk that is here, and restores one from the trash. True if the chunk was doomed.
    pub(crate) async fn keep_if_here(&self, digest: Digest) -> Option<bool> {
        let chunks = self.clone();
        let look = move || {
            let mut state = chunks.shelf.lock();
            if let Ok(metadata) = chunks.path(digest).metadata()
                && metadata.is_file()
            {
                if !state.announced.contains(&digest) {
                    chunks.shelf.held(&mut state, News::Held(digest, metadata.len()), digest);
                }
                return Some(state.doomed.remove(&digest).is_some());
            }
            if let Some(since) = state.trash.remove(&digest) {
                let from = chunks.trash_folder().join(trash::name(digest, since));
                match durable::rename(&from, &chunks.path(digest), Durability::Sync) {
                    Ok(()) => {
                        tracing::info!("chunk {digest} comes back from the trash");
                        let length = chunks.path(digest).metadata().map_or(0, |metadata| metadata.len());
                        chunks.shelf.held(&mut state, News::Held(digest, length), digest);
                        return Some(true);
                    }
                    Err(e) => tracing::warn!("chunk {digest} cannot be taken out of the trash: {e}"),
                }
            }
            drop(state);
            chunks.note_missing(digest);
            None
        };
        tokio::task::spawn_blocking(look).await.ok().flatten()
    }

    /// Deletes chunks that have been in the trash for `kept_ms`, if this process has been up long enough to trust its
    /// clock. Returns their number. Blocks.
    pub(crate) fn empty_trash(&self, up_ms: u64, kept_ms: u64) -> usize {
        self.empty_trash_while(up_ms, kept_ms, || true)
    }

    /// The same, oldest first, while `goes_on` returns true before each one. Touches nothing but the trash. Blocks.
    pub(crate) fn empty_trash_while(&self, up_ms: u64, kept_ms: u64, mut goes_on: impl FnMut() -> bool) -> usize {
        let now = unix_ms();
        let mut deleted = 0;
        let mut all: Vec<(Digest, u64)> = self.shelf.lock().trash.iter().map(|(d, since)| (*d, *since)).collect();
        all.sort_unstable_by_key(|(digest, since)| (*since, *digest));
        for (digest, since) in all {
            if !trash::is_over(since, now, up_ms, kept_ms) {
                // The rest is younger.
                break;
            }
            if !goes_on() {
                break;
            }
            let mut state = self.shelf.lock();
            // It may have been restored meanwhile.
            if state.trash.get(&digest) != Some(&since) {
                continue;
            }
            match gone(fs::remove_file(self.trash_folder().join(trash::name(digest, since)))) {
                Ok(()) => {
                    state.trash.remove(&digest);
                    deleted += 1;
                }
                Err(e) => tracing::warn!("chunk {digest} cannot be deleted from the trash: {e}"),
            }
        }
        deleted
    }
}
