//! The tables of the file, and its format.
//!
//! ```text
//! meta       format (of this file), epoch, revision, restored, orphans' clock, hour and number moved in it   numbers
//! cluster    id                    → the cluster's id         16 bytes
//! lives      epoch                 → nonce, revision when it began, whether it is the first after a restore
//! dropped    digest                → the revision             chunks that may be deleted on any worker
//! orphans    digest                → how long it has waited   nine bytes
//! jobs       job id                → its record               JSON, so that a later release reads it
//! datasets   name                  → the dataset              JSON
//! specs      job id                → JobSpec                  protobuf; this table and the next seven: only while the job runs
//! splits     job id                → JournalSplit
//! published  job id, stage, task   → JournalPublished
//! failures   job id, stage, task   → its charged failures    a number
//! uncharged  job id, stage, task   → JournalUncharged
//! bad        job id, stage, task, range, offset → BadRecord   JSON
//! outputs    job id                                           its datasets are recorded
//! tries      job id                → tries of work on its paths that have begun without an end   a number
//! collected  job id                → JournalCollected         protobuf; of jobs that are done
//! workers    worker id                                        it had a session
//! ```
//! The table of epochs keeps the name `lives`, because older journals have it.

use redb::TableDefinition;

pub(super) const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
pub(super) const JOBS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("jobs");
pub(super) const DATASETS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("datasets");
pub(super) const SPECS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("specs");
pub(super) const SPLITS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("splits");
pub(super) const PUBLISHED: TableDefinition<&[u8], &[u8]> = TableDefinition::new("published");
pub(super) const FAILURES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("failures");
pub(super) const UNCHARGED: TableDefinition<&[u8], &[u8]> = TableDefinition::new("uncharged");
pub(super) const BAD: TableDefinition<&[u8], &[u8]> = TableDefinition::new("bad");
pub(super) const OUTPUTS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("outputs");
pub(super) const COLLECTED: TableDefinition<&[u8], &[u8]> = TableDefinition::new("collected");
pub(super) const TRIES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("tries");
pub(super) const WORKERS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("workers");
pub(super) const CLUSTER: TableDefinition<&[u8], &[u8]> = TableDefinition::new("cluster");
pub(super) const EPOCHS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("lives");
pub(super) const DROPPED: TableDefinition<&[u8], &[u8]> = TableDefinition::new("dropped");
pub(super) const ORPHANS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("orphans");
pub(super) const TABLES: [TableDefinition<&[u8], &[u8]>; 16] = [
    JOBS, DATASETS, SPECS, SPLITS, PUBLISHED, FAILURES, UNCHARGED, BAD, OUTPUTS, COLLECTED, WORKERS, TRIES, CLUSTER,
    EPOCHS, DROPPED, ORPHANS,
];
/// Numbers in `meta`: the orphans' clock; when the last orphan moved to the trash, or until when moves are reserved; and how many moved
/// or are reserved in the hour up to then (0: none).
pub(super) const ORPHAN_CLOCK: &str = "orphan clock";
pub(super) const ORPHAN_HOUR: &str = "orphan hour";
pub(super) const ORPHANS_GONE: &str = "orphans gone";
/// The key of the cluster's id.
pub(super) const CLUSTER_ID: &[u8] = b"id";
/// Rows of epochs and of deletions that are kept, for workers that return after a long time.
pub(super) const EPOCHS_MAX: u64 = 10_000;
pub(super) const DROPPED_MAX: u64 = 100_000;
/// The format that is written. Format 1, which has no running jobs, is read, too.
pub(super) const FORMAT: u64 = 2;

/// Key and value.
pub(super) type Entry = (Vec<u8>, Vec<u8>);
