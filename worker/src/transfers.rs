//! Threads that move bytes between workers. Control messages have the worker's own thread to themselves: they wait behind no
//! segment, and what belongs together is done without one thread waking another.

use std::io;
use tokio::runtime::{Builder, Handle, Runtime};

/// Ends what runs on these threads when it is dropped.
#[derive(Debug)]
pub struct Transfers(Option<Runtime>);

impl Transfers {
    /// As many threads as there are cores.
    pub fn start() -> io::Result<Transfers> {
        Ok(Transfers(Some(Builder::new_multi_thread().thread_name("transfer").enable_all().build()?)))
    }

    /// For tasks that are to run on these threads.
    pub fn handle(&self) -> Handle {
        match &self.0 {
            Some(runtime) => runtime.handle().clone(),
            None => Handle::current(),
        }
    }
}

impl Drop for Transfers {
    fn drop(&mut self) {
        // Waiting for its threads is forbidden where tasks run, and of no use: nobody listens any more.
        self.0.take().into_iter().for_each(Runtime::shutdown_background);
    }
}
