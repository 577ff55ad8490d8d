//! A store in memory, for tests.

use super::record::{DatasetChange, Identity, JobRecord, KeptResult, Record, RunningJob};
use super::store::{JobStore, Snapshot};
use crate::error::Error;
use std::collections::{BTreeMap, BTreeSet};
use windrow_datasets::{EpochRecord, Lineage, OrphanWaits, Wait};
use windrow_model::{ClusterId, Dataset, Digest, Epoch, JobId, WorkerId};

/// Records in memory.
#[derive(Debug, Default)]
pub struct MemoryStore {
    epoch: u64,
    jobs: BTreeMap<JobId, JobRecord>,
    running: BTreeMap<JobId, RunningJob>,
    datasets: BTreeMap<String, Dataset>,
    workers: BTreeSet<WorkerId>,
    collected: BTreeMap<JobId, KeptResult>,
    tries: BTreeMap<JobId, u32>,
    cluster: Option<ClusterId>,
    lineage: Lineage,
    revision: u64,
    dropped: BTreeSet<Digest>,
    /// Without its waits, which are in `waits`.
    orphans: OrphanWaits,
    waits: BTreeMap<Digest, Wait>,
}

impl MemoryStore {
    fn put(&mut self, dataset: &Dataset) {
        dataset.chunks.iter().for_each(|chunk| _ = self.dropped.remove(&chunk.digest));
        self.datasets.insert(dataset.name.clone(), dataset.clone());
    }
}

impl JobStore for MemoryStore {
    fn begin_epoch(&mut self) -> Result<Epoch, Error> {
        self.epoch += 1;
        let nonce = uuid::Uuid::now_v7().as_u64_pair().1;
        let record = EpochRecord { nonce, revision: self.revision, restored: false };
        self.lineage.0.insert(Epoch(self.epoch), record);
        Ok(Epoch(self.epoch))
    }
    fn identity(&mut self) -> Result<Identity, Error> {
        let cluster = *self.cluster.get_or_insert_with(|| ClusterId(uuid::Uuid::now_v7()));
        let dropped = self.dropped.iter().copied().collect();
        let waits = self.waits.iter().map(|(digest, wait)| (*digest, *wait)).collect();
        let orphans = OrphanWaits { waits, ..self.orphans.clone() };
        Ok(Identity { cluster, lineage: self.lineage.clone(), revision: self.revision, dropped, orphans })
    }
    fn load(&mut self) -> Result<Vec<JobRecord>, Error> {
        Ok(self.jobs.values().cloned().collect())
    }
    fn load_running(&mut self) -> Result<Vec<RunningJob>, Error> {
        Ok(self.running.values().cloned().collect())
    }
    fn load_collected(&mut self) -> Result<Vec<(JobId, KeptResult)>, Error> {
        Ok(self.collected.iter().map(|(id, collected)| (*id, collected.clone())).collect())
    }
    fn load_datasets(&mut self) -> Result<Vec<Dataset>, Error> {
        Ok(self.datasets.values().cloned().collect())
    }
    fn load_workers(&mut self) -> Result<Vec<WorkerId>, Error> {
        Ok(self.workers.iter().copied().collect())
    }
    fn write(&mut self, records: &[Record]) -> Result<(), Error> {
        for record in records {
            self.revision += u64::from(record.changes_datasets());
            match record {
                Record::Job(job) => {
                    self.jobs.insert(job.status.id, (**job).clone());
                    if job.status.state.is_final() {
                        self.running.remove(&job.status.id);
                        self.tries.remove(&job.status.id);
                    }
                }
                Record::Spec(spec) => {
                    let tries = self.tries.get(&spec.id).copied().unwrap_or(0);
                    let job = RunningJob { tries, ..RunningJob::new(spec.clone()) };
                    self.running.entry(spec.id).or_insert(job);
                }
                Record::Split(id, split) => {
                    self.running.entry(*id).and_modify(|job| job.split = Some((**split).clone()));
                }
                Record::Published(published) => {
                    let id = published.task.attempt.task.job;
                    self.running.entry(id).and_modify(|job| job.published.push((**published).clone()));
                }
                Record::BadRecord(bad) => {
                    self.running.entry(bad.task.job).and_modify(|job| job.bad_records.push((**bad).clone()));
                }
                Record::Failures(task, n) => {
                    self.running.entry(task.job).and_modify(|job| {
                        job.failures.retain(|(t, _)| t != task);
                        job.failures.push((*task, *n));
                    });
                }
                Record::Tries(id, tries) => {
                    self.running.entry(*id).and_modify(|job| job.tries = *tries);
                    match tries {
                        0 => drop(self.tries.remove(id)),
                        _ => drop(self.tries.insert(*id, *tries)),
                    }
                }
                Record::Uncharged(task, tally) => {
                    self.running.entry(task.job).and_modify(|job| {
                        job.uncharged.retain(|(t, _)| t != task);
                        job.uncharged.extend((!tally.is_empty()).then(|| (*task, tally.clone())));
                    });
                }
                Record::Dataset(DatasetChange::Put(d)) => self.put(d),
                Record::Dataset(DatasetChange::Removed(name)) => drop(self.datasets.remove(name)),
                Record::Outputs(id, datasets) => {
                    datasets.iter().for_each(|d| self.put(d));
                    self.running.entry(*id).and_modify(|job| job.datasets_done = true);
                }
                Record::ResultForgotten(id) => drop(self.collected.remove(id)),
                Record::Collected(id, result) => drop(self.collected.insert(*id, (**result).clone())),
                Record::Forgotten(id) => self.forget(&[*id])?,
                Record::Worker(id, true) => drop(self.workers.insert(*id)),
                Record::Worker(id, false) => drop(self.workers.remove(id)),
                Record::Dropped(digests) => self.dropped.extend(digests),
                Record::Orphans(changes) => {
                    (self.orphans.clock_ms, self.orphans.hour) = (changes.clock_ms, changes.hour);
                    for (digest, wait) in &changes.waits {
                        match wait {
                            Some(wait) => drop(self.waits.insert(*digest, *wait)),
                            None => drop(self.waits.remove(digest)),
                        }
                    }
                }
                Record::RestoreAbove(epoch) => self.epoch = self.epoch.max(epoch.0),
            }
        }
        Ok(())
    }
    fn forget(&mut self, jobs: &[JobId]) -> Result<(), Error> {
        self.jobs.retain(|id, _| !jobs.contains(id));
        self.running.retain(|id, _| !jobs.contains(id));
        self.tries.retain(|id, _| !jobs.contains(id));
        self.collected.retain(|id, _| !jobs.contains(id));
        Ok(())
    }
    fn snapshot(&mut self) -> Result<Snapshot, Error> {
        Err(Error::Driver("a journal in memory is not copied".to_string()))
    }
}
