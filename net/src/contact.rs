//! Whether a server has ever been met at a URL.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set when the server at a URL has shown in a handshake that it has the token. A connection that breaks after that belongs to
/// a server that stops or starts again; before it, possibly to no Windrow server at all. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Contact(Arc<AtomicBool>);

impl Contact {
    /// Whether the server has shown that it has the token, in any connection.
    pub fn was_made(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn make(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
