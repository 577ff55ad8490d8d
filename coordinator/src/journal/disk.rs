//! The store on disk: `journal.redb`, one key-value file with transactions.
//!
//! Table `meta`: `format` (of this file) and `epoch`. Table `jobs`: the sixteen bytes of a job id → its record as JSON,
//! so that a later release reads what this one wrote. Table `datasets`: the name → the dataset, likewise. Every transaction is fsynced before it counts.

use super::{DatasetChange, JobRecord, JobStore, Record};
use crate::error::Error;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::de::DeserializeOwned;
use std::path::{Path, PathBuf};
use windrow_model::{Dataset, Epoch, JobId};

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const JOBS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("jobs");
const DATASETS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("datasets");
const FORMAT: u64 = 1;

/// Records in a file.
#[derive(Debug)]
pub struct DiskStore {
    path: PathBuf,
    db: Database,
}

impl DiskStore {
    /// Opens the file, or makes it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let journal = |corrupt: bool, what: String| Error::Journal { path: path.to_path_buf(), corrupt, what };
        let db = Database::create(path).map_err(|e| journal(is_corrupt(&e), e.to_string()))?;
        let store = DiskStore { path: path.to_path_buf(), db };
        let found = store.meta("format", |old| old.unwrap_or(FORMAT))?;
        if found != FORMAT {
            return Err(journal(true, format!("its format is {found}, this release knows format {FORMAT}")));
        }
        Ok(store)
    }

    /// Changes a number in `meta`, and answers the new one.
    fn meta(&self, name: &str, change: impl FnOnce(Option<u64>) -> u64) -> Result<u64, Error> {
        self.transaction(|txn| {
            let mut table = txn.open_table(META)?;
            let old = table.get(name)?.map(|v| v.value());
            let new = change(old);
            table.insert(name, new)?;
            Ok(new)
        })
    }

    fn transaction<T>(&self, body: impl FnOnce(&redb::WriteTransaction) -> Result<T, redb::Error>) -> Result<T, Error> {
        let run = || {
            let txn = self.db.begin_write()?;
            let value = body(&txn)?;
            txn.commit()?;
            Ok(value)
        };
        run().map_err(|e: redb::Error| self.failed(&e))
    }

    /// Every value of a table, by key.
    fn read_all<T: DeserializeOwned>(&self, table: TableDefinition<&[u8], &[u8]>, kind: &str) -> Result<Vec<T>, Error> {
        // Makes the table, which a reader alone cannot.
        self.transaction(|txn| Ok(txn.open_table(table).map(drop)?))?;
        let run = || {
            let table = self.db.begin_read()?.open_table(table)?;
            let mut values = Vec::new();
            for entry in table.iter()? {
                values.push(entry?.1.value().to_vec());
            }
            Ok(values)
        };
        let values: Vec<Vec<u8>> = run().map_err(|e: redb::Error| self.failed(&e))?;
        let decode = |v: Vec<u8>| {
            let path = self.path.clone();
            serde_json::from_slice(&v).map_err(|e| Error::Journal { path, corrupt: true, what: format!("{kind}: {e}") })
        };
        values.into_iter().map(decode).collect()
    }

    /// Key and value of a record; no value for one that removes.
    fn encoded(&self, record: &Record) -> Result<(Vec<u8>, Vec<u8>), Error> {
        let failed = |what: String, e: serde_json::Error| Error::Journal {
            path: self.path.clone(),
            corrupt: false,
            what: format!("{what} has no text form: {e}"),
        };
        match record {
            Record::Job(job) => {
                let id = job.status.id;
                Ok((id.as_bytes().to_vec(), encode(job).map_err(|e| failed(format!("the record of {id}"), e))?))
            }
            Record::Dataset(DatasetChange::Put(dataset)) => {
                let value = serde_json::to_vec(dataset).map_err(|e| failed(dataset.name.clone(), e))?;
                Ok((dataset.name.clone().into_bytes(), value))
            }
            Record::Dataset(DatasetChange::Removed(name)) => Ok((name.clone().into_bytes(), Vec::new())),
        }
    }

    fn failed(&self, e: &redb::Error) -> Error {
        let corrupt = matches!(
            e,
            redb::Error::Corrupted(_) | redb::Error::UpgradeRequired(_) | redb::Error::TableTypeMismatch { .. }
        );
        Error::Journal { path: self.path.clone(), corrupt, what: e.to_string() }
    }
}

fn is_corrupt(e: &redb::DatabaseError) -> bool {
    match e {
        redb::DatabaseError::UpgradeRequired(_) | redb::DatabaseError::Storage(redb::StorageError::Corrupted(_)) => {
            true
        }
        // What does not begin like such a file is told as invalid data.
        redb::DatabaseError::Storage(redb::StorageError::Io(e)) => e.kind() == std::io::ErrorKind::InvalidData,
        _ => false,
    }
}

/// As JSON. Paths are bytes and JSON is text: the place of a failure is kept in its printable form.
fn encode(record: &JobRecord) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(record).or_else(|_| {
        let mut printable = record.clone();
        if let Some(place) = printable.status.error.as_mut().and_then(|e| e.place.as_mut()) {
            place.file = place.file.to_string_lossy().into_owned().into();
        }
        serde_json::to_vec(&printable)
    })
}

impl JobStore for DiskStore {
    fn begin_epoch(&mut self) -> Result<Epoch, Error> {
        self.meta("epoch", |old| old.unwrap_or(0) + 1).map(Epoch)
    }

    fn load(&mut self) -> Result<Vec<JobRecord>, Error> {
        self.read_all(JOBS, "a job's record")
    }

    fn load_datasets(&mut self) -> Result<Vec<Dataset>, Error> {
        self.read_all(DATASETS, "a dataset's record")
    }

    fn write(&mut self, records: &[Record]) -> Result<(), Error> {
        let encoded = records.iter().map(|r| self.encoded(r)).collect::<Result<Vec<_>, _>>()?;
        self.transaction(|txn| {
            for (record, (key, value)) in records.iter().zip(&encoded) {
                match record {
                    Record::Job(_) => drop(txn.open_table(JOBS)?.insert(&key[..], &value[..])?),
                    Record::Dataset(DatasetChange::Put(_)) => {
                        txn.open_table(DATASETS)?.insert(&key[..], &value[..])?;
                    }
                    Record::Dataset(DatasetChange::Removed(_)) => {
                        txn.open_table(DATASETS)?.remove(&key[..])?;
                    }
                }
            }
            Ok(())
        })
    }

    fn forget(&mut self, jobs: &[JobId]) -> Result<(), Error> {
        self.transaction(|txn| {
            let mut table = txn.open_table(JOBS)?;
            for id in jobs {
                table.remove(&id.as_bytes()[..])?;
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windrow_model::{Code, Counters, Digest, Failure, JobState, JobStatus, RecordPlace, TaskTotals};

    fn record(n: u8, state: JobState) -> JobRecord {
        let status = JobStatus {
            id: JobId::from_bytes([n; 16]),
            name: format!("job {n}"),
            state,
            stages: vec![],
            tasks: TaskTotals::default(),
            attempts: 1,
            counters: Counters::default(),
            error: None,
            waiting: None,
            outputs: vec![],
            submitted_unix_ms: 1,
            elapsed_ms: 2,
        };
        JobRecord { status, program: "P".into(), binary: Digest::of(b"b") }
    }

    #[test]
    fn records_and_epochs_outlive_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.redb");
        {
            let mut store = DiskStore::open(&path).unwrap();
            assert_eq!(store.begin_epoch().unwrap(), Epoch(1));
            assert_eq!(store.load().unwrap(), []);
            store.write(&[record(1, JobState::Planning).into(), record(2, JobState::Failed).into()]).unwrap();
            store.write(&[record(1, JobState::Done).into()]).unwrap();
        }
        let mut store = DiskStore::open(&path).unwrap();
        assert_eq!(store.begin_epoch().unwrap(), Epoch(2));
        assert_eq!(store.load().unwrap(), [record(1, JobState::Done), record(2, JobState::Failed)]);
        store.forget(&[JobId::from_bytes([1; 16])]).unwrap();
        assert_eq!(store.load().unwrap(), [record(2, JobState::Failed)]);
    }

    #[test]
    fn a_place_that_is_no_text_does_not_keep_a_job_from_being_recorded() {
        use std::os::unix::ffi::OsStringExt;
        let dir = tempfile::tempdir().unwrap();
        let mut store = DiskStore::open(&dir.path().join("journal.redb")).unwrap();
        let mut failed = record(1, JobState::Failed);
        let file = std::ffi::OsString::from_vec(b"/in/\xff".to_vec()).into();
        failed.status.error =
            Some(Failure::new(Code::UserPanic, "boom").at(RecordPlace { file, offset: 3, excerpt: String::new() }));
        store.write(&[failed.into()]).unwrap();
        assert_eq!(store.load().unwrap().len(), 1);
    }

    #[test]
    fn datasets_outlive_the_process_with_their_last_change() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.redb");
        let dataset = |name: &str, version| Dataset {
            name: name.into(),
            version,
            framing: windrow_model::Framing::Fixed(100),
            replicas: 2,
            chunks: vec![windrow_model::DatasetChunk { digest: Digest::of(b"c"), length: 300 }],
        };
        let put = |name, version| Record::Dataset(DatasetChange::Put(dataset(name, version)));
        {
            let mut store = DiskStore::open(&path).unwrap();
            assert_eq!(store.load_datasets().unwrap(), []);
            store.write(&[put("a", 1), put("b", 1), put("a", 2)]).unwrap();
            store.write(&[Record::Dataset(DatasetChange::Removed("b".into())), put("c", 7)]).unwrap();
        }
        let mut store = DiskStore::open(&path).unwrap();
        assert_eq!(store.load_datasets().unwrap(), [dataset("a", 2), dataset("c", 7)]);
    }

    #[test]
    fn a_file_that_is_no_journal_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.redb");
        let garbage = vec![7u8; 10_000];
        std::fs::write(&path, &garbage).unwrap();
        let error = DiskStore::open(&path).unwrap_err();
        assert_eq!(error.code(), Code::JournalCorrupt, "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), garbage);
    }
}
