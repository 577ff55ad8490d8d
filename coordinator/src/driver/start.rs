//! Makes a driver from the settings and the state of earlier epochs.

use crate::addresses::Addresses;
use crate::claims::Claims;
use crate::driver::Driver;
use crate::encoded_tables::EncodedTables;
use crate::history::History;
use crate::job_states::JobStates;
use crate::jobs::Jobs;
use crate::journal::{Identity, Journal};
use crate::mailbox::Mailbox;
use crate::plan_memory;
use crate::planning::Planners;
use crate::ran_on::RanOn;
use crate::recover::Recovered;
use crate::result_files::ResultFiles;
use crate::results::{Now, Results};
use crate::sessions::Sessions;
use crate::staged::StagingLog;
use crate::staging_check::StagingChecks;
use crate::waiting_calls::WaitingCalls;
use crate::wall_clock::unix_ms;
use crate::watchers::Watchers;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use tokio::task::JoinSet;
use windrow_datasets::{Datasets, Membership, OrphanRule, Orphans};
use windrow_history::Recorder;
use windrow_model::{JobId, Time};
use windrow_net::Clock;
use windrow_scheduler::Scheduler;
use windrow_store::StorageCalls;

/// The settings and recovered state that a driver starts with.
pub(crate) struct Start {
    pub recovered: Recovered,
    pub claims: Claims,
    pub lease_ms: u64,
    pub unschedulable_after_ms: u64,
    pub notes: StagingLog,
    pub storage: StorageCalls,
    pub unrecorded: BTreeSet<JobId>,
    pub temporary: bool,
    pub orphans: OrphanRule,
    pub results_kept: Duration,
    pub results_bytes_max: u64,
    pub files: ResultFiles,
    pub journal: Journal,
    /// None: no histories are written.
    pub recorder: Option<Recorder>,
}

impl Driver {
    pub(crate) fn new(start: Start, mailbox: Mailbox) -> Self {
        let config = windrow_scheduler::Config {
            lease_ms: start.lease_ms,
            unschedulable_after_ms: start.unschedulable_after_ms,
            planned_bytes_max: plan_memory::for_tasks(),
            notes: start.recorder.is_some(),
            ..Default::default()
        };
        let Recovered { epoch, identity, past, running, datasets, workers, collected } = start.recovered;
        let Identity { cluster, lineage, revision, dropped, orphans } = identity;
        let clock = Clock::new();
        let now = Now { unix_ms: unix_ms(), clock: clock.now() };
        let mut driver = Driver {
            scheduler: Scheduler::new(config, epoch),
            clock,
            epoch,
            lease_ms: start.lease_ms,
            mailbox,
            journal: start.journal,
            sessions: Sessions::default(),
            addresses: Addresses::default(),
            encoded_tables: EncodedTables::default(),
            checks: StagingChecks::default(),
            claims: start.claims,
            notes: start.notes,
            unrecorded: start.unrecorded,
            datasets: Datasets::new(datasets, dropped, Orphans::new(start.orphans, orphans)),
            waiting_calls: WaitingCalls::default(),
            nonce: lineage.0.get(&epoch).map_or(0, |record| record.nonce),
            membership: Membership::new(cluster, lineage),
            revision,
            scrubs: BTreeMap::new(),
            watchers: Watchers::default(),
            jobs: Jobs::with_lists_of(plan_memory::for_lists()),
            storage: start.storage,
            job_states: JobStates::new(past, running.iter().map(|r| (r.job.spec.id, r.state())).collect()),
            ran_on: RanOn::default(),
            results: Results::new(collected, start.results_bytes_max, start.results_kept.as_millis() as u64, now),
            files: start.files,
            expiry_ms: (start.results_kept.as_millis() as u64 / 8).clamp(20, 60_000),
            expiry_at: Time(0),
            members: workers.into_iter().collect(),
            awaited_until: None,
            temporary: start.temporary,
            planners: Planners::default(),
            history: History::new(start.recorder, epoch.0, now.clock),
            work: JoinSet::new(),
            follow: VecDeque::new(),
        };
        driver.restore(running);
        driver
    }
}
