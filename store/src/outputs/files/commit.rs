//! Makes an output visible by one rename, or removes its staging.

use super::check::check_free;
use super::staging_folder::{self, remove_path};
use crate::error::{Result, StoreError};
use crate::outputs::{CompleteOutput, bad_record_lines};
use crate::receipts::Placed;
use crate::replace::{self, Flags};
use crate::staging::Staging;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::Path;
use windrow_failpoint::{crashpoint, failpoint};
use windrow_format::durable::{self, Durability};
use windrow_format::{manifest, names};
use windrow_model::{BadRecord, Code, Escape, Manifest};

/// Takes the winners' parts, checks them, lists the records that are missing from them, writes `_SUCCESS`, syncs and renames. With
/// `overwrite` the old output is exchanged and then deleted.
pub(super) fn commit(staging: &Staging, output: &CompleteOutput<'_>, durability: Durability) -> Result<()> {
    if !output.bad_records.is_empty() && !is_committed(staging) {
        write_bad_records(&staging.area, output.bad_records, durability)
            .map_err(|e| StoreError::output(&staging.area, "cannot list the bad records", &e))?;
    }
    commit_with(staging, output, durability, Flags::Try)
}

fn write_bad_records(folder: &Path, records: &[BadRecord], durability: Durability) -> io::Result<()> {
    durable::write(&folder.join(names::BAD_RECORDS), &bad_record_lines(records)?, durability)
}

fn commit_with(staging: &Staging, complete: &CompleteOutput<'_>, durability: Durability, flags: Flags) -> Result<()> {
    let CompleteOutput { manifest, winners, overwrite, .. } = *complete;
    assert_eq!(staging.job, manifest.job, "a job commits its own manifest");
    let Staging { output, area: folder, job } = staging;
    let trash = names::trash_folder(output, *job);
    if !is_committed(staging) {
        take_winners(folder, manifest, winners)?;
        crashpoint!("publish.taken");
        seal(folder, manifest, durability)?;
        crashpoint!("publish.sealed");
        // This check gives the clearer message; the rename decides.
        check_free(output, overwrite)?;
        let renamed = failpoint!("publish.rename").and_then(|()| replace::rename_new(folder, output, flags));
        let placed = match renamed {
            Err(e) if overwrite && e.kind() == io::ErrorKind::AlreadyExists => {
                replace::swap(folder, output, &trash, flags)
            }
            other => other,
        };
        placed.map_err(|e| match e.kind() {
            io::ErrorKind::AlreadyExists => {
                StoreError::new(Code::OutputExists, format!("{}: the output exists", output.escaped()))
            }
            _ => StoreError::output(output, &format!("cannot be renamed from {}", folder.escaped()), &e),
        })?;
    }
    crashpoint!("publish.renamed");
    durable::sync_folder(durable::parent(output), durability)
        .map_err(|e| StoreError::output(output, "cannot sync its parent folder", &e))?;
    // The output is committed. A leftover of the old one is hidden and does not fail the job.
    let _ = remove_path(folder);
    crashpoint!("publish.old-removed");
    let _ = remove_path(&trash);
    Ok(())
}

/// Returns whether the output exists and is this job's, or was until another output replaced it.
fn is_committed(staging: &Staging) -> bool {
    let job_of = |folder: &Path| manifest::read(folder).ok().map(|m| m.job);
    job_of(&staging.output) == Some(staging.job)
        // In the staging folder a manifest of another job can only be the old output that was exchanged for this job's.
        || job_of(&staging.area).is_some_and(|job| job != staging.job)
}

/// Renames the winners' parts to their final names. Parts that have them already got them from an earlier try.
fn take_winners(folder: &Path, manifest: &Manifest, winners: &[Placed<'_>]) -> Result<()> {
    assert_eq!(manifest.parts.len(), winners.len(), "every part has its winner");
    for (part, winner) in manifest.parts.iter().zip(winners) {
        let suffix = names::parse_part(&part.name).map_or("", |(_, suffix)| suffix);
        let placed = folder.join(names::PARTS).join(names::attempt_part(&winner.attempt, suffix));
        let taken = failpoint!("publish.take").and_then(|()| fs::rename(&placed, folder.join(&part.name)));
        match taken {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::output(&placed, "cannot take the part", &e));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Removes everything from the staging folder that is not part of the output, syncs it and writes the manifest.
fn seal(folder: &Path, manifest: &Manifest, durability: Durability) -> Result<()> {
    let fail = |e: io::Error| StoreError::output(folder, "cannot finish the output", &e);
    manifest::verify_sizes(folder, manifest)?;
    let listed: BTreeSet<&OsStr> = manifest.parts.iter().map(|p| OsStr::new(p.name.as_str())).collect();
    for entry in fs::read_dir(folder).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        // Removes the nonce, and the parts of attempts that did not win.
        let name = entry.file_name();
        if !listed.contains(&*name) && name != names::BAD_RECORDS {
            remove_path(&entry.path()).map_err(fail)?;
            crashpoint!("publish.leftover-removed");
        }
    }
    for part in &manifest.parts {
        failpoint!("publish.sync")
            .and_then(|()| durable::sync_path(&folder.join(&part.name), durability))
            .map_err(fail)?;
    }
    failpoint!("publish.manifest").and_then(|()| manifest::write(folder, manifest, durability)).map_err(fail)
}

/// Deletes the staging of a job that will not commit, and the folders that were created for it. May be repeated, even
/// after a commit.
pub(super) fn abandon(staging: &Staging) -> Result<()> {
    let fail = |e: io::Error| StoreError::output(&staging.area, "cannot remove the staging folder", &e);
    let trash = names::trash_folder(&staging.output, staging.job);
    if trash.symlink_metadata().is_ok() {
        // A commit died between two renames: restore the old output if its path is free.
        match replace::rename_new(&trash, &staging.output, Flags::Try) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => remove_path(&trash).map_err(fail)?,
            Err(e) => return Err(fail(e)),
        }
    }
    crashpoint!("publish.abandon");
    staging_folder::remove(&staging.area).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Durability::NoSync;

    use crate::outputs::PartFile;
    use crate::outputs::files::parts;
    use crate::receipts::Receipt;
    use windrow_model::{AttemptId, Epoch, Incarnation, JobId, StageId, TaskId};

    fn attempt(n: u8) -> AttemptId {
        let task = TaskId { job: JobId::from_bytes([n; 16]), stage: StageId(0), index: 0 };
        AttemptId { task, number: 0, epoch: Epoch(1), incarnation: Incarnation(1) }
    }

    fn commit_as(staging: &Staging, manifest: &Manifest, n: u8, overwrite: bool, flags: Flags) {
        let winners = [Placed { attempt: attempt(n), receipt: &Receipt::default() }];
        let output = CompleteOutput { manifest, winners: &winners, others: &[], bad_records: &[], overwrite };
        commit_with(staging, &output, NoSync, flags).unwrap();
    }

    fn stage(output: &Path, n: u8) -> (Staging, Manifest) {
        let job = JobId::from_bytes([n; 16]);
        let staging = staging_folder::create(output, job, NoSync, &[]).unwrap();
        let source = output.with_file_name("source");
        fs::write(&source, [n]).unwrap();
        let part = PartFile { attempt: &attempt(n), suffix: "", file: &source };
        parts::place(&staging.area, part, NoSync, &|| {}).unwrap();
        (staging, manifest::build(job, "", "", vec![manifest::part(0, "", 1, 1, 0)]))
    }

    fn names_in(folder: &Path) -> Vec<String> {
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn overwrite_without_atomic_exchange_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let output = dir.path().join("out");
        for n in 1..=3 {
            let (staging, manifest) = stage(&output, n);
            commit_as(&staging, &manifest, n, n > 1, Flags::Without);
            commit_as(&staging, &manifest, n, n > 1, Flags::Without);
            assert_eq!(fs::read(output.join("part-00000")).unwrap(), [n]);
            assert_eq!(names_in(dir.path()), ["out"]);
        }
    }

    /// Between the two renames of an exchange the old output is in the trash, and its path is free.
    #[test]
    fn crash_between_two_renames_loses_no_output() {
        for commits in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let output = dir.path().join("out");
            let (staging, manifest) = stage(&output, 1);
            commit_as(&staging, &manifest, 1, false, Flags::Try);
            let (staging, manifest) = stage(&output, 2);
            fs::rename(&output, names::trash_folder(&output, staging.job)).unwrap();
            if commits {
                commit_as(&staging, &manifest, 2, true, Flags::Try);
            } else {
                abandon(&staging).unwrap();
            }
            assert_eq!(fs::read(output.join("part-00000")).unwrap(), [if commits { 2 } else { 1 }]);
            assert_eq!(names_in(dir.path()), ["out"]);
        }
    }
}
