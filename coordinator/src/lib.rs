//! The coordinator: takes jobs, splits their inputs, gives tasks to workers, and makes outputs visible.
//!
//! The scheduler decides, the driver (`driver.rs`) owns all state, and calls arrive through `rpc/`. State that must outlive the process
//! is in the journal before a call is answered with it. The coordinator runs no user code and moves no records.

#![warn(unreachable_pub)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests read the files that they made"))]

mod addresses;
mod artifacts;
mod backup;
mod claims;
mod commit;
mod config;
mod data_folder;
mod driver;
mod dump;
mod earlier_staging;
mod encoded_tables;
mod error;
mod history;
mod job_states;
mod jobs;
mod journal;
mod lock;
mod logs;
mod mailbox;
mod outbox;
mod page;
mod plan_memory;
mod planning;
mod ran_on;
mod recover;
mod result_files;
mod results;
mod rpc;
mod sessions;
#[cfg(test)]
mod small_disk;
mod split;
mod staged;
mod staged_outputs;
mod staging_check;
mod waiting_calls;
mod wall_clock;
mod watchers;

pub use backup::{DUMP, Restored, restore};
pub use config::Config;
pub use error::Error;
#[doc(hidden)]
pub use journal::check_row;
pub use journal::{
    DatasetChange, DiskStore, Identity, JobRecord, JobStore, KeptResult, MemoryStore, PublishedTask, Record,
    RunningJob, Snapshot, TakeRow,
};
pub use windrow_datasets::{EpochRecord, Lineage, OrphanChanges, OrphanRule, OrphanWaits, Wait};
pub use windrow_history::Retention;

use artifacts::Artifacts;
use claims::Claims;
use data_folder::{ARTIFACTS, JOURNAL, RESULTS, STAGING};
use driver::{Driver, Start};
use journal::Journal;
use lock::lock_data_dir;
use mailbox::{Mailbox, Message};
use result_files::ResultFiles;
use staged::StagingLog;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use windrow_format::private;
use windrow_net::{Role, Server};
use windrow_store::StorageCalls;

/// Creates a data folder if it is missing, and closes it to other users, before any file is put into it. Returns its real path.
///
/// # Errors
/// The folder cannot be created, or is shared and used by all users.
pub fn prepare(data_dir: &Path) -> Result<PathBuf, Error> {
    private::create_folders(data_dir).map_err(Error::data_dir(data_dir, "make the data folder"))?;
    let data_dir = data_dir.canonicalize().map_err(Error::data_dir(data_dir, "find the data folder"))?;
    let close = Error::data_dir(&data_dir, "close the data folder to other users");
    private::tighten(&data_dir, &[ARTIFACTS, STAGING]).map_err(close)?;
    Ok(data_dir)
}

/// Runs a coordinator on a listener that is bound already, until `shutdown` completes. Its record of jobs is in
/// `config.data_dir`, which no other coordinator may use meanwhile.
pub async fn run(config: Config, incoming: TcpListener, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    let data_dir = prepare(&config.data_dir)?;
    let _lock = lock_data_dir(&data_dir)?;
    let store = DiskStore::open(&data_dir.join(JOURNAL))?;
    run_on(config, Box::new(store), incoming, shutdown).await
}

/// Like [`run`], with a store of the caller's and without the lock on the data folder: for tests.
pub async fn run_on(
    config: Config,
    mut store: Box<dyn JobStore>,
    incoming: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let artifacts = Artifacts::open(config.data_dir.join(ARTIFACTS))?;
    let claims = Claims::default();
    let storage = StorageCalls::new(config.storage_timeout).on(config.outputs.clone());
    let recovered = recover::recover(&mut *store, &claims, &storage).await?;
    let notes = StagingLog::open(config.data_dir.join(STAGING))?;
    // Before a client can submit one of those jobs again.
    let mut unrecorded =
        notes.remove_others(&recovered.running.iter().map(|r| r.job.spec.id).collect(), &storage).await;
    unrecorded.retain(|job| !recovered.past.contains_key(job));
    let has_results = recovered.collected.iter().map(|(job, _)| *job);
    let known = has_results.chain(recovered.running.iter().map(|r| r.job.spec.id)).collect();
    let files = ResultFiles::open(config.data_dir.join(RESULTS), &known)?;
    let (recorder, reading, history_threads) = history::start(&config, &recovered).await?;
    let (journal, journal_thread, mut journal_breaks) = Journal::start(store)?;
    let (mailbox, messages) = Mailbox::new();
    let remover = notes.clone();
    let start = Start {
        recovered,
        claims,
        lease_ms: config.lease_ms,
        unschedulable_after_ms: config.unschedulable_after_ms,
        notes,
        storage: storage.clone(),
        unrecorded,
        temporary: config.temporary,
        results_kept: config.results_kept,
        results_bytes_max: config.results_bytes_max,
        files: files.clone(),
        orphans: config.orphans,
        journal,
        recorder,
    };
    let (stop, stopped) = oneshot::channel();
    let mut driver = tokio::spawn(Driver::new(start, mailbox.clone()).run(messages, stopped));

    // Ends with this function.
    let mut collector = JoinSet::new();
    collector.spawn(collect(mailbox.clone(), artifacts.clone(), config.artifacts_kept));
    let facts = page::PageFacts { mailbox: mailbox.clone(), access: rpc::access_of(&config) };
    let routes = rpc::routes(&config, mailbox, artifacts, files, reading);
    // Ends with this function, too. A start reads files.
    let _page = match config.page.clone() {
        Some(page) => {
            let serving = tokio::task::spawn_blocking(move || page.serve(Arc::new(facts)));
            Some(serving.await.map_err(|e| Error::Driver(e.to_string()))?.map_err(Error::Serve)?)
        }
        None => None,
    };
    let (end_serving, serving_ends) = oneshot::channel::<()>();
    let server = Server { insecure: config.insecure, ..Server::new(Role::Coordinator, config.token, config.tls) };
    let serving = windrow_net::serve(incoming, routes, server, async {
        // A dropped sender is an end, too.
        let _ = serving_ends.await;
    });
    tokio::pin!(serving, shutdown);

    let served = tokio::select! {
        served = &mut serving => Some(served),
        Ok(broken) = &mut journal_breaks => return Err(broken),
        ended = &mut driver => return Err(Error::Driver(ended.err().map_or("it returned".into(), |e| e.to_string()))),
        () = &mut shutdown => None,
    };
    // The driver first: it ends the streams that serving would wait for.
    let _ = stop.send(());
    let _ = end_serving.send(());
    let served = match served {
        Some(served) => served,
        None => serving.await,
    };
    let going_on = driver.await.map_err(|e| Error::Driver(e.to_string()))?;
    // Blocks at most for one transaction: nothing new can come in.
    let joined = tokio::task::spawn_blocking(|| journal_thread.join()).await;
    joined.map_err(|e| Error::Driver(format!("the journal: {e}")))?;
    let joined = tokio::task::spawn_blocking(|| history_threads.join()).await;
    joined.map_err(|e| Error::Driver(format!("the history: {e}")))?;
    if let Ok(broken) = journal_breaks.try_recv() {
        return Err(broken);
    }
    // Every end is on record now: the stagings of ended jobs can go.
    if tokio::time::timeout(driver::STOP_MAX, remover.remove_others(&going_on, &storage)).await.is_err() {
        tracing::warn!("removing staging folders takes too long: the next start continues");
    }
    served.map_err(Error::Serve)
}

/// Deletes artifacts that are no longer used, now and then.
async fn collect(mailbox: Mailbox, artifacts: Artifacts, kept: Duration) {
    let mut ticks = tokio::time::interval((kept / 8).max(Duration::from_millis(100)));
    loop {
        ticks.tick().await;
        let Ok(used) = mailbox.ask(|answer| Message::ArtifactsInUse { answer }).await else { return };
        let artifacts = artifacts.clone();
        let collected = tokio::task::spawn_blocking(move || artifacts.collect(&used, kept)).await;
        match collected {
            Ok(Ok(0)) => {}
            Ok(Ok(deleted)) => tracing::info!("{deleted} unused artifacts are deleted"),
            Ok(Err(e)) => tracing::warn!("unused artifacts stay: {e}"),
            Err(e) => tracing::warn!("unused artifacts stay: {e}"),
        }
    }
}
