//! Whether a connection is in use: how many calls are open on it, and when one began or ended last; and its end, if it has to
//! make room for others.

use futures_util::task::AtomicWaker;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;
use std::time::Duration;
use tokio::time::Instant;

/// Shared by a connection and the accounts of its server.
#[derive(Debug)]
pub(crate) struct Activity {
    accepted: Instant,
    last_call_ms: AtomicU64,
    open_calls: AtomicUsize,
    hung_up: AtomicBool,
    reader: AtomicWaker,
}

impl Activity {
    /// Of a connection that is accepted now.
    pub(crate) fn begin() -> Activity {
        Activity {
            accepted: Instant::now(),
            last_call_ms: AtomicU64::new(0),
            open_calls: AtomicUsize::new(0),
            hung_up: AtomicBool::new(false),
            reader: AtomicWaker::new(),
        }
    }

    /// When the connection was accepted.
    pub(crate) fn accepted(&self) -> Instant {
        self.accepted
    }

    /// How long after that the last call began or ended; zero without one.
    pub(crate) fn last_call(&self) -> Duration {
        Duration::from_millis(self.last_call_ms.load(Ordering::Relaxed))
    }

    /// The connection is not idle now.
    pub(crate) fn note_call(&self) {
        self.last_call_ms.store(self.accepted.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// A call begins, which is open until `end_call`.
    pub(crate) fn begin_call(&self) {
        self.open_calls.fetch_add(1, Ordering::Relaxed);
        self.note_call();
    }

    /// The answer of a call is sent, or is not wanted any more.
    pub(crate) fn end_call(&self) {
        self.note_call();
        self.open_calls.fetch_sub(1, Ordering::Relaxed);
    }

    /// For how long it has had no open call; `None` if it has one.
    pub(crate) fn idle(&self) -> Option<Duration> {
        let idle = self.accepted.elapsed().saturating_sub(self.last_call());
        (self.open_calls.load(Ordering::Relaxed) == 0).then_some(idle)
    }

    /// The connection has to be closed: its next read fails, and one that waits is woken.
    pub(crate) fn hang_up(&self) {
        self.hung_up.store(true, Ordering::Release);
        self.reader.wake();
    }

    /// Whether that is so.
    pub(crate) fn is_hung_up(&self) -> bool {
        self.hung_up.load(Ordering::Acquire)
    }

    /// Wakes this reader when that comes about.
    pub(crate) fn wake_when_hung_up(&self, reader: &Waker) {
        self.reader.register(reader);
    }
}
