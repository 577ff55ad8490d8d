//! The output folders of running jobs: no two jobs write to one folder, or one into the folder of the other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use windrow_model::{Code, Escape, Failure, JobId};

/// The canonical output folders of all running jobs. Shared by the threads that plan jobs; held only for a look.
#[derive(Clone, Debug, Default)]
pub(crate) struct Claims(Arc<Mutex<BTreeMap<PathBuf, JobId>>>);

impl Claims {
    // Each change of the map is one call, so a panic elsewhere leaves it whole.
    fn map(&self) -> MutexGuard<'_, BTreeMap<PathBuf, JobId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps `output` (canonical) for this job until `release`.
    pub(crate) fn claim(&self, output: &Path, job: JobId) -> Result<(), Failure> {
        let mut claims = self.map();
        if let Some((taken, by)) =
            claims.iter().find(|(taken, _)| taken.starts_with(output) || output.starts_with(taken))
        {
            let who = if *by == job { "another output of this job".into() } else { by.to_string() };
            let what = format!("{}: {who} writes to {}", output.escaped(), taken.escaped());
            return Err(Failure::new(Code::OutputInUse, what));
        }
        claims.insert(output.to_path_buf(), job);
        Ok(())
    }

    /// Releases all claims of this job.
    pub(crate) fn release(&self, job: JobId) {
        self.map().retain(|_, by| *by != job);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_belongs_to_one_running_job() {
        let claims = Claims::default();
        let (a, b) = (JobId::from_bytes([1; 16]), JobId::from_bytes([2; 16]));
        claims.claim(Path::new("/out/x"), a).unwrap();
        claims.claim(Path::new("/out/xy"), b).unwrap();
        for (path, job) in [("/out/x", b), ("/out/x", a), ("/out/x/deep", b), ("/out", b)] {
            assert_eq!(claims.claim(Path::new(path), job).unwrap_err().code, Code::OutputInUse, "{path}");
        }
        claims.release(a);
        claims.claim(Path::new("/out/x"), b).unwrap();
    }
}
