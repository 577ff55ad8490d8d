//! Bounds the planning work on a job's paths: it can be cancelled from another thread, and is limited in entries and
//! memory.
//!
//! All code that walks, matches or cuts files takes a step for each entry, before it touches it. The step counter also
//! shows another thread whether the work makes progress or hangs in a file system call.

use crate::error::{Result, StoreError};
use crate::listed_total::ListedTotal;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use windrow_model::{ByteSize, Code, Escape};

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
    /// Of this job and others.
    total: Arc<ListedTotal>,
}

impl Default for Steps {
    fn default() -> Self {
        Steps::limited(STEPS_MAX, LISTED_BYTES_MAX)
    }
}

impl Steps {
    /// Creates a counter with these limits.
    pub fn limited(steps_max: u64, listed_bytes_max: u64) -> Self {
        Steps::new(steps_max, listed_bytes_max, Arc::default())
    }

    /// Creates a counter whose list of inputs counts towards `total` until it is dropped.
    pub fn sharing(total: Arc<ListedTotal>) -> Self {
        Steps::new(STEPS_MAX, LISTED_BYTES_MAX, total)
    }

    fn new(steps_max: u64, listed_bytes_max: u64, total: Arc<ListedTotal>) -> Self {
        Steps {
            cancelled: AtomicBool::new(false),
            taken: AtomicU64::new(0),
            listed_bytes: AtomicU64::new(0),
            place: Mutex::new(PathBuf::new()),
            steps_max,
            listed_bytes_max,
            total,
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
    /// The list exceeds its memory limit, or the lists of all jobs that share a total exceed theirs.
    pub fn listed(&self, path: &Path) -> Result<()> {
        let bytes = FILE_BYTES + path.as_os_str().len() as u64;
        let is_within_total = self.total.add(bytes);
        if self.listed_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > self.listed_bytes_max {
            let max = self.listed_bytes_max;
            let what = format!("{}: the list of inputs takes more than {max} bytes of memory", path.escaped());
            return Err(StoreError::new(Code::InputUnreadable, what));
        }
        if !is_within_total {
            let max = ByteSize(self.total.bytes_max());
            let what = format!(
                "{}: the lists of inputs of this job and of others that are planned now take more than {max} of memory: \
                 submit the job again when others are planned",
                path.escaped()
            );
            return Err(StoreError::new(Code::BadRequest, what));
        }
        Ok(())
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.total.subtract(*self.listed_bytes.get_mut());
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

    #[test]
    fn lists_of_several_jobs_share_a_limit_until_they_are_dropped() {
        let total = Arc::new(ListedTotal::limited(2 * (FILE_BYTES + 5)));
        let path = Path::new("/in/a");
        let [first, second] = [Steps::sharing(total.clone()), Steps::sharing(total.clone())];
        first.listed(path).unwrap();
        second.listed(path).unwrap();
        let e = second.listed(path).unwrap_err();
        assert!(e.code == Code::BadRequest && e.message.contains("/in/a"), "{e}");
        drop(second);
        first.listed(path).unwrap();
        drop(first);
        assert_eq!(total.bytes(), 0);
    }
}
