//! How far a commit has come, as far as the file system shows. Changes nothing.
//!
//! A look that fails tells nothing about the output: it may be whole.

use crate::commit_state::CommitState;
use crate::error::{Result, StoreError};
use crate::staging::Staging;
use std::io;
use std::path::Path;
use windrow_format::manifest::{self, ManifestError};
use windrow_model::{Code, Escape, JobId};

/// Looks at an output and its staging folder.
///
/// # Errors
/// `OUTPUT_FAILED` if the file system does not show them.
pub(super) fn commit_state(staging: &Staging) -> Result<CommitState> {
    if job_of(&staging.output)? == Some(staging.job) || job_of(&staging.area)?.is_some_and(|job| job != staging.job) {
        return Ok(CommitState::Visible);
    }
    let is_there = |path: &Path| match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
        Err(e) => Err(unseen(path, &e)),
    };
    let parent = staging.area.parent().unwrap_or(Path::new("/"));
    Ok(match (is_there(&staging.area)?, is_there(parent)?) {
        (true, _) => CommitState::Staged,
        (false, true) => CommitState::Gone,
        (false, false) => CommitState::FolderGone,
    })
}

/// The job whose output this folder is.
fn job_of(folder: &Path) -> Result<Option<JobId>> {
    match manifest::read(folder) {
        Ok(manifest) => Ok(Some(manifest.job)),
        Err(ManifestError::Io { path, source }) => Err(unseen(&path, &source)),
        Err(_) => Ok(None),
    }
}

fn unseen(path: &Path, e: &io::Error) -> StoreError {
    let message = format!("{}: cannot be looked at: {e}", path.escaped());
    StoreError { away: true, ..StoreError::new(Code::OutputFailed, message) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outputs::files::staging_folder::create;
    use windrow_format::durable::Durability::NoSync;

    #[test]
    fn state_of_a_commit_is_seen_from_outside() {
        let place = tempfile::tempdir().unwrap();
        let (folder, job) = (place.path().join("deep"), JobId::from_bytes([1; 16]));
        std::fs::create_dir(&folder).unwrap();
        let output = folder.join("out");
        let staging = create(&output, job, NoSync, &[]).unwrap();
        assert_eq!(commit_state(&staging), Ok(CommitState::Staged));
        manifest::write(&staging.area, &manifest::build(job, "", "", vec![]), NoSync).unwrap();
        assert_eq!(commit_state(&staging), Ok(CommitState::Staged), "its own manifest, and not renamed yet");
        std::fs::rename(&staging.area, &output).unwrap();
        assert_eq!(commit_state(&staging), Ok(CommitState::Visible));
        // The output of another job, which ours was exchanged for, lies in the staging folder.
        let other = manifest::build(JobId::from_bytes([2; 16]), "", "", vec![]);
        std::fs::create_dir(&staging.area).unwrap();
        manifest::write(&staging.area, &other, NoSync).unwrap();
        std::fs::remove_dir_all(&output).unwrap();
        assert_eq!(commit_state(&staging), Ok(CommitState::Visible));
        std::fs::remove_dir_all(&staging.area).unwrap();
        assert_eq!(commit_state(&staging), Ok(CommitState::Gone));
        std::fs::remove_dir(&folder).unwrap();
        assert_eq!(commit_state(&staging), Ok(CommitState::FolderGone));
        // A loop of links cannot be looked at.
        std::os::unix::fs::symlink("deep", &folder).unwrap();
        let unseen = commit_state(&staging).unwrap_err();
        assert!(unseen.away && unseen.code == Code::OutputFailed, "{unseen}");
    }
}
