//! How far work on a job's paths may go: it can be cancelled from another thread, and is bounded in entries and in memory.
//!
//! Everything that walks, matches or cuts files takes a step for each entry, before it touches it. The counter of steps also
//! shows another thread whether the work gets on or hangs in a call of the file system.

use crate::error::{Result, StoreError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use windrow_model::{Code, Escape};

/// Entries of folders that one job may look at.
const STEPS_MAX: u64 = 50_000_000;
/// Bytes of memory that the files of one job may take while they are listed.
const LISTED_BYTES_MAX: u64 = 2 << 30;
/// What a listed file takes beside its path.
const FILE_BYTES: u64 = 160;

/// Counts the steps of one job's planning. Shared with the thread that may cancel it.
#[derive(Debug)]
pub struct Steps {
    cancelled: AtomicBool,
    taken: AtomicU64,
    listed_bytes: AtomicU64,
    /// What the latest step was about.
    place: Mutex<PathBuf>,
    steps_max: u64,
    listed_bytes_max: u64,
}

impl Default for Steps {
    fn default() -> Self {
        Steps::limited(STEPS_MAX, LISTED_BYTES_MAX)
    }
}

impl Steps {
    /// Other limits than the usual ones.
    pub fn limited(steps_max: u64, listed_bytes_max: u64) -> Self {
        Steps {
            cancelled: AtomicBool::new(false),
            taken: AtomicU64::new(0),
            listed_bytes: AtomicU64::new(0),
            place: Mutex::new(PathBuf::new()),
            steps_max,
            listed_bytes_max,
        }
    }

    /// The work ends at its next step.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
    }

    /// Whether it is to end.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    /// Steps so far.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// The path of the latest step: where the work hangs, if it does.
    pub fn place(&self) -> PathBuf {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Before `path` is looked at: fails if the work was cancelled, or has looked at too much.
    pub fn step(&self, path: &Path) -> Result<()> {
        let taken = self.taken.fetch_add(1, Ordering::Relaxed);
        // In place: most steps are taken for files of one folder, and allocate nothing here.
        {
            let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
            place.as_mut_os_string().clear();
            place.as_mut_os_string().push(path);
        }
        if self.is_cancelled() {
            return Err(StoreError::new(Code::Cancelled, format!("{}: the job was cancelled here", path.escaped())));
        }
        if taken >= self.steps_max {
            let what = format!("{}: the job names more than {} files and folders", path.escaped(), self.steps_max);
            return Err(StoreError::new(Code::InputUnreadable, what));
        }
        Ok(())
    }

    /// A file is kept in the list of inputs.
    pub fn listed(&self, path: &Path) -> Result<()> {
        let bytes = FILE_BYTES + path.as_os_str().len() as u64;
        if self.listed_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > self.listed_bytes_max {
            let max = self.listed_bytes_max;
            let what = format!("{}: the list of inputs takes more than {max} bytes of memory", path.escaped());
            return Err(StoreError::new(Code::InputUnreadable, what));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_a_cancel_end_the_work_and_name_the_path() {
        let steps = Steps::limited(2, 400);
        let path = Path::new("/in/a");
        steps.step(path).unwrap();
        steps.step(path).unwrap();
        let e = steps.step(path).unwrap_err();
        assert!(e.code == Code::InputUnreadable && e.message.contains("/in/a"), "{e}");
        steps.listed(path).unwrap();
        steps.listed(path).unwrap();
        let e = steps.listed(path).unwrap_err();
        assert!(e.code == Code::InputUnreadable && e.message.contains("/in/a"), "{e}");
        steps.cancel();
        assert_eq!(steps.step(path).unwrap_err().code, Code::Cancelled);
        assert_eq!(steps.taken(), 4);
    }
}
