//! Outputs on local or mounted file systems: an output appears completely, or not at all.
//!
//! ```text
//! stage ──▶ .NAME.windrow-JOB/ + nonce ──place──▶ + _parts/* ──commit──▶ + parts, + _SUCCESS, − all else ──rename──▶ NAME/
//!                      └───────────── abandon: the folder is gone ◀─────────────┘
//! ```
//! The staging folder lies beside the output, so the last step is one rename. The commit takes the winners' parts and removes the
//! folder of the others. Names follow from the output and the job, and an output that this job has committed is recognised by the
//! job id in its manifest. Receipts are empty.

mod check;
mod commit;
mod folders;
mod parts;
mod staging_folder;
mod state;

use super::{CompleteOutput, Output, PartFile};
use crate::commit_state::CommitState;
use crate::error::{Result, StoreError};
use crate::receipts::{Placed, Receipt};
use crate::staging::Staging;
use crate::steps::Steps;
use std::path::{Path, PathBuf};
use windrow_format::durable::Durability;
use windrow_model::{Code, JobId, Location};

/// File systems of this machine.
#[derive(Debug)]
pub(super) struct Files;

/// The path of an output of this kind.
fn path_of(output: Location<'_>) -> Result<&Path> {
    output.path().ok_or_else(|| StoreError::new(Code::OutputFailed, format!("{output} is not a path")))
}

impl Output for Files {
    fn holds(&self, location: Location<'_>) -> bool {
        location.path().is_some()
    }

    fn canonical(&self, output: Location<'_>) -> Result<PathBuf> {
        check::canonical_output(path_of(output)?)
    }

    fn check_apart(&self, output: Location<'_>, inputs: &[String], steps: &Steps) -> Result<()> {
        check::check_apart(path_of(output)?, inputs, steps)
    }

    fn check_free(&self, output: Location<'_>, overwrite: bool) -> Result<()> {
        check::check_free(path_of(output)?, overwrite)
    }

    fn staging(&self, output: Location<'_>, job: JobId) -> Result<Staging> {
        staging_folder::names(path_of(output)?, job)
    }

    fn stage(
        &self,
        output: Location<'_>,
        job: JobId,
        durability: Durability,
        others: &[(u32, Staging)],
    ) -> Result<Staging> {
        staging_folder::create(path_of(output)?, job, durability, others)
    }

    fn nonce(&self, staging: &Staging) -> Result<String> {
        staging_folder::nonce(&staging.area)
    }

    fn check_nonce(&self, area: &Path, nonce: &str) -> Result<()> {
        staging_folder::check_nonce(area, nonce)
    }

    fn place(&self, area: &Path, part: PartFile<'_>, durability: Durability, progress: &dyn Fn()) -> Result<Receipt> {
        parts::place(area, part, durability, progress)?;
        Ok(Receipt::default())
    }

    fn state(&self, staging: &Staging) -> Result<CommitState> {
        state::commit_state(staging)
    }

    fn commit(&self, staging: &Staging, output: &CompleteOutput<'_>, durability: Durability) -> Result<()> {
        commit::commit(staging, output, durability)
    }

    fn abandon(&self, staging: &Staging, _: &[Placed<'_>]) -> Result<()> {
        commit::abandon(staging)
    }

    fn earlier(&self, output: Location<'_>) -> Result<Vec<(JobId, PathBuf)>> {
        staging_folder::earlier(path_of(output)?)
    }

    fn remove(&self, area: &Path) -> Result<()> {
        staging_folder::remove(area).map_err(|e| StoreError::output(area, "cannot remove the staging folder", &e))
    }
}
