//! The state of the chunk files, and the news of its changes for the coordinator.
//!
//! Files get or lose a chunk's name only while the state is locked, so news has the order of events.

use super::Chunks;
use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use windrow_model::Digest;

/// A change that is announced to the coordinator, in the order of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The chunk is held, with this length in bytes.
    Held(Digest, u64),
    /// The same, stored just now by a client, and not held before.
    Stored(Digest, u64),
    /// The chunk was announced, and is damaged or gone, also by an order.
    Lost(Digest),
    /// The chunk is in the trash.
    Trashed(Digest, u64),
}

/// State of the chunk files. Files get or lose a chunk's name only while it is locked.
#[derive(Clone, Debug, Default)]
pub(super) struct Shelf(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Separate from the rest, which is locked during renames: the control thread takes this lock and must not wait for
    /// a disk.
    news: Mutex<Vec<News>>,
    /// There is news.
    changed: Notify,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Chunks to delete or to move to the trash.
    pub(super) doomed: HashMap<Digest, Doom>,
    /// Chunks that the coordinator counts as held here.
    pub(super) announced: HashSet<Digest>,
    /// When each chunk in the trash came there, in unix milliseconds.
    pub(super) trash: HashMap<Digest, u64>,
}

/// What an order does with a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doom {
    Delete,
    Trash,
}

impl Shelf {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // No code leaves the state half changed.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a chunk's file its name and redeems the chunk.
    pub(super) fn redeem(&self, digest: Digest, length: u64, store: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        self.redeem_as(News::Held(digest, length), digest, store)
    }

    /// The same, announced as `news`.
    pub(super) fn redeem_as(
        &self,
        news: News,
        digest: Digest,
        store: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let mut state = self.lock();
        state.doomed.remove(&digest);
        store()?;
        let was_here = state.announced.contains(&digest) || state.trash.contains_key(&digest);
        match news {
            News::Stored(digest, length) if was_here => self.held(&mut state, News::Held(digest, length), digest),
            news => self.held(&mut state, news, digest),
        }
        Ok(())
    }

    pub(super) fn held(&self, state: &mut State, news: News, digest: Digest) {
        state.announced.insert(digest);
        self.announce(news);
    }

    /// Announces the loss of a chunk that the coordinator counts on.
    pub(super) fn lost(&self, state: &mut State, digest: Digest) {
        if state.announced.remove(&digest) {
            self.announce(News::Lost(digest));
        }
    }

    /// Called while the state is locked, so that news has the order of events.
    pub(super) fn announce(&self, news: News) {
        self.0.news.lock().unwrap_or_else(PoisonError::into_inner).push(news);
        self.0.changed.notify_one();
    }
}

impl Chunks {
    /// Those of these chunks that the coordinator may count on: here, and not about to be removed.
    pub(crate) fn still_announced(&self, digests: &[Digest]) -> Vec<Digest> {
        let state = self.shelf.lock();
        let is_counted = |digest: &&Digest| state.announced.contains(digest) && !state.doomed.contains_key(digest);
        digests.iter().filter(is_counted).copied().collect()
    }

    /// Those of these chunks, which were listed, whose loss has been announced since.
    pub(crate) fn gone_since(&self, listed: impl Iterator<Item = Digest>) -> Vec<Digest> {
        let state = self.shelf.lock();
        listed.filter(|digest| !state.announced.contains(digest)).collect()
    }

    /// The news since the last call, in order.
    pub(crate) fn take_news(&self) -> Vec<News> {
        std::mem::take(&mut *self.shelf.0.news.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for news.
    pub(crate) async fn has_news(&self) {
        self.shelf.0.changed.notified().await;
    }
}
