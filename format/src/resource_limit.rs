//! Errors of the system that mean that a process, its user or the machine may have no more of a resource.

use rustix::io::Errno;
use std::io;

/// Whether processes, threads, memory or descriptors have reached a limit. The same call may succeed later.
pub fn is_resource_limit(e: &io::Error) -> bool {
    let errno = e.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::AGAIN | Errno::NOMEM | Errno::MFILE | Errno::NFILE))
}
