//! The threads of daemons.

use std::io;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// How long an idle thread for blocking calls stays: for good.
const KEPT: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Builds a runtime with a thread for blocking calls, which stays like all others that it starts. A runtime panics where it has
/// none and cannot start one; as long as it has one, calls wait for it.
///
/// # Errors
/// The system gives no threads or no epoll.
pub fn daemon_runtime(builder: &mut Builder) -> io::Result<Runtime> {
    let runtime = builder.enable_all().thread_keep_alive(KEPT).build()?;
    runtime.spawn_blocking(|| ());
    Ok(runtime)
}
