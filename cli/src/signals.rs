//! The signals that end a daemon, and SIGXFSZ, which must not.

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind, signal};
use windrow_model::{Code, Failure};

/// SIGINT and SIGTERM, caught from when this is made.
pub(crate) struct Stop {
    interrupt: unix::Signal,
    terminate: unix::Signal,
}

impl Stop {
    /// Catches these signals from now on. Also ignores SIGXFSZ, so that a write beyond the limit on file sizes (`ulimit
    /// -f`) fails with an error.
    pub(crate) fn catch() -> Result<Stop, Failure> {
        let catch = |kind| signal(kind).map_err(|e| Failure::new(Code::IoError, format!("cannot catch signals: {e}")));
        // The handler stays installed after the drop.
        drop(catch(SignalKind::from_raw(Signal::XFSZ.as_raw()))?);
        Ok(Stop { interrupt: catch(SignalKind::interrupt())?, terminate: catch(SignalKind::terminate())? })
    }

    /// Completes when one of them arrives.
    pub(crate) async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
