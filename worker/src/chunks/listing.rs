//! Lists of the chunks that are here: the inventory for the coordinator, and its comparison with the files.

use super::{Chunks, Measured, digests_in};
use crate::trash;
use std::collections::HashSet;
use std::fs;
use std::io;
use windrow_model::Digest;

impl Chunks {
    /// Every held chunk with its length, and those in the trash. From then on the coordinator counts on them. Blocks.
    pub(crate) fn list(&self) -> io::Result<(Vec<Measured>, Vec<Measured>)> {
        // Read first: chunks that are deleted during the listing are left out. A chunk that is redeemed meanwhile is
        // announced by the code that stores it.
        let doomed: HashSet<Digest> = self.shelf.lock().doomed.keys().copied().collect();
        let mut found = Vec::new();
        for entry in fs::read_dir(self.scratch.chunks())? {
            let entry = entry?;
            // Chunks that are still arriving have other names.
            if let Some(digest) = entry.file_name().to_str().and_then(|name| name.parse::<Digest>().ok())
                && !doomed.contains(&digest)
                && let Ok(metadata) = entry.metadata()
            {
                found.push((digest, metadata.len()));
            }
        }
        let mut state = self.shelf.lock();
        state.announced.extend(found.iter().map(|(digest, _)| *digest));
        let trashed: Vec<(Digest, u64)> = state.trash.iter().map(|(digest, since)| (*digest, *since)).collect();
        drop(state);
        let length = |(digest, since): (Digest, u64)| {
            let file = self.trash_folder().join(trash::name(digest, since));
            Some((digest, file.metadata().ok()?.len()))
        };
        Ok((found, trashed.into_iter().filter_map(length).collect()))
    }

    /// Compares the files with the announced chunks: announces missing ones, and new ones whose content matches.
    /// Returns every chunk with its length, by digest. Blocks.
    pub(crate) fn compare(&self) -> io::Result<Vec<(Digest, u64)>> {
        let before: HashSet<Digest> = self.shelf.lock().announced.clone();
        let mut here = Vec::new();
        for digest in digests_in(&self.scratch.chunks())? {
            if let Ok(metadata) = self.path(digest).metadata() {
                here.push((digest, metadata.len()));
            }
        }
        let listed: HashSet<Digest> = here.iter().map(|(digest, _)| *digest).collect();
        before.difference(&listed).for_each(|digest| self.note_missing(*digest));
        for (digest, length) in &here {
            let is_new = {
                let state = self.shelf.lock();
                !state.announced.contains(digest) && !state.doomed.contains_key(digest)
            };
            if is_new && self.check(*digest, |file| file) {
                let state = self.shelf.lock();
                if !state.doomed.contains_key(digest) && !state.announced.contains(digest) {
                    drop(state);
                    self.shelf.redeem(*digest, *length, || Ok(()))?;
                }
            }
        }
        here.sort_unstable();
        Ok(here)
    }
}
