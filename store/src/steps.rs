//! Bounds the planning work on a job's paths: it can be cancelled from another thread, and is limited in entries and
//! memory.
//!
//! All code that walks, matches or cuts files takes a step for each entry, before it touches it. The step counter also
//! shows another thread whether the work makes progress or hangs in a file system call.

use crate::error::{Result, StoreError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use windrow_model::{Code, Escape};

/// Most entries of folders that one job may visit.
const STEPS_MAX: u64 = 50_000_000;
/// Most bytes of memory that the listed files of one job may take.
const LISTED_BYTES_MAX: u64 = 2 << 30;
/// Bytes that a listed file takes besides its path.
const FILE_BYTES: u64 = 160;

/// Counts the steps of one job's planning. Shared with the thread that may cancel it.
#[derive(Debug)]
pub struct Steps {
    cancelled: AtomicBool,
    taken: AtomicU64,
    listed_bytes: AtomicU64,
    /// Path of the latest step.
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
    /// Creates a counter with these limits.
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

    /// Makes the work end at its next step.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
    }

    /// Returns whether the work was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    /// Number of steps so far.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Path of the latest step: where the work hangs, if it does.
    pub fn place(&self) -> PathBuf {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes a step before `path` is touched.
    ///
    /// # Errors
    /// The work was cancelled, or has exceeded its number of steps.
    pub fn step(&self, path: &Path) -> Result<()> {
        let taken = self.taken.fetch_add(1, Ordering::Relaxed);
        // Reuse the buffer: most steps are for files of one folder and allocate nothing here.
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

    /// Counts a file that is kept in the list of inputs.
    ///
    /// # Errors
    /// The list exceeds its memory limit.
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
    fn limits_and_cancel_end_the_work_and_name_the_path() {
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
