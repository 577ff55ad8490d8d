//! Reads what a coordinator begins with.

use super::DiskStore;
use super::tables::{
    BAD, CLUSTER, COLLECTED, DROPPED, EPOCHS, Entry, FAILURES, META, ORPHAN_CLOCK, ORPHAN_HOUR, ORPHANS, ORPHANS_GONE,
    OUTPUTS, PUBLISHED, SPECS, SPLITS, TABLES, TRIES, UNCHARGED, WORKERS,
};
use crate::error::Error;
use crate::journal::record::{Identity, KeptResult, PublishedTask, RunningJob};
use crate::journal::rows;
use redb::{ReadableDatabase, ReadableTable, TableDefinition, TableHandle};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use windrow_datasets::Lineage;
use windrow_datasets::OrphanWaits;
use windrow_model::{BadRecord, ClusterId, Digest, Epoch, JobId, WorkerId};

impl DiskStore {
    /// Every entry of a table, by key.
    pub fn entries(&self, table: TableDefinition<&[u8], &[u8]>) -> Result<Vec<Entry>, Error> {
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

    /// A number in `meta`. Writes nothing.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Error> {
        let run = || match self.db.begin_read()?.open_table(META) {
            Ok(meta) => Ok(meta.get(name)?.map(|v| v.value())),
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(None),
            Err(e) => Err(e.into()),
        };
        run().map_err(|e: redb::Error| self.failed(&e))
    }

    /// Whether the file has every table of this release. Writes nothing.
    pub(crate) fn has_all_tables(&self) -> Result<bool, Error> {
        let run = || {
            let found: BTreeSet<String> =
                self.db.begin_read()?.list_tables()?.map(|table| table.name().to_string()).collect();
            Ok(TABLES.iter().all(|table| found.contains(table.name())))
        };
        run().map_err(|e: redb::Error| self.failed(&e))
    }

    /// Every value of a table of JSON.
    pub fn read_all<T: DeserializeOwned>(
        &self,
        table: TableDefinition<&[u8], &[u8]>,
        kind: &str,
    ) -> Result<Vec<T>, Error> {
        let decode = |v: Vec<u8>| serde_json::from_slice(&v).map_err(|e| self.corrupt(kind, &e.to_string()));
        self.entries(table)?.into_iter().map(|(_, value)| decode(value)).collect()
    }

    pub fn read_identity(&self) -> Result<Identity, Error> {
        let id = |(_, value): &Entry| <[u8; 16]>::try_from(&value[..]).ok().map(ClusterId::from_bytes);
        let cluster = self.entries(CLUSTER)?.first().and_then(id);
        let cluster = cluster.ok_or_else(|| self.corrupt("the cluster's id", "it is not there, or no id"))?;
        let mut lineage = Lineage::default();
        for (key, value) in self.entries(EPOCHS)? {
            let (epoch, record) = <[u8; 8]>::try_from(key)
                .ok()
                .zip(rows::decode_epoch(&value))
                .ok_or_else(|| self.corrupt("an epoch", "its row has another length"))?;
            lineage.0.insert(Epoch(u64::from_be_bytes(epoch)), record);
        }
        let digest = |key: Vec<u8>| {
            let bytes = <[u8; 32]>::try_from(key);
            bytes.map(Digest).map_err(|_| self.corrupt("a deletion", "its digest has another length"))
        };
        let dropped = self.entries(DROPPED)?.into_iter().map(|(key, _)| digest(key)).collect::<Result<_, _>>()?;
        let orphans = self.orphan_waits()?;
        let revision = self.number("revision")?.unwrap_or(0);
        Ok(Identity { cluster, lineage, revision, dropped, orphans })
    }

    fn orphan_waits(&self) -> Result<OrphanWaits, Error> {
        let number = |name: &str| Ok::<_, Error>(self.number(name)?.unwrap_or(0));
        let (clock_ms, hour, gone) = (number(ORPHAN_CLOCK)?, number(ORPHAN_HOUR)?, number(ORPHANS_GONE)?);
        let mut waits = Vec::new();
        for (key, value) in self.entries(ORPHANS)? {
            let wait = <[u8; 32]>::try_from(key).ok().map(Digest).zip(rows::decode_wait(&value));
            waits.push(wait.ok_or_else(|| self.corrupt("an orphan", "its row has another length"))?);
        }
        let hour = (gone > 0).then(|| (hour, u32::try_from(gone).unwrap_or(u32::MAX)));
        Ok(OrphanWaits { clock_ms, hour, waits })
    }

    pub fn read_running(&self) -> Result<Vec<RunningJob>, Error> {
        let mut jobs = BTreeMap::new();
        for (id, spec) in self.entries(SPECS)? {
            let spec = Box::new(rows::decode_spec(&spec).map_err(|e| self.corrupt("a job", &e))?);
            jobs.insert(id, RunningJob::new(spec));
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

    pub fn read_collected(&self) -> Result<Vec<(JobId, KeptResult)>, Error> {
        let read = |(id, value): Entry| {
            let id =
                <[u8; 16]>::try_from(id).map_err(|_| self.corrupt("a result", "its job's id has another length"))?;
            let collected = rows::decode_collected(&value).map_err(|e| self.corrupt("a result", &e))?;
            Ok((JobId::from_bytes(id), collected))
        };
        self.entries(COLLECTED)?.into_iter().map(read).collect()
    }

    pub fn read_workers(&self) -> Result<Vec<WorkerId>, Error> {
        let id = |key: Vec<u8>| {
            let bytes = <[u8; 16]>::try_from(key).map_err(|_| self.corrupt("a worker", "its id has another length"))?;
            Ok(WorkerId::from_bytes(bytes))
        };
        self.entries(WORKERS)?.into_iter().map(|(key, _)| id(key)).collect()
    }
}
