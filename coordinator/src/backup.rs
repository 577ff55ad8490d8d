//! Makes a coordinator's data folder from a backup: its journal, the artifacts of jobs that had not ended, and the token.
//!
//! A backup is a folder with `journal.dump` (`dump.rs`), `artifacts/` and `token`. Without one, the journal that lies in the data
//! folder is taken to be an older copy. Either way the next epoch is above every one that was reached since the copy was made,
//! and workers that have seen newer journals are admitted; chunks that the copy does not know are orphans then.

use crate::data_folder::{ARTIFACTS, JOURNAL, damage_mark};
use crate::dump;
use crate::error::Error;
use crate::journal::{DiskStore, JobStore};
use crate::lock::lock_data_dir;
use crate::wall_clock::unix_ms;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter};
use std::path::Path;
use windrow_format::durable::{self, Durability};
use windrow_format::regular_file;
use windrow_model::ClusterId;

/// The journal in a backup.
pub const DUMP: &str = "journal.dump";

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    pub datasets: u64,
    pub jobs: u64,
    /// Jobs that had not ended, and continue if their stagings are still there.
    pub running: u64,
}

/// Makes `data_dir` the data folder of a coordinator that continues from the backup. Blocks.
///
/// # Errors
/// A coordinator runs on the folder; a journal is there beside the one in the backup; there is none at all; the backup is damaged.
pub fn restore(data_dir: &Path, backup: Option<&Path>, cluster: Option<ClusterId>) -> Result<Restored, Error> {
    windrow_format::private::create_folders(data_dir).map_err(Error::data_dir(data_dir, "make the data folder"))?;
    let _lock = lock_data_dir(data_dir)?;
    let journal = data_dir.join(JOURNAL);
    let is_there = journal.try_exists().map_err(Error::data_dir(&journal, "look for the journal"))?;
    let refused = |what: &str| Error::Journal { path: journal.clone(), corrupt: false, what: what.to_string() };
    match backup {
        Some(_) if is_there => {
            return Err(refused(
                "a journal is there already: move it away, or restore without naming a backup to admit it",
            ));
        }
        Some(backup) => import(&journal, data_dir, backup)?,
        None if !is_there => return Err(refused("there is none: name the backup that it is to be made from")),
        None => {}
    }
    let mut store = DiskStore::open(&journal)?;
    store.mark_restored(unix_ms() / 1_000, cluster)?;
    let (datasets, jobs, running) = (store.load_datasets()?, store.load()?, store.load_running()?);
    Ok(Restored { datasets: datasets.len() as u64, jobs: jobs.len() as u64, running: running.len() as u64 })
}

fn import(journal: &Path, data_dir: &Path, backup: &Path) -> Result<(), Error> {
    let dump = backup.join(DUMP);
    let file = regular_file::open(&dump).map_err(Error::data_dir(&dump, "open the backup"))?;
    let rows = dump::read(BufReader::new(file)).map_err(Error::data_dir(&dump, "read the backup"))?;
    copy_files(&backup.join(ARTIFACTS), &data_dir.join(ARTIFACTS))?;
    let token = data_dir.join("token");
    if !token.exists() {
        copy_one(&backup.join("token"), &token)?;
    }
    // A journal that was found damaged is not this one.
    let mark = damage_mark(journal);
    match fs::remove_file(&mark) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(Error::data_dir(&mark, "remove the mark")(e)),
        _ => {}
    }
    // Last: a folder without a journal is not a data folder, so the restore may be repeated.
    DiskStore::import(journal, &rows)
}

fn copy_files(from: &Path, to: &Path) -> Result<(), Error> {
    windrow_format::private::create_folders(to).map_err(Error::data_dir(to, "make the folder"))?;
    let entries = match fs::read_dir(from) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(Error::data_dir(from, "list the backup"))?,
    };
    for entry in entries {
        let entry = entry.map_err(Error::data_dir(from, "list the backup"))?;
        copy_one(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// A missing file is left out: an artifact can be uploaded again, and a token made.
fn copy_one(from: &Path, to: &Path) -> Result<(), Error> {
    let mut file = match regular_file::open(from) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened.map_err(Error::data_dir(from, "read the backup"))?,
    };
    let copy = |to: &mut BufWriter<File>| io::copy(&mut file, to);
    durable::write_private_with(to, Durability::Sync, copy).map_err(Error::data_dir(to, "write the file"))?;
    Ok(())
}
