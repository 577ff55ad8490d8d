//! Processes that a run has started and not waited for, such as commands of `pipe`.
//!
//! The guardian adopts them when their parents end ([`adopt`]), so it can kill them if the run has not succeeded
//! ([`Family::kill`]): otherwise they would go on uselessly and keep the run's stdout open for its reader. It kills
//! only its own children, whose process ids are not reused before it has waited for them; their children become its own
//! next.

use std::ptr;
use std::time::Duration;

/// Most rounds of killing, about two seconds: a process that forks faster escapes.
const ROUNDS_MAX: u32 = 2_000;
/// Pause between rounds, for the killed processes to end.
const ROUND: Duration = Duration::from_millis(1);

/// The children that this process had before the run.
pub(super) struct Family {
    before: Vec<i32>,
}

/// Makes orphaned descendants children of this process from now on, and records its children besides the run.
pub(super) fn adopt(run: i32) -> Family {
    // If the call fails, orphans survive the run, which is harmless.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    Family { before: children().into_iter().filter(|child| *child != run).collect() }
}

impl Family {
    /// Kills all descendants of this process that the run has started.
    pub(super) fn kill(&self) {
        for _ in 0..ROUNDS_MAX {
            let left: Vec<i32> = children().into_iter().filter(|child| !self.before.contains(child)).collect();
            if left.is_empty() {
                return;
            }
            for child in left {
                // SAFETY: no memory is involved, and the process id is that of a child that was not waited for.
                unsafe { libc::kill(child, libc::SIGKILL) };
            }
            std::thread::sleep(ROUND);
            // SAFETY: no status is requested; the call affects only children of this process.
            while unsafe { libc::waitpid(-1, ptr::null_mut(), libc::WNOHANG) } > 0 {}
        }
        crate::report::warning::warn("processes that the run has started cannot be killed");
    }
}

/// Children of this process, including those that have ended and were not waited for.
fn children() -> Vec<i32> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let listed = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    listed.flat_map(|list| list.split_ascii_whitespace().filter_map(|n| n.parse().ok()).collect::<Vec<i32>>()).collect()
}
