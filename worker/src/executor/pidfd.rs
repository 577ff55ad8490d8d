//! Awaiting the end of a process without a thread or a signal handler: its pidfd becomes readable.

use std::io;
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A pidfd that the runtime watches.
#[derive(Debug)]
pub(crate) struct PidFd(AsyncFd<OwnedFd>);

impl PidFd {
    /// Takes over a pidfd that does not block.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<PidFd> {
        // SAFETY: an `OwnedFd` is an open descriptor, and the only owner of it; it gives the same number at every call
        // and stays open and the same for as long as the `AsyncFd` owns it.
        let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
        watched.map(PidFd).map_err(|e| e.into_parts().1)
    }

    /// Completes when the process has ended, and immediately from then on. Cancel-safe.
    pub(crate) async fn ended(&self) -> io::Result<()> {
        // Readiness is never cleared: a process ends once.
        self.0.readable().await.map(|_| ())
    }
}
