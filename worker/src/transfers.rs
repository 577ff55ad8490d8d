//! Threads that move bytes between workers. Control messages have the worker's own thread to themselves: they queue
//! behind no segment, and related steps need no wake-ups of other threads.

use std::io;
use tokio::runtime::{Builder, Handle, Runtime};
use windrow_net::daemon_runtime;

/// The threads; dropping it ends their tasks.
#[derive(Debug)]
pub(crate) struct Transfers(Option<Runtime>);

impl Transfers {
    /// As many threads as cores.
    pub(crate) fn start() -> io::Result<Transfers> {
        daemon_runtime(Builder::new_multi_thread().thread_name("transfer")).map(|runtime| Transfers(Some(runtime)))
    }

    /// For spawning tasks on these threads.
    pub(crate) fn handle(&self) -> Handle {
        match &self.0 {
            Some(runtime) => runtime.handle().clone(),
            None => Handle::current(),
        }
    }
}

impl Drop for Transfers {
    fn drop(&mut self) {
        // Blocking on its threads is forbidden within a runtime, and pointless: their tasks have no receivers left.
        self.0.take().into_iter().for_each(Runtime::shutdown_background);
    }
}
