//! How long histories are kept: by age and by bytes, oldest first. Logs of running jobs stay.

use crate::files::{Folder, Found};
use std::collections::BTreeSet;
use std::io;
use std::time::Duration;
use windrow_model::JobId;

/// What is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Time after the last change of its files for which the history of a job is kept. 0: no histories are written.
    pub keep: Duration,
    /// Bytes of the histories of all jobs together. 0: no histories are written.
    pub bytes_max: u64,
}

impl Default for Retention {
    /// 30 days and 10 GiB.
    fn default() -> Self {
        Retention { keep: Duration::from_secs(30 * 24 * 3600), bytes_max: 10 << 30 }
    }
}

impl Retention {
    /// Whether histories are written.
    pub fn is_on(&self) -> bool {
        !self.keep.is_zero() && self.bytes_max > 0
    }

    /// Time between two passes.
    pub(crate) fn pass_interval(&self) -> Duration {
        (self.keep / 8).clamp(Duration::from_millis(200), Duration::from_secs(60))
    }

    /// The jobs whose histories go, oldest first. `now`: milliseconds since 1970.
    fn expired(&self, mut jobs: Vec<(JobId, Found)>, is_live: &dyn Fn(JobId) -> bool, now: u64) -> Vec<JobId> {
        jobs.sort_by_key(|(job, found)| (found.changed_unix_ms, *job));
        let mut bytes = jobs.iter().fold(0u64, |sum, (_, found)| sum.saturating_add(found.bytes));
        let oldest = now.saturating_sub(self.keep.as_millis() as u64);
        let mut expired = Vec::new();
        for (job, found) in jobs {
            if (found.changed_unix_ms < oldest || bytes > self.bytes_max) && !is_live(job) {
                bytes = bytes.saturating_sub(found.bytes);
                expired.push(job);
            }
        }
        expired
    }

    /// Deletes the histories that go. Returns how many jobs have lost theirs.
    ///
    /// # Errors
    /// A folder cannot be listed, or a file cannot be deleted.
    pub(crate) fn apply(&self, folder: &Folder, is_live: &dyn Fn(JobId) -> bool, now: u64) -> io::Result<usize> {
        let months = folder.months()?;
        let mut jobs = Vec::new();
        for month in &months {
            jobs.extend(folder.jobs_in(month)?);
        }
        let expired: BTreeSet<JobId> = self.expired(jobs, is_live, now).into_iter().collect();
        // A job may have begun meanwhile whose id was used before.
        for job in expired.iter().filter(|job| !is_live(**job)) {
            folder.job(*job).remove()?;
        }
        for month in months {
            // Only empty folders go.
            let _ = std::fs::remove_dir(&month);
            month.parent().map(std::fs::remove_dir);
        }
        Ok(expired.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn job(n: u8) -> JobId {
        JobId::from_bytes([n; 16])
    }

    fn found(changed_unix_ms: u64, bytes: u64) -> Found {
        Found { parts: vec![0], bytes, changed_unix_ms }
    }

    #[test]
    fn oldest_histories_go_by_age_and_by_bytes() {
        let jobs = vec![
            (job(1), found(5_000, 10)),
            (job(2), found(1_000, 10)),
            (job(3), found(3_000, 10)),
            (job(4), found(9_000, 10)),
        ];
        let expired = |keep, bytes_max, live: &[u8]| {
            let retention = Retention { keep: Duration::from_millis(keep), bytes_max };
            let live: BTreeSet<JobId> = live.iter().map(|n| job(*n)).collect();
            retention.expired(jobs.clone(), &|job| live.contains(&job), 10_000)
        };
        assert_eq!(expired(20_000, 1_000, &[]), []);
        assert_eq!(expired(7_000, 1_000, &[]), [job(2)]);
        assert_eq!(expired(20_000, 25, &[]), [job(2), job(3)]);
        assert_eq!(expired(20_000, 25, &[2]), [job(3), job(1)], "a running job keeps its log");
        assert_eq!(expired(1, 0, &[4]), [job(2), job(3), job(1)]);
    }

    #[test]
    fn only_files_of_jobs_are_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path());
        let (old, live) = (folder.job(job(1)), folder.job(job(2)));
        fs::create_dir_all(old.folder()).unwrap();
        for path in [old.part(0), old.part(1), old.summary(), live.part(0), old.folder().join("notes.txt")] {
            fs::write(path, "x").unwrap();
        }
        let retention = Retention { keep: Duration::from_millis(1), bytes_max: 1 << 20 };
        let later = u64::MAX;
        assert_eq!(retention.apply(&folder, &|id| id == job(2), later).unwrap(), 1);
        let left: BTreeSet<_> = fs::read_dir(old.folder()).unwrap().map(|e| e.unwrap().path()).collect();
        assert_eq!(left, BTreeSet::from([live.part(0), old.folder().join("notes.txt")]));
        fs::remove_file(old.folder().join("notes.txt")).unwrap();
        assert_eq!(retention.apply(&folder, &|_| false, later).unwrap(), 1);
        assert!(!old.folder().exists(), "an empty month is removed");
        assert_eq!(retention.apply(&folder, &|_| false, later).unwrap(), 0);
    }
}
