//! The store on disk: `journal.redb`, one key-value file with transactions.
//!
//! Every transaction is fsynced before it counts, in two phases: once it counts, a file that does not have it whole is a
//! damaged file, and not one in which a crash cut off the last transaction. Every start verifies all of it.

mod load;
mod open;
mod restored;
mod tables;
mod write;

use super::record::{Identity, JobRecord, KeptResult, Record, RunningJob};
use super::rows;
use super::store::{JobStore, Snapshot};
use crate::data_folder::damage_mark;
use crate::error::Error;
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableHandle};
use std::path::{Path, PathBuf};
use tables::{CLUSTER, CLUSTER_ID, DATASETS, EPOCHS, EPOCHS_MAX, FORMAT, JOBS, META, ORPHANS, TABLES};
use windrow_datasets::EpochRecord;
use windrow_failpoint::failpoint;
use windrow_format::durable::{self, Durability};
use windrow_format::in_place::InPlace;
use windrow_format::space::is_full;
use windrow_model::{ClusterId, Dataset, Epoch, Escape, JobId, WorkerId};

/// Records in a file.
#[derive(Debug)]
pub struct DiskStore {
    path: PathBuf,
    db: Database,
    place: InPlace,
    /// Transactions that were made durable.
    #[cfg(test)]
    written: std::cell::Cell<u32>,
}

impl DiskStore {
    /// Opens the file and verifies it, or makes it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let journal = |corrupt: bool, what: String| Error::Journal { path: path.to_path_buf(), corrupt, what };
        // The file appears as a whole: an empty one has lost its content.
        if !path.exists() {
            open::create(path, |_| Ok(())).map_err(|e| journal(false, format!("it cannot be made: {e}")))?;
        }
        let mark = damage_mark(path);
        if mark.exists() {
            let what = format!("it was found damaged; when it is restored, delete {}", mark.escaped());
            return Err(journal(true, what));
        }
        let (db, place) = match open::open_verified(path) {
            Ok(opened) => opened,
            Err((corrupt, what)) => {
                // The check may have changed the file: the next start must not take the rest for the whole.
                if corrupt && let Err(e) = durable::write_private(&mark, what.as_bytes(), Durability::Sync) {
                    tracing::error!("{}: {e}", mark.escaped());
                }
                return Err(journal(corrupt, what));
            }
        };
        let store = DiskStore {
            path: path.to_path_buf(),
            db,
            place,
            #[cfg(test)]
            written: std::cell::Cell::new(0),
        };
        store.prepare()?;
        Ok(store)
    }

    /// Makes what an older or new file lacks. A newer file is not changed.
    fn prepare(&self) -> Result<(), Error> {
        let format = self.number("format")?;
        if let Some(newer) = format.filter(|format| *format > FORMAT) {
            let what = format!("its format is {newer}, this release knows formats up to {FORMAT}");
            return Err(Error::Journal { path: self.path.clone(), corrupt: true, what });
        }
        if format == Some(FORMAT) && self.has_all_tables()? {
            return Ok(());
        }
        self.transaction(|txn| {
            txn.open_table(META)?.insert("format", FORMAT)?;
            // A read transaction cannot make tables.
            Ok(TABLES.into_iter().try_for_each(|table| txn.open_table(table).map(drop))?)
        })
    }

    fn transaction<T>(&self, body: impl FnOnce(&redb::WriteTransaction) -> Result<T, redb::Error>) -> Result<T, Error> {
        let run = || {
            let mut txn = self.db.begin_write()?;
            txn.set_two_phase_commit(true);
            let value = body(&txn)?;
            failpoint!("journal.before-commit")?;
            txn.commit()?;
            #[cfg(test)]
            self.written.update(|n| n + 1);
            Ok(value)
        };
        run().map_err(|e: redb::Error| self.failed(&e))
    }

    fn corrupt(&self, kind: &str, what: &str) -> Error {
        Error::Journal { path: self.path.clone(), corrupt: true, what: format!("{kind}: {what}") }
    }

    fn failed(&self, e: &redb::Error) -> Error {
        if let redb::Error::Io(e) = e
            && is_full(e)
        {
            let what = "write the journal, which needs more room";
            return Error::DataDir { path: self.path.clone(), what, source: e.kind().into() };
        }
        let corrupt = matches!(
            e,
            redb::Error::Corrupted(_) | redb::Error::UpgradeRequired(_) | redb::Error::TableTypeMismatch { .. }
        );
        Error::Journal { path: self.path.clone(), corrupt, what: e.to_string() }
    }
}

impl JobStore for DiskStore {
    fn begin_epoch(&mut self) -> Result<Epoch, Error> {
        let nonce = durable::random::<8>().map_err(|e| self.failed(&redb::Error::Io(e)))?;
        let new = ClusterId(uuid::Uuid::now_v7());
        self.transaction(|txn| {
            let mut meta = txn.open_table(META)?;
            let number = |name: &str| Ok::<_, redb::Error>(meta.get(name)?.map_or(0, |v| v.value()));
            let (last, revision, restored) = (number("epoch")?, number("revision")?, number("restored")?);
            let epoch = last.checked_add(1).ok_or_else(restored::no_epoch_left)?;
            meta.insert("epoch", epoch)?;
            meta.insert("restored", 0)?;
            if restored != 0 {
                // A chunk that was an orphan when the copy was made may have been a dataset's since.
                txn.open_table(ORPHANS)?.retain(|_, _| false)?;
            }
            let mut cluster = txn.open_table(CLUSTER)?;
            if cluster.get(CLUSTER_ID)?.is_none() {
                cluster.insert(CLUSTER_ID, &new.as_bytes()[..])?;
            }
            let record = EpochRecord { nonce: u64::from_le_bytes(nonce), revision, restored: restored != 0 };
            let mut epochs = txn.open_table(EPOCHS)?;
            epochs.insert(&epoch.to_be_bytes()[..], &rows::encode_epoch(&record)[..])?;
            while epochs.len()? > EPOCHS_MAX {
                epochs.pop_first()?;
            }
            write::forget_oldest_drops(txn)?;
            Ok(Epoch(epoch))
        })
    }

    fn identity(&mut self) -> Result<Identity, Error> {
        self.read_identity()
    }

    fn load(&mut self) -> Result<Vec<JobRecord>, Error> {
        self.read_all(JOBS, "a job's record")
    }

    fn load_running(&mut self) -> Result<Vec<RunningJob>, Error> {
        self.read_running()
    }

    fn load_collected(&mut self) -> Result<Vec<(JobId, KeptResult)>, Error> {
        self.read_collected()
    }

    fn load_datasets(&mut self) -> Result<Vec<Dataset>, Error> {
        self.read_all(DATASETS, "a dataset's record")
    }

    fn load_workers(&mut self) -> Result<Vec<WorkerId>, Error> {
        self.read_workers()
    }

    fn write(&mut self, records: &[Record]) -> Result<(), Error> {
        let encoded = records.iter().map(|r| self.encoded(r)).collect::<Result<Vec<_>, _>>()?;
        self.transaction(|txn| {
            for (record, value) in records.iter().zip(&encoded) {
                write::write_one(txn, record, value)?;
            }
            let changes = records.iter().filter(|record| record.changes_datasets()).count() as u64;
            if changes > 0 {
                let mut meta = txn.open_table(META)?;
                let revision = meta.get("revision")?.map_or(0, |v| v.value());
                meta.insert("revision", revision + changes)?;
            }
            Ok(())
        })
    }

    fn check(&self) -> Result<(), Error> {
        self.place.check().map_err(Error::Displaced)
    }

    fn forget(&mut self, jobs: &[JobId]) -> Result<(), Error> {
        self.transaction(|txn| jobs.iter().try_for_each(|id| write::forget_one(txn, *id)))
    }

    fn snapshot(&mut self) -> Result<Snapshot, Error> {
        let txn = self.db.begin_read().map_err(|e| self.failed(&e.into()))?;
        Ok(Box::new(move |take| {
            let other = |e: redb::Error| std::io::Error::other(e.to_string());
            let meta = txn.open_table(META).map_err(|e| other(e.into()))?;
            for row in meta.iter().map_err(|e| other(e.into()))? {
                let (key, value) = row.map_err(|e| other(e.into()))?;
                take(META.name(), key.value().as_bytes(), &value.value().to_le_bytes())?;
            }
            for table in TABLES {
                let rows = txn.open_table(table).map_err(|e| other(e.into()))?;
                for row in rows.iter().map_err(|e| other(e.into()))? {
                    let (key, value) = row.map_err(|e| other(e.into()))?;
                    take(table.name(), key.value(), value.value())?;
                }
            }
            Ok(())
        }))
    }
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
