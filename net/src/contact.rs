//! The state that callers have observed of the server at a URL.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Set when the server at a URL has shown in a handshake that it has the token. If a connection breaks after that, the
/// server is stopping or restarting; before that, there may be no Windrow server at all. Clones share the state.
#[derive(Clone, Debug, Default)]
pub struct Contact(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    made: AtomicBool,
    cuts: AtomicU32,
}

impl Contact {
    /// Returns whether the server has shown in any connection that it has the token.
    pub fn was_made(&self) -> bool {
        self.0.made.load(Ordering::Relaxed)
    }

    /// Number of connections that the other side closed during the handshake.
    pub fn cuts(&self) -> u32 {
        self.0.cuts.load(Ordering::Relaxed)
    }

    pub(crate) fn make(&self) {
        self.0.made.store(true, Ordering::Relaxed);
    }

    pub(crate) fn note_cut(&self) {
        self.0.cuts.fetch_add(1, Ordering::Relaxed);
    }
}
