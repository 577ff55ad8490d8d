//! What callers have learnt of the server at a URL.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Set when the server at a URL has shown in a handshake that it has the token. A connection that breaks after that belongs to
/// a server that stops or starts again; before it, possibly to no Windrow server at all. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Contact(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    made: AtomicBool,
    cuts: AtomicU32,
}

impl Contact {
    /// Whether the server has shown that it has the token, in any connection.
    pub fn was_made(&self) -> bool {
        self.0.made.load(Ordering::Relaxed)
    }

    /// Connections that the other side closed in the middle of the handshake.
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
