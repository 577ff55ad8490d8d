//! Threads that move bytes between workers. Control messages have the worker's own thread to themselves: they queue
//! behind no segment, and related steps need no wake-ups of other threads.

use std::io;
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};

/// How long an idle thread for blocking calls stays: for good.
const KEPT: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The threads; dropping it ends their tasks.
#[derive(Debug)]
pub struct Transfers(Option<Runtime>);

impl Transfers {
    /// As many threads as cores.
    pub fn start() -> io::Result<Transfers> {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.thread_name("transfer").enable_all().thread_keep_alive(KEPT).build()?;
        // The first thread for blocking calls, which stays: without one they would wait for a thread that cannot be started.
        runtime.spawn_blocking(|| ());
        Ok(Transfers(Some(runtime)))
    }

    /// For spawning tasks on these threads.
    pub fn handle(&self) -> Handle {
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
