//! The store on disk: `journal.redb`, one key-value file with transactions.
//!
//! ```text
//! meta       format (of this file), epoch, revision, restored, orphans' clock, hour and number gone in it   numbers
//! cluster    id                    → the cluster's id         16 bytes
//! lives      epoch                 → nonce, revision when it began, whether it is the first after a restore
//! dropped    digest                → the revision             chunks that may be deleted wherever they turn up
//! orphans    digest                → how long it has waited   nine bytes
//! jobs       job id                → its record               JSON, so that a later release reads it
//! datasets   name                  → the dataset              JSON
//! specs      job id                → JobSpec                  protobuf; these seven only while the job runs
//! splits     job id                → JournalSplit
//! published  job id, stage, task   → JournalPublished
//! failures   job id, stage, task   → how many count against it  a number
//! uncharged  job id, stage, task   → JournalUncharged
//! bad        job id, stage, task, range, offset → BadRecord   JSON
//! outputs    job id                                           its datasets are recorded
//! tries      job id                → tries begun without end   a number
//! collected  job id                → JournalCollected         protobuf; of jobs that are done
//! workers    worker id                                        it had a session
//! ```
//! Every transaction is fsynced before it counts, in two phases: once it counts, a file that does not have it whole is a
//! damaged file, and not one in which a crash cut off the last transaction. Every start verifies all of it.

use super::file::JournalFile;
use super::{
    DatasetChange, Identity, JobRecord, JobStore, KeptResult, PublishedTask, Record, RunningJob, Snapshot, rows,
};
use crate::error::Error;
use crate::lineage::{Life, Lineage};
use crate::orphans::OrphanWaits;
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition, TableHandle};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use windrow_failpoint::{crashpoint, failpoint};
use windrow_format::durable::{self, Durability};
use windrow_format::in_place::InPlace;
use windrow_format::space::is_full;
use windrow_model::{BadRecord, ClusterId, Dataset, Digest, Epoch, Escape, JobId, WorkerId};

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
const JOBS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("jobs");
const DATASETS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("datasets");
const SPECS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("specs");
const SPLITS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("splits");
const PUBLISHED: TableDefinition<&[u8], &[u8]> = TableDefinition::new("published");
const FAILURES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("failures");
const UNCHARGED: TableDefinition<&[u8], &[u8]> = TableDefinition::new("uncharged");
const BAD: TableDefinition<&[u8], &[u8]> = TableDefinition::new("bad");
const OUTPUTS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("outputs");
const COLLECTED: TableDefinition<&[u8], &[u8]> = TableDefinition::new("collected");
const TRIES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("tries");
const WORKERS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("workers");
const CLUSTER: TableDefinition<&[u8], &[u8]> = TableDefinition::new("cluster");
const LIVES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("lives");
const DROPPED: TableDefinition<&[u8], &[u8]> = TableDefinition::new("dropped");
const ORPHANS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("orphans");
const TABLES: [TableDefinition<&[u8], &[u8]>; 16] = [
    JOBS, DATASETS, SPECS, SPLITS, PUBLISHED, FAILURES, UNCHARGED, BAD, OUTPUTS, COLLECTED, WORKERS, TRIES, CLUSTER,
    LIVES, DROPPED, ORPHANS,
];
/// Numbers in `meta`: the orphans' clock, when the hour of deletions began, and how many have gone in it (0: there is none).
const ORPHAN_CLOCK: &str = "orphan clock";
const ORPHAN_HOUR: &str = "orphan hour";
const ORPHANS_GONE: &str = "orphans gone";
/// The key of the cluster's id.
const CLUSTER_ID: &[u8] = b"id";
/// Lives that are remembered; and deletions, for workers that come back after a long time.
const LIVES_MAX: u64 = 10_000;
const DROPPED_MAX: u64 = 100_000;
/// Epochs between the copy of a journal and its first life after it was restored; and that life's epoch is no less than the seconds
/// since 1970, so that two restores of one copy have different ones.
const RESTORE_LEAP: u64 = 1 << 20;
/// Format 1 had no running jobs, and is read.
const FORMAT: u64 = 2;

/// Key and value.
type Entry = (Vec<u8>, Vec<u8>);

/// Records in a file.
#[derive(Debug)]
pub struct DiskStore {
    path: PathBuf,
    db: Database,
    place: InPlace,
}

impl DiskStore {
    /// Opens the file and verifies it, or makes it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let journal = |corrupt: bool, what: String| Error::Journal { path: path.to_path_buf(), corrupt, what };
        // It appears whole: a file that is there and empty has lost its content.
        if !path.exists() {
            create(path, |_| Ok(())).map_err(|e| journal(false, format!("it cannot be made: {e}")))?;
        }
        let mark = path.with_extension("damaged");
        if mark.exists() {
            let what = format!("it was found damaged; when it is restored, delete {}", mark.escaped());
            return Err(journal(true, what));
        }
        let (db, place) = match open_verified(path) {
            Ok(opened) => opened,
            Err((corrupt, what)) => {
                // Looking at it may have changed it: the next start shall not take what is left for all there was.
                if corrupt && let Err(e) = durable::write_private(&mark, what.as_bytes(), Durability::Sync) {
                    tracing::error!("{}: {e}", mark.escaped());
                }
                return Err(journal(corrupt, what));
            }
        };
        let store = DiskStore { path: path.to_path_buf(), db, place };
        // A newer one is left as it is.
        let found = store.meta("format", |old| old.unwrap_or(FORMAT).max(FORMAT))?;
        if found != FORMAT {
            return Err(journal(true, format!("its format is {found}, this release knows formats up to {FORMAT}")));
        }
        // Makes the tables, which a reader alone cannot.
        store.transaction(|txn| Ok(TABLES.into_iter().try_for_each(|table| txn.open_table(table).map(drop))?))?;
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
            let mut txn = self.db.begin_write()?;
            txn.set_two_phase_commit(true);
            let value = body(&txn)?;
            failpoint!("journal.before-commit")?;
            txn.commit()?;
            Ok(value)
        };
        run().map_err(|e: redb::Error| self.failed(&e))
    }

    /// Every entry of a table, by key.
    fn entries(&self, table: TableDefinition<&[u8], &[u8]>) -> Result<Vec<Entry>, Error> {
        let run = || {
            let table = self.db.begin_read()?.open_table(table)?;
            let mut entries = Vec::new();
            for entry in table.iter()? {
                let (key, value) = entry?;
                entries.push((key.value().to_vec(), value.value().to_vec()));
            }
            Ok(entries)
        };
        run().map_err(|e: redb::Error| self.failed(&e))
    }

    /// Every value of a table of JSON.
    fn read_all<T: DeserializeOwned>(&self, table: TableDefinition<&[u8], &[u8]>, kind: &str) -> Result<Vec<T>, Error> {
        let decode = |v: Vec<u8>| serde_json::from_slice(&v).map_err(|e| self.corrupt(kind, &e.to_string()));
        self.entries(table)?.into_iter().map(|(_, value)| decode(value)).collect()
    }

    fn orphan_waits(&self) -> Result<OrphanWaits, Error> {
        let run = || {
            let meta = self.db.begin_read()?.open_table(META)?;
            let number = |name: &str| Ok::<_, redb::Error>(meta.get(name)?.map_or(0, |v| v.value()));
            Ok([number(ORPHAN_CLOCK)?, number(ORPHAN_HOUR)?, number(ORPHANS_GONE)?])
        };
        let [clock_ms, hour, gone] = run().map_err(|e: redb::Error| self.failed(&e))?;
        let mut waits = Vec::new();
        for (key, value) in self.entries(ORPHANS)? {
            let wait = <[u8; 32]>::try_from(key).ok().map(Digest).zip(rows::decode_wait(&value));
            waits.push(wait.ok_or_else(|| self.corrupt("an orphan", "its row has another length"))?);
        }
        let hour = (gone > 0).then(|| (hour, u32::try_from(gone).unwrap_or(u32::MAX)));
        Ok(OrphanWaits { clock_ms, hour, waits })
    }

    fn corrupt(&self, kind: &str, what: &str) -> Error {
        Error::Journal { path: self.path.clone(), corrupt: true, what: format!("{kind}: {what}") }
    }

    /// Values of the records that have one, in a form that is made before the transaction.
    fn encoded(&self, record: &Record) -> Result<Vec<u8>, Error> {
        let failed = |what: String, e: serde_json::Error| Error::Journal {
            path: self.path.clone(),
            corrupt: false,
            what: format!("{what} has no text form: {e}"),
        };
        Ok(match record {
            Record::Job(job) => encode(job).map_err(|e| failed(format!("the record of {}", job.status.id), e))?,
            Record::Spec(spec) => rows::encode_spec(spec),
            Record::Split(_, split) => rows::encode_split(split),
            Record::Published(published) => rows::encode_published(published),
            Record::BadRecord(bad) => encode_bad(bad).map_err(|e| failed("a bad record".into(), e))?,
            Record::Dataset(DatasetChange::Put(dataset)) => {
                serde_json::to_vec(dataset).map_err(|e| failed(dataset.name.clone(), e))?
            }
            Record::Failures(_, failures) => failures.to_le_bytes().to_vec(),
            Record::Tries(_, tries) => tries.to_le_bytes().to_vec(),
            Record::Uncharged(_, tally) => rows::encode_uncharged(tally),
            Record::Collected(_, result) => rows::encode_collected(result),
            Record::Outputs(..)
            | Record::Dataset(DatasetChange::Removed(_))
            | Record::Forgotten(_)
            | Record::ResultForgotten(_)
            | Record::Dropped(_)
            | Record::Orphans(_)
            | Record::RestoreAbove(_)
            | Record::Worker(..) => Vec::new(),
        })
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

/// A new file with what `fill` writes, at its place only when it is durable.
fn create(
    path: &Path,
    fill: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
) -> Result<(), redb::Error> {
    let new = path.with_extension("new");
    let _ = std::fs::remove_file(&new);
    {
        let db = Database::builder().create_with_backend(JournalFile::create(&new)?)?;
        let mut txn = db.begin_write()?;
        txn.set_two_phase_commit(true);
        txn.open_table(META)?.insert("format", FORMAT)?;
        fill(&txn)?;
        txn.commit()?;
    }
    crashpoint!("journal.made");
    std::fs::rename(&new, path)?;
    durable::sync_folder(durable::parent(path), Durability::Sync)?;
    Ok(())
}

/// Opens a file and compares every checksum in it. Says whether its content is wrong, and what it is.
fn open_verified(path: &Path) -> Result<(Database, InPlace), (bool, String)> {
    let open = || {
        let unusable = |e: redb::DatabaseError| (is_corrupt(&e), e.to_string());
        let file = JournalFile::open(path).map_err(unusable)?;
        let place = file.place();
        let mut db = Database::builder().create_with_backend(file).map_err(unusable)?;
        match db.check_integrity() {
            Ok(true) => Ok((db, place)),
            Ok(false) => Err((true, "its content does not have the checksums that it says".to_string())),
            Err(e) => Err((is_corrupt(&e), e.to_string())),
        }
    };
    // Some damage is noticed by assertions of the library.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let opened = std::panic::catch_unwind(open);
    std::panic::set_hook(hook);
    opened.unwrap_or_else(|_| Err((true, "its structure is broken".to_string())))
}

fn is_corrupt(e: &redb::DatabaseError) -> bool {
    match e {
        redb::DatabaseError::UpgradeRequired(_) | redb::DatabaseError::Storage(redb::StorageError::Corrupted(_)) => {
            true
        }
        // What does not begin like such a file is told as invalid data.
        redb::DatabaseError::Storage(redb::StorageError::Io(e)) => {
            matches!(e.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof)
        }
        redb::DatabaseError::RepairAborted => true,
        _ => false,
    }
}

/// As JSON. The path of a failed record is kept as its text, without loss.
fn encode(record: &JobRecord) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(record)
}

/// As JSON, like a job's record.
fn encode_bad(bad: &BadRecord) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(bad)
}

impl JobStore for DiskStore {
    fn begin_epoch(&mut self) -> Result<Epoch, Error> {
        let nonce = durable::random::<8>().map_err(|e| self.failed(&redb::Error::Io(e)))?;
        let new = ClusterId(uuid::Uuid::now_v7());
        self.transaction(|txn| {
            let mut meta = txn.open_table(META)?;
            let number = |name: &str| Ok::<_, redb::Error>(meta.get(name)?.map_or(0, |v| v.value()));
            let (last, revision, restored) = (number("epoch")?, number("revision")?, number("restored")?);
            let epoch = last.checked_add(1).ok_or_else(no_epoch_left)?;
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
            let life = rows::encode_life(&Life { nonce: u64::from_le_bytes(nonce), revision, restored: restored != 0 });
            let mut lives = txn.open_table(LIVES)?;
            lives.insert(&epoch.to_be_bytes()[..], &life[..])?;
            while lives.len()? > LIVES_MAX {
                lives.pop_first()?;
            }
            forget_oldest_drops(txn)?;
            Ok(Epoch(epoch))
        })
    }

    fn identity(&mut self) -> Result<Identity, Error> {
        let id = |(_, value): &Entry| <[u8; 16]>::try_from(&value[..]).ok().map(ClusterId::from_bytes);
        let cluster = self.entries(CLUSTER)?.first().and_then(id);
        let cluster = cluster.ok_or_else(|| self.corrupt("the cluster's id", "it is not there, or no id"))?;
        let mut lineage = Lineage::default();
        for (key, value) in self.entries(LIVES)? {
            let (epoch, life) = <[u8; 8]>::try_from(key)
                .ok()
                .zip(rows::decode_life(&value))
                .ok_or_else(|| self.corrupt("a life", "its row has another length"))?;
            lineage.0.insert(Epoch(u64::from_be_bytes(epoch)), life);
        }
        let digest = |key: Vec<u8>| {
            let bytes = <[u8; 32]>::try_from(key);
            bytes.map(Digest).map_err(|_| self.corrupt("a deletion", "its digest has another length"))
        };
        let dropped = self.entries(DROPPED)?.into_iter().map(|(key, _)| digest(key)).collect::<Result<_, _>>()?;
        let orphans = self.orphan_waits()?;
        Ok(Identity { cluster, lineage, revision: self.meta("revision", |old| old.unwrap_or(0))?, dropped, orphans })
    }

    fn load(&mut self) -> Result<Vec<JobRecord>, Error> {
        self.read_all(JOBS, "a job's record")
    }

    fn load_running(&mut self) -> Result<Vec<RunningJob>, Error> {
        let mut jobs = BTreeMap::new();
        for (id, spec) in self.entries(SPECS)? {
            let spec = Box::new(rows::decode_spec(&spec).map_err(|e| self.corrupt("a job", &e))?);
            jobs.insert(
                id,
                RunningJob {
                    spec,
                    split: None,
                    published: Vec::new(),
                    bad_records: Vec::new(),
                    failures: Vec::new(),
                    uncharged: Vec::new(),
                    datasets_done: false,
                    tries: 0,
                },
            );
        }
        for (id, split) in self.entries(SPLITS)? {
            if let Some(job) = jobs.get_mut(&id) {
                job.split = Some(rows::decode_split(&split).map_err(|e| self.corrupt("the chunks of a job", &e))?);
            }
        }
        for (key, published) in self.entries(PUBLISHED)? {
            let published: PublishedTask =
                rows::decode_published(&published).map_err(|e| self.corrupt("a finished task", &e))?;
            if let Some(job) = key.get(..16).and_then(|id| jobs.get_mut(id)) {
                job.published.push(published);
            }
        }
        for bad in self.read_all::<BadRecord>(BAD, "a bad record")? {
            if let Some(job) = jobs.get_mut(&bad.task.job.as_bytes()[..]) {
                job.bad_records.push(bad);
            }
        }
        for (key, value) in self.entries(FAILURES)? {
            let (task, count) = rows::task_of(&key)
                .zip(<[u8; 4]>::try_from(value).ok())
                .ok_or_else(|| self.corrupt("failures of a task", "its key or its number has another length"))?;
            if let Some(job) = jobs.get_mut(&task.job.as_bytes()[..]) {
                job.failures.push((task, u32::from_le_bytes(count)));
            }
        }
        for (id, value) in self.entries(TRIES)? {
            let tries = <[u8; 4]>::try_from(value).map(u32::from_le_bytes);
            let tries = tries.map_err(|_| self.corrupt("tries of a job", "the number has another length"))?;
            if let Some(job) = jobs.get_mut(&id) {
                job.tries = tries;
            }
        }
        for (key, value) in self.entries(UNCHARGED)? {
            let wrong = |e: &str| self.corrupt("uncharged attempts of a task", e);
            let task = rows::task_of(&key).ok_or_else(|| wrong("its key has another length"))?;
            let tally = rows::decode_uncharged(&value).map_err(|e| wrong(&e))?;
            if let Some(job) = jobs.get_mut(&task.job.as_bytes()[..]) {
                job.uncharged.push((task, tally));
            }
        }
        for (id, _) in self.entries(OUTPUTS)? {
            if let Some(job) = jobs.get_mut(&id) {
                job.datasets_done = true;
            }
        }
        Ok(jobs.into_values().collect())
    }

    fn load_collected(&mut self) -> Result<Vec<(JobId, KeptResult)>, Error> {
        let read = |(id, value): Entry| {
            let id =
                <[u8; 16]>::try_from(id).map_err(|_| self.corrupt("a result", "its job's id has another length"))?;
            let collected = rows::decode_collected(&value).map_err(|e| self.corrupt("a result", &e))?;
            Ok((JobId::from_bytes(id), collected))
        };
        self.entries(COLLECTED)?.into_iter().map(read).collect()
    }

    fn load_datasets(&mut self) -> Result<Vec<Dataset>, Error> {
        self.read_all(DATASETS, "a dataset's record")
    }

    fn load_workers(&mut self) -> Result<Vec<WorkerId>, Error> {
        let id = |key: Vec<u8>| {
            let bytes = <[u8; 16]>::try_from(key).map_err(|_| self.corrupt("a worker", "its id has another length"))?;
            Ok(WorkerId::from_bytes(bytes))
        };
        self.entries(WORKERS)?.into_iter().map(|(key, _)| id(key)).collect()
    }

    fn write(&mut self, records: &[Record]) -> Result<(), Error> {
        let encoded = records.iter().map(|r| self.encoded(r)).collect::<Result<Vec<_>, _>>()?;
        self.transaction(|txn| {
            for (record, value) in records.iter().zip(&encoded) {
                write_one(txn, record, value)?;
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
        self.transaction(|txn| jobs.iter().try_for_each(|id| forget_one(txn, *id)))
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

/// Rows that a restored journal begins with.
impl DiskStore {
    /// A new journal at `path`, where there is none, with these rows: table, key, value. It appears when all of them are durable.
    ///
    /// # Errors
    /// A table that this release does not know; the disk's own.
    pub(crate) fn import(path: &Path, rows: &[(String, Vec<u8>, Vec<u8>)]) -> Result<(), Error> {
        let failed = |what: String| Error::Journal { path: path.to_path_buf(), corrupt: false, what };
        let unknown = |name: &str| name != META.name() && TABLES.iter().all(|table| table.name() != name);
        if let Some((name, ..)) = rows.iter().find(|(name, ..)| unknown(name)) {
            return Err(failed(format!("the backup has a table {name}, which this release does not know")));
        }
        create(path, |txn| {
            for (name, key, value) in rows {
                match TABLES.iter().find(|table| table.name() == name) {
                    Some(table) => drop(txn.open_table(*table)?.insert(&key[..], &value[..])?),
                    None => {
                        let key = std::str::from_utf8(key).map_err(|e| redb::Error::Corrupted(e.to_string()))?;
                        let number = value.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
                        txn.open_table(META)?.insert(key, number)?;
                    }
                }
            }
            Ok(())
        })
        .map_err(|e| failed(format!("it cannot be made: {e}")))
    }

    /// Makes the next life stand in for all that followed on the moment that this journal is of: its epoch is above every one that was
    /// reached since, no deletion is ordered any more, and a journal without a cluster's id gets this one.
    ///
    /// # Errors
    /// Another cluster's id is there already.
    pub(crate) fn mark_restored(&mut self, unix_s: u64, cluster: Option<ClusterId>) -> Result<(), Error> {
        let found = self.entries(CLUSTER)?.into_iter().next().map(|(_, value)| value);
        if let (Some(found), Some(given)) = (&found, cluster)
            && found[..] != given.as_bytes()[..]
        {
            let what = format!("the journal has another cluster's id than {given}");
            return Err(Error::Journal { path: self.path.clone(), corrupt: false, what });
        }
        self.transaction(|txn| {
            let mut meta = txn.open_table(META)?;
            let last = meta.get("epoch")?.map_or(0, |v| v.value());
            let above = last.checked_add(RESTORE_LEAP).ok_or_else(no_epoch_left)?;
            meta.insert("epoch", unix_s.max(above))?;
            meta.insert("restored", 1)?;
            txn.open_table(DROPPED)?.retain(|_, _| false)?;
            if let Some(cluster) = cluster {
                txn.open_table(CLUSTER)?.insert(CLUSTER_ID, &cluster.as_bytes()[..])?;
            }
            Ok(())
        })
    }
}

/// A number that has wrapped would be below all that workers have seen.
fn no_epoch_left() -> redb::Error {
    redb::Error::Corrupted("its epoch is the last one that there can be".to_string())
}

fn write_one(txn: &redb::WriteTransaction, record: &Record, value: &[u8]) -> Result<(), redb::Error> {
    match record {
        Record::Job(job) => {
            let id = job.status.id;
            txn.open_table(JOBS)?.insert(&id.as_bytes()[..], value)?;
            if job.status.state.is_final() {
                remove_running(txn, id)?;
            }
        }
        Record::Spec(spec) => drop(txn.open_table(SPECS)?.insert(&spec.id.as_bytes()[..], value)?),
        Record::Split(id, _) => drop(txn.open_table(SPLITS)?.insert(&id.as_bytes()[..], value)?),
        Record::Published(published) => {
            txn.open_table(PUBLISHED)?.insert(&rows::published_key(published)[..], value)?;
        }
        Record::Failures(task, _) => drop(txn.open_table(FAILURES)?.insert(&rows::task_key(*task)[..], value)?),
        Record::Uncharged(task, tally) if tally.is_empty() => {
            txn.open_table(UNCHARGED)?.remove(&rows::task_key(*task)[..])?;
        }
        Record::Uncharged(task, _) => drop(txn.open_table(UNCHARGED)?.insert(&rows::task_key(*task)[..], value)?),
        Record::BadRecord(bad) => drop(txn.open_table(BAD)?.insert(&rows::bad_key(bad)[..], value)?),
        Record::Dataset(DatasetChange::Put(dataset)) => {
            txn.open_table(DATASETS)?.insert(dataset.name.as_bytes(), value)?;
            keep_chunks(txn, dataset)?;
        }
        Record::Dataset(DatasetChange::Removed(name)) => {
            txn.open_table(DATASETS)?.remove(name.as_bytes())?;
        }
        Record::Outputs(job, datasets) => {
            txn.open_table(OUTPUTS)?.insert(&job.as_bytes()[..], &[][..])?;
            let mut table = txn.open_table(DATASETS)?;
            for dataset in datasets {
                let one = serde_json::to_vec(dataset).map_err(|e| redb::Error::Io(e.into()))?;
                table.insert(dataset.name.as_bytes(), &one[..])?;
                keep_chunks(txn, dataset)?;
            }
        }
        Record::Tries(id, 0) => drop(txn.open_table(TRIES)?.remove(&id.as_bytes()[..])?),
        Record::Tries(id, _) => drop(txn.open_table(TRIES)?.insert(&id.as_bytes()[..], value)?),
        Record::ResultForgotten(id) => {
            txn.open_table(COLLECTED)?.remove(&id.as_bytes()[..])?;
        }
        Record::Collected(id, _) => drop(txn.open_table(COLLECTED)?.insert(&id.as_bytes()[..], value)?),
        Record::Forgotten(id) => forget_one(txn, *id)?,
        Record::Dropped(digests) => {
            let revision = txn.open_table(META)?.get("revision")?.map_or(0, |v| v.value());
            let mut table = txn.open_table(DROPPED)?;
            for digest in digests {
                table.insert(&digest.0[..], &revision.to_le_bytes()[..])?;
            }
        }
        Record::Orphans(changes) => {
            let (began, gone) = changes.hour.unwrap_or((0, 0));
            let mut meta = txn.open_table(META)?;
            for (name, number) in [(ORPHAN_CLOCK, changes.clock_ms), (ORPHAN_HOUR, began), (ORPHANS_GONE, gone.into())]
            {
                meta.insert(name, number)?;
            }
            let mut table = txn.open_table(ORPHANS)?;
            for (digest, wait) in &changes.waits {
                match wait {
                    Some(wait) => drop(table.insert(&digest.0[..], &rows::encode_wait(*wait)[..])?),
                    None => drop(table.remove(&digest.0[..])?),
                }
            }
        }
        Record::RestoreAbove(epoch) => {
            let mut meta = txn.open_table(META)?;
            let last = meta.get("epoch")?.map_or(0, |v| v.value());
            meta.insert("epoch", last.max(epoch.0))?;
            meta.insert("restored", 1)?;
        }
        Record::Worker(id, true) => drop(txn.open_table(WORKERS)?.insert(&id.as_bytes()[..], &[][..])?),
        Record::Worker(id, false) => drop(txn.open_table(WORKERS)?.remove(&id.as_bytes()[..])?),
    }
    Ok(())
}

/// What a dataset has is not to be deleted any more.
fn keep_chunks(txn: &redb::WriteTransaction, dataset: &Dataset) -> Result<(), redb::Error> {
    let mut table = txn.open_table(DROPPED)?;
    for chunk in &dataset.chunks {
        table.remove(&chunk.digest.0[..])?;
    }
    Ok(())
}

/// A chunk whose deletion is forgotten, and that turns up after all, is an orphan.
fn forget_oldest_drops(txn: &redb::WriteTransaction) -> Result<(), redb::Error> {
    let mut table = txn.open_table(DROPPED)?;
    let extra = table.len()?.saturating_sub(DROPPED_MAX);
    if extra == 0 {
        return Ok(());
    }
    let mut all = Vec::new();
    for entry in table.iter()? {
        let (key, value) = entry?;
        let revision = value.value().first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        all.push((revision, key.value().to_vec()));
    }
    all.sort_unstable();
    for (_, key) in all.into_iter().take(extra as usize) {
        table.remove(&key[..])?;
    }
    Ok(())
}

fn forget_one(txn: &redb::WriteTransaction, job: JobId) -> Result<(), redb::Error> {
    txn.open_table(JOBS)?.remove(&job.as_bytes()[..])?;
    txn.open_table(COLLECTED)?.remove(&job.as_bytes()[..])?;
    remove_running(txn, job)
}

/// A job that is over needs nothing to go on.
fn remove_running(txn: &redb::WriteTransaction, job: JobId) -> Result<(), redb::Error> {
    let id = &job.as_bytes()[..];
    for table in [SPECS, SPLITS, OUTPUTS, TRIES] {
        txn.open_table(table)?.remove(id)?;
    }
    let (first, last) = rows::keys_of(job);
    for table in [PUBLISHED, FAILURES, UNCHARGED, BAD] {
        txn.open_table(table)?.retain_in(&first[..]..=&last[..], |_, _| false)?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
