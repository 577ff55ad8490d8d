//! Removes leftovers of dead local runs. If both processes of a run are killed together, the next run in the same
//! folder cleans up.
//!
//! Each run locks its folder for temporary files. A folder that has been unlocked for a while belongs to a dead run;
//! the run's staging folders have its id in their names. Only folders of this user count: in `/tmp` another user may
//! make one with the id of a running job, whose staging folders must stay.

use rustix::fs::{FlockOperation, flock};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use windrow_format::names;
use windrow_model::{JobId, Location, Plan, SinkSpec};
use windrow_store::Outputs;

/// Age at which an unlocked folder counts as dead: a run locks its folder right after it has created it.
pub(crate) const UNLOCKED_FOR: Duration = Duration::from_secs(60);

/// Marks the folder as in use while the returned file is open. If the file system has no such locks, nothing is marked
/// and nothing is removed.
pub(crate) fn lock(folder: &Path) -> Option<File> {
    let file = File::open(folder).ok()?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Some(file),
        Err(_) => None,
    }
}

/// Removes the temporary folders of dead runs in `parent`, and their staging folders there and beside the outputs of
/// this plan.
pub(crate) fn remove(parent: &Path, plan: &Plan) {
    remove_of(rustix::process::geteuid().as_raw(), parent, &plan.sinks);
}

/// Removes the temporary folders of dead runs and sessions in `parent`, and their staging folders there.
pub(crate) fn remove_in(parent: &Path) {
    remove_of(rustix::process::geteuid().as_raw(), parent, &[]);
}

/// The same for what belongs to this user.
fn remove_of(user: u32, parent: &Path, sinks: &[SinkSpec]) {
    let dead: BTreeSet<JobId> = entries(parent).filter_map(|path| remove_dead(user, &path)).collect();
    if dead.is_empty() {
        return;
    }
    // The outputs of dead runs lay beside their temporary files, or beside the outputs of this plan.
    let here = parent.join("output");
    let outputs = Outputs::default();
    for location in sinks.iter().filter_map(|sink| sink.staged_at()).chain([Location::Path(&here)]) {
        let Ok(kind) = outputs.at(location) else { continue };
        let areas = kind.earlier(location).unwrap_or_default();
        areas.iter().filter(|(job, _)| dead.contains(job)).for_each(|(_, area)| remove_all(area));
    }
}

/// A folder (not a link to one) that belongs to this user.
fn folder_of(user: u32, path: &Path) -> Option<fs::Metadata> {
    path.symlink_metadata().ok().filter(|meta| meta.is_dir() && meta.uid() == user)
}

/// Removes the folder if its run is dead; returns the run's job.
fn remove_dead(user: u32, path: &Path) -> Option<JobId> {
    let job = names::parse_local_run_folder(path.file_name()?)?;
    let meta = folder_of(user, path)?;
    let age = meta.modified().ok()?.elapsed().unwrap_or(Duration::ZERO);
    if age < UNLOCKED_FOR {
        return None;
    }
    // Held during the removal, so that of two runs that start at the same time only one removes the folder.
    let _lock = lock(path)?;
    remove_all(path);
    Some(job)
}

fn remove_all(path: &Path) {
    let outputs = Outputs::default();
    if let Err(e) = outputs.of_area(path).and_then(|kind| kind.remove(path)) {
        crate::report::warning::warn(&format!("files of a dead run stay: {}", e.message));
    }
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;
    use windrow_model::Digest;

    #[test]
    fn leftovers_of_dead_runs_are_removed_and_used_folders_stay() {
        let dir = tempfile::tempdir().unwrap();
        let plan =
            Plan { stages: vec![], sinks: vec![], collects: vec![], sides: vec![], fingerprint: Digest::of(b"") };
        let [dead, alive, new] = [1, 2, 3].map(|n| {
            let job = JobId::from_bytes([n; 16]);
            let folder = dir.path().join(names::local_run_folder(job));
            fs::create_dir_all(folder.join("0-0-0-1")).unwrap();
            fs::create_dir(names::staging_folder(&dir.path().join("out"), job)).unwrap();
            if n < 3 {
                File::open(&folder).unwrap().set_modified(SystemTime::now() - 2 * UNLOCKED_FOR).unwrap();
            }
            (folder, names::staging_folder(&dir.path().join("out"), job))
        });
        fs::create_dir(dir.path().join(".windrow-of-another")).unwrap();
        let lock = lock(&alive.0).unwrap();
        remove_of(rustix::process::geteuid().as_raw() + 1, dir.path(), &plan.sinks);
        assert!(dead.0.exists() && dead.1.exists(), "they belong to another user");
        remove(dir.path(), &plan);
        assert!(!dead.0.exists() && !dead.1.exists());
        assert!([&alive, &new].iter().all(|(scratch, staging)| scratch.exists() && staging.exists()));
        assert!(dir.path().join(".windrow-of-another").exists());
        drop(lock);
        remove(dir.path(), &plan);
        assert!(!alive.0.exists() && !alive.1.exists() && new.0.exists());
    }
}
