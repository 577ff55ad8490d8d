//! The hidden folder beside an output in which a job collects its parts.

use super::check::canonical_output;
use super::folders;
use crate::error::{Result, StoreError};
use crate::remove_tree::remove_tree;
use crate::staging::Staging;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use windrow_format::durable::{self, Durability};
use windrow_format::names;
use windrow_format::regular_file;
use windrow_model::{Code, Escape, JobId};

/// The names of a job's staging. The output's symbolic links are resolved, so that staging is on the same file system.
pub(super) fn names(output: &Path, job: JobId) -> Result<Staging> {
    let output = canonical_output(output)?;
    if output.file_name().is_none() {
        return Err(StoreError::new(Code::OutputFailed, "the root folder cannot be an output"));
    }
    Ok(Staging { area: names::staging_folder(&output, job), output, job })
}

/// Creates the folder and its missing parents (and records the topmost), and its nonce. Keeps what this job has created before.
/// A parent that was created for one of the `others` was created for this output too.
pub(super) fn create(output: &Path, job: JobId, durability: Durability, others: &[(u32, Staging)]) -> Result<Staging> {
    let staging = names(output, job)?;
    // The commit makes the output's own name durable. Only folders that are new above it must be so from here on.
    let durability = if durable::parent(&staging.area).is_dir() { Durability::NoSync } else { durability };
    let fail = |e: io::Error| StoreError::output(&staging.area, "cannot make the staging folder", &e);
    let made = folders::create(&staging.area.join(names::PARTS), durability).map_err(fail)?;
    let by_others = || others.iter().find_map(|(_, other)| made_for(&other.area).filter(|m| output_in(&staging, m)));
    let first = by_others().or_else(|| made.clone().filter(|made| output_in(&staging, made)));
    let noted = first.map_or(Ok(()), |first| {
        durable::write(&staging.area.join(names::MADE), first.as_os_str().as_bytes(), durability)
    });
    noted.and_then(|()| write_nonce(&staging.area, durability)).map_err(|e| {
        // Return the first error.
        let _ = remove_path(&staging.area);
        made.iter().for_each(|first| folders::remove_empty(durable::parent(&staging.area), first));
        fail(e)
    })?;
    Ok(staging)
}

/// Returns whether the output lies in this folder.
fn output_in(staging: &Staging, folder: &Path) -> bool {
    durable::parent(&staging.area).starts_with(folder)
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

/// The random text in the folder.
pub(super) fn nonce(folder: &Path) -> Result<String> {
    // On storage of users, which may not answer: callers have a deadline for it, which covers a pipe in its place, too.
    let read = || {
        let mut nonce = String::new();
        let file = fs::File::open(folder.join(names::NONCE))?;
        file.take(regular_file::NOTE_BYTES_MAX).read_to_string(&mut nonce)?;
        Ok(nonce)
    };
    read().map_err(|e| StoreError::output(folder, "cannot read the nonce", &e))
}

/// Checks that this machine sees the coordinator's staging folder.
pub(super) fn check_nonce(folder: &Path, nonce: &str) -> Result<()> {
    let what = match regular_file::read_note(folder.join(names::NONCE)) {
        Ok(found) if found == nonce => return Ok(()),
        Ok(_) => "another folder of the same name".to_string(),
        Err(e) => e.to_string(),
    };
    let message = format!("{}: the coordinator's staging folder is not here: {what}", folder.escaped());
    Err(StoreError::new(Code::OutputNotShared, message))
}

/// The staging folders of this user beside an output. In a folder like `/tmp` another user may make one with the id of a running
/// job.
pub(super) fn earlier(output: &Path) -> Result<Vec<(JobId, PathBuf)>> {
    let user = rustix::process::geteuid().as_raw();
    let beside = durable::parent(output);
    let entries = match fs::read_dir(beside) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(StoreError::output(beside, "cannot list it", &e)),
    };
    let found = entries.flatten().filter_map(|entry| {
        let job = names::parse_staging(&entry.file_name())?;
        // A folder, not a link to one.
        let meta = entry.path().symlink_metadata().ok().filter(|meta| meta.is_dir() && meta.uid() == user);
        meta.map(|_| (job, entry.path()))
    });
    Ok(found.collect())
}

/// Removes a staging folder, and the folders that were created for it unless they have other entries by now.
pub(super) fn remove(folder: &Path) -> io::Result<()> {
    let made = made_for(folder);
    let mut removed = remove_path(folder);
    for _ in 0..3 {
        match &removed {
            // A worker that does not know of the removal yet may place one more part meanwhile.
            Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => removed = remove_path(folder),
            _ => break,
        }
    }
    removed?;
    made.iter().for_each(|first| folders::remove_empty(durable::parent(folder), first));
    Ok(())
}

/// Removes a file or a folder with its contents; a missing path is not an error.
pub(super) fn remove_path(path: &Path) -> io::Result<()> {
    match remove_tree(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
