//! The signals that end a daemon.

use tokio::signal::unix::{Signal, SignalKind, signal};
use windrow_model::{Code, Failure};

/// SIGINT and SIGTERM, caught from when this is made.
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    /// From now on, these signals do not kill the process.
    pub fn catch() -> Result<Stop, Failure> {
        let catch = |kind| signal(kind).map_err(|e| Failure::new(Code::IoError, format!("cannot catch signals: {e}")));
        Ok(Stop { interrupt: catch(SignalKind::interrupt())?, terminate: catch(SignalKind::terminate())? })
    }

    /// Completes when one of them comes.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
