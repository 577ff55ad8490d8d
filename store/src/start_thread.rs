//! Starts a thread, also where a limit on threads is reached for a moment.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;
use std::time::Duration;
use windrow_format::resource_limit::is_resource_limit;
use windrow_model::Code;

/// Tries in all, and the pause between two: two seconds together.
const TRIES_MAX: u32 = 21;
const PAUSE: Duration = Duration::from_millis(100);

/// Starts a thread that runs `body`. If the system has no thread, it is asked again for two seconds.
///
/// # Errors
/// The last answer of the system; [`thread_failure_code`] is its code.
pub async fn start_thread(thread: impl Fn() -> Builder, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    // A thread that is not started drops what it would have run.
    let body = Arc::new(Mutex::new(Some(body)));
    let mut tries = 0;
    loop {
        tries += 1;
        let body = body.clone();
        let run = move || {
            let body = body.lock().unwrap_or_else(PoisonError::into_inner).take();
            body.into_iter().for_each(|body| body());
        };
        match thread().spawn(run) {
            Ok(_) => return Ok(()),
            Err(e) if is_resource_limit(&e) && tries < TRIES_MAX => tokio::time::sleep(PAUSE).await,
            Err(e) => return Err(e),
        }
    }
}

/// The code for a thread that could not be started.
pub fn thread_failure_code(e: &io::Error) -> Code {
    if is_resource_limit(e) { Code::ResourceLimit } else { Code::IoError }
}
