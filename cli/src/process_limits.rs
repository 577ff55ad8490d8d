//! What a daemon needs of the system before it starts: descriptors and threads.
//!
//! A limit that is too small is an error at the start, with what to do. Later on it is too late: the runtime panics where it
//! cannot start its first thread.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;
use std::sync::RwLock;
use std::thread;
use windrow_model::{Code, Failure};

/// Descriptors with which a daemon serves at all: its files, its listener and a few connections.
const DESCRIPTORS_MIN: u64 = 32;
/// The soft limit is raised up to this many, as far as the hard limit allows. Children inherit it, and some programs go through
/// all descriptors below the limit, so it is not raised without a bound.
const DESCRIPTORS_WANTED: u64 = 1 << 16;
/// Threads of a daemon beside those for each core: the journal's, those that fork, scrub and write, and some for files.
const THREADS_MIN: usize = 12;
/// Of the threads that only show that they can be started.
const STACK_BYTES: usize = 64 << 10;

/// Raises the limit on descriptors, and checks that it and the limit on threads are enough for `daemon`.
///
/// # Errors
/// `IO_ERROR` with the limit.
pub(crate) fn prepare(daemon: &str) -> Result<(), Failure> {
    raise_descriptors(daemon)?;
    check_threads(daemon, THREADS_MIN + thread::available_parallelism().map_or(1, |n| n.get()))
}

fn raise_descriptors(daemon: &str) -> Result<(), Failure> {
    let limit = getrlimit(Resource::Nofile);
    let Some(current) = limit.current else { return Ok(()) };
    let wanted = limit.maximum.unwrap_or(u64::MAX).min(DESCRIPTORS_WANTED);
    let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
    let has = match current < wanted && setrlimit(Resource::Nofile, raised).is_ok() {
        true => wanted,
        false => current,
    };
    if has < DESCRIPTORS_MIN {
        let what = format!(
            "{daemon} may open {has} files and connections, and needs at least {DESCRIPTORS_MIN}: raise the limit (`ulimit -Hn`, \
             LimitNOFILE= of a systemd unit)"
        );
        return Err(Failure::new(Code::IoError, what));
    }
    Ok(())
}

/// Starts `needed` threads that exist at the same time, and end at once.
fn check_threads(daemon: &str, needed: usize) -> Result<(), Failure> {
    let gate = RwLock::new(());
    let (started, failed) = thread::scope(|scope| {
        // No thread ends before all have been started.
        let _closed = gate.write();
        let start = |_| thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, || drop(gate.read()));
        let mut started = 0;
        let failed = (0..needed).map(start).find_map(|thread| {
            started += usize::from(thread.is_ok());
            thread.err()
        });
        (started, failed)
    });
    failed.map_or(Ok(()), |e| Err(too_few_threads(daemon, needed, started, &e)))
}

fn too_few_threads(daemon: &str, needed: usize, started: usize, e: &io::Error) -> Failure {
    let what = format!(
        "{daemon} needs {needed} threads to start, and {started} could be started ({e}): raise the limit on processes and \
         threads (`ulimit -u` counts those of all programs of this user; TasksMax= of a systemd unit, pids of a container)"
    );
    Failure::new(Code::IoError, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_cannot_be_started_are_counted() {
        check_threads("a worker", 5).unwrap();
        let failure = too_few_threads("a worker", 14, 3, &io::ErrorKind::WouldBlock.into());
        assert!(failure.message.contains("needs 14 threads to start, and 3"), "{failure}");
    }
}
