//! Which jobs may have staged outputs, noted in files before anything is staged: `staging/JOB`.
//!
//! A job is split while its submit is on the way to the journal. If the coordinator dies before the journal has it, only
//! the note shows the next epoch that planning was tried and that there may be folders to remove; the same holds for one that
//! died between the record of an end and the removal. Notes survive processes, not power cuts: then a hidden folder may stay.

use crate::earlier_staging::{remove_staging, staged};
use crate::error::Error;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use windrow_failpoint::crashpoint;
use windrow_format::durable::{self, Durability};
use windrow_format::private;
use windrow_format::regular_file;
use windrow_model::{JobId, JobSpec};
use windrow_store::{Receipts, StorageCalls};

/// Tries of a removal that may end with the process.
const TRIES_MAX: u32 = 2;

/// The folder of the notes.
#[derive(Clone, Debug)]
pub(crate) struct StagingLog {
    folder: PathBuf,
}

impl StagingLog {
    /// Opens the folder, or makes it.
    pub(crate) fn open(folder: PathBuf) -> Result<Self, Error> {
        private::create_folders(&folder).map_err(Error::data_dir(&folder, "make the folder of notes"))?;
        Ok(StagingLog { folder })
    }

    /// Makes the note of a job, before its paths are touched.
    pub(crate) fn note(&self, spec: &JobSpec) {
        // Each ends with a byte that no path has.
        let text: String = staged(&spec.plan.sinks).flat_map(|(_, sink)| [sink.path.as_str(), "\0"]).collect();
        if let Err(e) = durable::write_private(&self.path(spec.id), text.as_bytes(), Durability::NoSync) {
            tracing::warn!(job = %spec.id, "what it stages is not noted: {e}");
        }
    }

    /// Removes the note, when no folder is left to remove.
    pub(crate) fn forget(&self, job: JobId) {
        let _ = fs::remove_file(self.path(job));
    }

    /// Removes the stagings of all jobs but those that continue. A note whose removal has ended the process twice is
    /// dropped: the hidden folder may stay then. One whose file system does not answer stays for the next start.
    /// Returns the jobs of the notes.
    pub(crate) async fn remove_others(&self, running: &BTreeSet<JobId>, storage: &StorageCalls) -> BTreeSet<JobId> {
        let mut others = BTreeSet::new();
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some((job, tries)) = name.to_str().and_then(parse) else { continue };
            if running.contains(&job) {
                continue;
            }
            others.insert(job);
            if tries >= TRIES_MAX {
                tracing::warn!(%job, tries, "the removal of its staging folders ended the coordinator: they stay");
                let _ = fs::remove_file(entry.path());
                continue;
            }
            // Before its paths are touched.
            let trying = self.folder.join(format!("{job}.{}", tries + 1));
            if let Err(e) = fs::rename(entry.path(), &trying) {
                tracing::warn!(%job, "its staging folders stay: {e}");
                continue;
            }
            let text = regular_file::read_note(&trying).unwrap_or_default();
            crashpoint!("staged.removing");
            // Without receipts it does not matter which sink an output belongs to.
            let outputs = (0u32..).zip(text.split_terminator('\0').map(PathBuf::from)).collect();
            match remove_staging(job, outputs, Receipts::default(), storage).await {
                true => drop(fs::remove_file(&trying)),
                // The removal has ended without a crash.
                false => drop(fs::rename(&trying, entry.path())),
            }
        }
        others
    }

    fn path(&self, job: JobId) -> PathBuf {
        self.folder.join(job.to_string())
    }
}

/// `JOB`, or `JOB.TRIES`.
fn parse(name: &str) -> Option<(JobId, u32)> {
    match name.split_once('.') {
        Some((job, tries)) => Some((job.parse().ok()?, tries.parse().ok()?)),
        None => Some((name.parse().ok()?, 0)),
    }
}
