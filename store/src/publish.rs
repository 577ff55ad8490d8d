//! An output appears completely, or not at all.
//!
//! ```text
//! create ──▶ .NAME.windrow-JOB/ + nonce ──place_part──▶ + _parts/* ──commit──▶ + parts, + _SUCCESS, − all else ──rename──▶ NAME/
//!                      └───────────── abandon: the folder is gone ◀─────────────┘
//! ```
//! The staging folder lies beside the output, so the last step is one rename. Every attempt places its parts under
//! names of its own, so that a fenced attempt that does not know it yet cannot touch those of the winner; the commit
//! takes the winners' parts and removes the folder of the others. Every step may be repeated after a crash at any
//! point: names follow from the output and the job, and an output that this job has committed is recognised by the job
//! id in its manifest.

use crate::error::{Result, StoreError};
use crate::folders;
use crate::output::{canonical_output, check_free};
use crate::remove_tree::remove_tree;
use crate::replace::{self, Flags};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use windrow_failpoint::{crashpoint, failpoint};
use windrow_format::durable::{self, Durability};
use windrow_format::regular_file;
use windrow_format::{manifest, names, private};
use windrow_model::{AttemptId, BadRecord, Code, Escape, JobId, Manifest, SinkSpec, StagedPart, path_text};

/// The folders in which a job collects the parts of one output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staging {
    /// Path of the output, with symbolic links resolved, so that staging is on the same file system.
    pub output: PathBuf,
    /// The hidden folder beside the output.
    pub folder: PathBuf,
    /// Id of the job.
    pub job: JobId,
}

impl Staging {
    /// Computes the names only, for a folder that was created before a restart. Touches no file.
    pub fn at(output: &Path, job: JobId) -> Result<Staging> {
        let output = canonical_output(output)?;
        if output.file_name().is_none() {
            return Err(StoreError::new(Code::OutputFailed, "the root folder cannot be an output"));
        }
        Ok(Staging { folder: names::staging_folder(&output, job), output, job })
    }

    /// Creates the folder and its missing parents (and records the topmost), and its nonce. Keeps what this job has
    /// created before.
    pub fn create(output: &Path, job: JobId, durability: Durability) -> Result<Staging> {
        Staging::create_with(output, job, durability, &[])
    }

    /// Creates the staging folder of one of several outputs of a job: a parent that was created for one of the `others`
    /// was created for this one too.
    pub(crate) fn create_with(
        output: &Path,
        job: JobId,
        durability: Durability,
        others: &[(u32, Staging)],
    ) -> Result<Staging> {
        let staging = Staging::at(output, job)?;
        let fail = |e: io::Error| StoreError::output(&staging.folder, "cannot make the staging folder", &e);
        let made = folders::create(&staging.folder.join(names::PARTS), durability).map_err(fail)?;
        let by_others =
            || others.iter().find_map(|(_, other)| made_for(&other.folder).filter(|m| output_in(&staging, m)));
        let first = by_others().or_else(|| made.clone().filter(|made| output_in(&staging, made)));
        let noted = first.map_or(Ok(()), |first| {
            durable::write(&staging.folder.join(names::MADE), first.as_os_str().as_bytes(), durability)
        });
        noted.and_then(|()| write_nonce(&staging.folder, durability)).map_err(|e| {
            // Return the first error.
            let _ = remove(&staging.folder);
            made.iter().for_each(|first| folders::remove_empty(durable::parent(&staging.folder), first));
            fail(e)
        })?;
        Ok(staging)
    }

    /// The random text in the folder: a machine that reads the same text sees the same folder.
    pub fn nonce(&self) -> Result<String> {
        // On storage of users, which may not answer: callers have a deadline for it, which covers a pipe in its place, too.
        let read = || {
            let mut nonce = String::new();
            let file = fs::File::open(self.folder.join(names::NONCE))?;
            file.take(regular_file::NOTE_BYTES_MAX).read_to_string(&mut nonce)?;
            Ok(nonce)
        };
        read().map_err(|e| StoreError::output(&self.folder, "cannot read the nonce", &e))
    }
}

/// Returns whether the output lies in this folder.
fn output_in(staging: &Staging, folder: &Path) -> bool {
    durable::parent(&staging.folder).starts_with(folder)
}

/// The topmost folder that was created to hold a staging folder.
fn made_for(folder: &Path) -> Option<PathBuf> {
    regular_file::read(&folder.join(names::MADE), regular_file::NOTE_BYTES_MAX)
        .ok()
        .map(|path| PathBuf::from(OsStr::from_bytes(&path)))
}

fn write_nonce(folder: &Path, durability: Durability) -> io::Result<()> {
    let path = folder.join(names::NONCE);
    if path.symlink_metadata().is_ok() {
        return Ok(());
    }
    let nonce = format!("{:032x}", u128::from_ne_bytes(durable::random()?));
    durable::write(&path, nonce.as_bytes(), durability)
}

/// Checks that this machine sees the coordinator's staging folder. Called on every worker before the first task.
pub fn check_nonce(folder: &Path, nonce: &str) -> Result<()> {
    let what = match regular_file::read_note(folder.join(names::NONCE)) {
        Ok(found) if found == nonce => return Ok(()),
        Ok(_) => "another folder of the same name".to_string(),
        Err(e) => e.to_string(),
    };
    let message = format!("{}: the coordinator's staging folder is not here: {what}", folder.escaped());
    Err(StoreError::new(Code::OutputNotShared, message))
}

/// Moves an attempt's part file into a staging folder under a name of its own; copies it from another file system. May
/// be repeated, even after the file has moved.
pub fn place_part(
    staging_folder: &Path,
    attempt: &AttemptId,
    suffix: &str,
    source: &Path,
    durability: Durability,
) -> Result<()> {
    let folder = staging_folder.join(names::PARTS);
    let part = folder.join(names::attempt_part(attempt, suffix));
    let fail = |e: io::Error| StoreError::output(&part, "cannot place the part", &e);
    match move_part(source, &part, durability) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            if !folder.is_dir() {
                Err(StoreError::output(staging_folder, "the staging folder is gone", &e))
            } else if part.is_file() {
                // Moved by an earlier call whose answer was lost, perhaps before the folder was synced.
                durable::sync_folder(&folder, durability).map_err(fail)
            } else {
                let message = format!("{}: the attempt's part file is gone: {e}", source.escaped());
                Err(StoreError::new(Code::IoError, message))
            }
        }
        Err(e) => Err(fail(e)),
    }
}

fn move_part(source: &Path, part: &Path, durability: Durability) -> io::Result<()> {
    failpoint!("publish.place")?;
    // In the scratch folder the file was private.
    private::open_to_readers(source)?;
    durable::sync_path(source, durability)?;
    match fs::rename(source, part) {
        Ok(()) => {
            crashpoint!("publish.placed");
            durable::sync_folder(durable::parent(part), durability)
        }
        Err(e) if e.kind() == io::ErrorKind::CrossesDevices => copy_part(source, part, durability),
        Err(e) => Err(e),
    }
}

fn copy_part(source: &Path, part: &Path, durability: Durability) -> io::Result<()> {
    let mut from = regular_file::open(source)?;
    durable::write_with(part, durability, |to| io::copy(&mut from, to))?;
    // The scratch folder is removed as a whole; until then the file only costs space.
    let _ = fs::remove_file(source);
    Ok(())
}

/// Makes one output of a job visible, from the staged parts of the job. `index` is the number of its sink. See [`commit`].
///
/// # Errors
/// A part is missing, or those of [`commit`].
pub fn commit_output(
    staging: &Staging,
    name: &str,
    (index, sink): (u32, &SinkSpec),
    parts: &[StagedPart],
    bad_records: &[BadRecord],
    durability: Durability,
) -> Result<()> {
    let manifest::Sealed { manifest, winners } = manifest::of_output(staging.job, name, index, sink, parts)
        .map_err(|gap| StoreError::new(Code::Internal, format!("{}: part {gap} is missing", sink.path.escaped())))?;
    commit(staging, &manifest, &winners, bad_records, sink.overwrite, durability)
}

/// Makes the complete output visible: takes the parts of `winners` (one for each part of the manifest), checks them,
/// lists the records that are missing from them, writes `_SUCCESS`, syncs and renames. With `overwrite` the old output
/// is exchanged and then deleted. May be repeated after a crash or a success, with the same winners.
pub fn commit(
    staging: &Staging,
    manifest: &Manifest,
    winners: &[AttemptId],
    bad_records: &[BadRecord],
    overwrite: bool,
    durability: Durability,
) -> Result<()> {
    if !bad_records.is_empty() && !is_committed(staging) {
        write_bad_records(&staging.folder, bad_records, durability)
            .map_err(|e| StoreError::output(&staging.folder, "cannot list the bad records", &e))?;
    }
    commit_with(staging, manifest, winners, overwrite, durability, Flags::Try)
}

/// Writes one line of JSON for each bad record, with the message of the first stage that read it and all stages that
/// left it out. A path that is not UTF-8 is written in the form of `path_text`.
fn write_bad_records(folder: &Path, records: &[BadRecord], durability: Durability) -> io::Result<()> {
    let mut stages: BTreeMap<(&Path, u64), Vec<u32>> = BTreeMap::new();
    for bad in records {
        let readers = stages.entry((&bad.place.file, bad.place.offset)).or_default();
        if !readers.contains(&bad.task.stage.0) {
            readers.push(bad.task.stage.0);
        }
    }
    let mut lines = Vec::new();
    for bad in records {
        let Some(stages) = stages.remove(&(bad.place.file.as_path(), bad.place.offset)) else { continue };
        let line = serde_json::json!({
            "file": path_text(&bad.place.file),
            "offset": bad.place.offset,
            "record": bad.place.excerpt,
            "code": bad.code.as_str(),
            "message": bad.message,
            "stage": bad.task.stage.0,
            "stages": stages,
            "task": bad.task.index,
        });
        serde_json::to_writer(&mut lines, &line)?;
        lines.push(b'\n');
    }
    durable::write(&folder.join(names::BAD_RECORDS), &lines, durability)
}

fn commit_with(
    staging: &Staging,
    manifest: &Manifest,
    winners: &[AttemptId],
    overwrite: bool,
    durability: Durability,
    flags: Flags,
) -> Result<()> {
    assert_eq!(staging.job, manifest.job, "a job commits its own manifest");
    let Staging { output, folder, job } = staging;
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
    let _ = remove(folder);
    crashpoint!("publish.old-removed");
    let _ = remove(&trash);
    Ok(())
}

/// Returns whether the output exists and is this job's, or was until another output replaced it.
fn is_committed(staging: &Staging) -> bool {
    let job_of = |folder: &Path| manifest::read(folder).ok().map(|m| m.job);
    job_of(&staging.output) == Some(staging.job)
        // In the staging folder a manifest of another job can only be the old output that was exchanged for this job's.
        || job_of(&staging.folder).is_some_and(|job| job != staging.job)
}

/// Renames the winners' parts to their final names. Parts that have them already got them from an earlier try.
fn take_winners(folder: &Path, manifest: &Manifest, winners: &[AttemptId]) -> Result<()> {
    assert_eq!(manifest.parts.len(), winners.len(), "every part has its winner");
    for (part, winner) in manifest.parts.iter().zip(winners) {
        let suffix = names::parse_part(&part.name).map_or("", |(_, suffix)| suffix);
        let placed = folder.join(names::PARTS).join(names::attempt_part(winner, suffix));
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
            remove(&entry.path()).map_err(fail)?;
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
pub fn abandon(staging: &Staging) -> Result<()> {
    let fail = |e: io::Error| StoreError::output(&staging.folder, "cannot remove the staging folder", &e);
    let trash = names::trash_folder(&staging.output, staging.job);
    if trash.symlink_metadata().is_ok() {
        // A commit died between two renames: restore the old output if its path is free.
        match replace::rename_new(&trash, &staging.output, Flags::Try) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => remove(&trash).map_err(fail)?,
            Err(e) => return Err(fail(e)),
        }
    }
    // A worker that does not know of the abandonment yet may place one more part meanwhile.
    crashpoint!("publish.abandon");
    remove_staging(&staging.folder).map_err(fail)
}

/// Removes a staging folder, and the folders that were created for it unless they have other entries by now.
pub fn remove_staging(folder: &Path) -> io::Result<()> {
    let made = made_for(folder);
    let mut removed = remove(folder);
    for _ in 0..3 {
        match &removed {
            Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => removed = remove(folder),
            _ => break,
        }
    }
    removed?;
    made.iter().for_each(|first| folders::remove_empty(durable::parent(folder), first));
    Ok(())
}

/// Removes a file or a folder with its contents; a missing path is not an error.
fn remove(path: &Path) -> io::Result<()> {
    match remove_tree(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Durability::NoSync;

    use windrow_model::{Epoch, Incarnation, StageId, TaskId};

    fn winner(n: u8) -> [AttemptId; 1] {
        let task = TaskId { job: JobId::from_bytes([n; 16]), stage: StageId(0), index: 0 };
        [AttemptId { task, number: 0, epoch: Epoch(1), incarnation: Incarnation(1) }]
    }

    fn stage(output: &Path, n: u8) -> (Staging, Manifest) {
        let job = JobId::from_bytes([n; 16]);
        let staging = Staging::create(output, job, NoSync).unwrap();
        let source = output.with_file_name("source");
        fs::write(&source, [n]).unwrap();
        place_part(&staging.folder, &winner(n)[0], "", &source, NoSync).unwrap();
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
            commit_with(&staging, &manifest, &winner(n), n > 1, NoSync, Flags::Without).unwrap();
            commit_with(&staging, &manifest, &winner(n), n > 1, NoSync, Flags::Without).unwrap();
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
            commit(&staging, &manifest, &winner(1), &[], false, NoSync).unwrap();
            let (staging, manifest) = stage(&output, 2);
            fs::rename(&output, names::trash_folder(&output, staging.job)).unwrap();
            if commits {
                commit(&staging, &manifest, &winner(2), &[], true, NoSync).unwrap();
            } else {
                abandon(&staging).unwrap();
            }
            assert_eq!(fs::read(output.join("part-00000")).unwrap(), [if commits { 2 } else { 1 }]);
            assert_eq!(names_in(dir.path()), ["out"]);
        }
    }
}
