//! Writes records as rows.

use super::DiskStore;
use super::tables::{
    BAD, COLLECTED, DATASETS, DROPPED, DROPPED_MAX, FAILURES, JOBS, META, ORPHAN_CLOCK, ORPHAN_HOUR, ORPHANS,
    ORPHANS_GONE, OUTPUTS, PUBLISHED, SPECS, SPLITS, TRIES, UNCHARGED, WORKERS,
};
use crate::error::Error;
use crate::journal::record::{DatasetChange, JobRecord, Record};
use crate::journal::rows;
use redb::{ReadableTable, ReadableTableMetadata};
use windrow_model::{BadRecord, Dataset, JobId};

impl DiskStore {
    /// Values of the records that have one, in a form that is made before the transaction.
    pub fn encoded(&self, record: &Record) -> Result<Vec<u8>, Error> {
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
}

/// As JSON. The path of a failed record is kept as its text, without loss.
fn encode(record: &JobRecord) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(record)
}

/// As JSON, like a job's record.
fn encode_bad(bad: &BadRecord) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(bad)
}

pub(super) fn write_one(txn: &redb::WriteTransaction, record: &Record, value: &[u8]) -> Result<(), redb::Error> {
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

/// Chunks of a dataset are not deleted any more.
fn keep_chunks(txn: &redb::WriteTransaction, dataset: &Dataset) -> Result<(), redb::Error> {
    let mut table = txn.open_table(DROPPED)?;
    for chunk in &dataset.chunks {
        table.remove(&chunk.digest.0[..])?;
    }
    Ok(())
}

/// Drops the oldest deletions beyond the bound. A chunk whose deletion is forgotten, and that a worker still has, is an orphan.
pub(super) fn forget_oldest_drops(txn: &redb::WriteTransaction) -> Result<(), redb::Error> {
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

pub(super) fn forget_one(txn: &redb::WriteTransaction, job: JobId) -> Result<(), redb::Error> {
    txn.open_table(JOBS)?.remove(&job.as_bytes()[..])?;
    txn.open_table(COLLECTED)?.remove(&job.as_bytes()[..])?;
    remove_running(txn, job)
}

/// Removes what a restart would need to continue the job.
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
