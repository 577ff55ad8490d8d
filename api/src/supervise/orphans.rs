//! What a run has started and not waited for: commands of `pipe` and the like.
//!
//! The guardian adopts them when their parents end ([`adopt`]), so it can end them when the run has not succeeded
//! ([`Family::kill`]): they would go on for nobody, and hold the run's stdout open for whoever reads it. It only ever kills
//! children of its own, whose numbers mean nobody else until it has waited for them; what they leave becomes its child next.

use std::ptr;
use std::time::Duration;

/// Killing is repeated until nobody is left, for about two seconds: who starts processes faster than that wins.
const ROUNDS_MAX: u32 = 2_000;
/// The killed need a moment to go.
const ROUND: Duration = Duration::from_millis(1);

/// The children that this process had before the run.
pub struct Family {
    before: Vec<i32>,
}

/// Makes orphans below this process its children from now on, and notes those that it has beside the run.
pub fn adopt(run: i32) -> Family {
    // Without it, orphans go on as they did before there was this: nothing worse.
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    Family { before: children().into_iter().filter(|child| *child != run).collect() }
}

impl Family {
    /// Kills everything below this process that the run has started.
    pub fn kill(&self) {
        for _ in 0..ROUNDS_MAX {
            let left: Vec<i32> = children().into_iter().filter(|child| !self.before.contains(child)).collect();
            if left.is_empty() {
                return;
            }
            for child in left {
                // SAFETY: no memory is involved, and the number is that of a child that was not waited for.
                unsafe { libc::kill(child, libc::SIGKILL) };
            }
            std::thread::sleep(ROUND);
            // SAFETY: a question without a place for the answer, about children of this process.
            while unsafe { libc::waitpid(-1, ptr::null_mut(), libc::WNOHANG) } > 0 {}
        }
        tracing::warn!("processes that the run has started do not end");
    }
}

/// Children of this process, those that have ended and were not waited for among them.
fn children() -> Vec<i32> {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let listed = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    listed.flat_map(|list| list.split_ascii_whitespace().filter_map(|n| n.parse().ok()).collect::<Vec<i32>>()).collect()
}
