//! Ordered deletions and moves to the trash.
//!
//! A deletion takes a while, and the same chunk may be stored again meanwhile. So an order only *dooms* chunks. Storing or finding a
//! doomed chunk redeems it, and [`Chunks::remove`] deletes it only if it is still doomed.

use super::shelf::{Doom, News};
use super::{Chunks, gone, make_parent, unix_ms};
use crate::trash;
use std::fs;
use std::io;
use windrow_format::durable::{self, Durability};
use windrow_model::Digest;

impl Chunks {
    /// Marks chunks for deletion; each goes with `remove`, unless it is stored again before.
    pub(crate) fn doom(&self, digests: &[Digest], doom: Doom) {
        self.shelf.lock().doomed.extend(digests.iter().map(|digest| (*digest, doom)));
    }

    /// Takes back `doom`.
    pub(crate) fn forgive(&self, digests: &[Digest]) {
        let mut state = self.shelf.lock();
        digests.iter().for_each(|digest| _ = state.doomed.remove(digest));
    }

    /// Deletes a chunk, or moves it to the trash, if it is still doomed. Blocks.
    pub(crate) fn remove(&self, digest: Digest) -> io::Result<()> {
        let mut state = self.shelf.lock();
        let Some(doom) = state.doomed.remove(&digest) else { return Ok(()) };
        // A report that the chunk is here may have crossed the order, so the coordinator may count on it again.
        self.shelf.lost(&mut state, digest);
        let path = self.path(digest);
        match doom {
            Doom::Delete => {
                if let Some(since) = state.trash.remove(&digest) {
                    gone(fs::remove_file(self.trash_folder().join(trash::name(digest, since))))?;
                }
                gone(fs::remove_file(self.damaged(digest)))?;
                gone(fs::remove_file(path))
            }
            Doom::Trash => {
                let Ok(metadata) = path.metadata() else { return Ok(()) };
                let since = unix_ms();
                let place = self.trash_folder().join(trash::name(digest, since));
                make_parent(&place)?;
                gone(durable::rename(&path, &place, Durability::Sync))?;
                if let Some(earlier) = state.trash.insert(digest, since).filter(|earlier| *earlier != since) {
                    gone(fs::remove_file(self.trash_folder().join(trash::name(digest, earlier))))?;
                }
                self.shelf.announce(News::Trashed(digest, metadata.len()));
                Ok(())
            }
        }
    }
}
