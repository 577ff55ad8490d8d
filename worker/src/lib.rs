//! The worker: one daemon per node. It stages inputs, moves shuffle data, publishes parts, and supervises executors,
//! which do all computing. It never runs user code, and maps no files.
//!
//! `node` owns the state, with the pure `attempts` as its core; `session` is the connection to the coordinator, `serve`
//! and `fetch` are the two sides of the shuffle, `executor` is the child process.

#![warn(unreachable_pub)]
#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests read the files that they made"))]

mod artifacts;
mod attempt_files;
mod chunks;
mod chunks_mark;
mod config;
mod damaged_note;
mod deletions;
mod disk_space;
mod error;
mod executor;
mod fetch;
mod file_list;
mod find_places;
mod finished_part;
mod heap;
mod job;
mod known_lists;
mod logs;
mod made_files;
#[doc(hidden)]
pub mod measured;
mod membership;
mod neighbours;
mod node;
mod note_names;
mod origin;
mod outputs;
mod pace;
mod progress;
mod publish;
mod recovered_outputs;
mod replicas;
mod report_log;
mod reserve;
mod scratch;
mod scrub;
mod sealed_script;
mod serve;
mod session;
mod spare_files;
mod spread_folders;
mod staging;
mod start;
mod stat_cache;
mod tables;
mod temporary;
#[cfg(test)]
mod transfer_tests;
mod transfers;
mod trash;
mod wanted;
mod writer;

pub use config::Config;
pub use error::Error;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;
use windrow_model::WorkerId;
use windrow_net::serve::serve;
use windrow_net::{Clock, Role, Server};
use windrow_store::StorageCalls;

/// Interval of the checks that the data folder is still at its path.
const FOLDER_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Runs a worker: serves peers on `listener`, registers with the coordinator (which need not be there yet), and runs
/// what it assigns.
///
/// `on_registered` is called after the first registration. When `shutdown` completes, the worker takes no new tasks,
/// finishes the running ones, and serves its outputs as long as jobs need them and the coordinator is reachable, for at
/// most `stop_timeout` in all. A drain by the coordinator does not end the worker. Bytes between workers move on
/// threads of their own; the rest runs on the caller's runtime, for which one thread is enough.
///
/// # Errors
/// The data folder cannot be used or is another worker's (`DATA_DIR_IN_USE`), the port fails, or the coordinator
/// refuses this worker (`UNAUTHORISED`, `VERSION_MISMATCH`). An unreachable coordinator is not an error.
pub async fn run(
    config: Config,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
    on_registered: impl FnOnce(WorkerId),
) -> Result<(), Error> {
    let address = listener.local_addr().map_err(Error::System)?;
    let folder = config.data_dir.clone();
    let scratch = Arc::new(start::blocking(move || scratch::Scratch::open(&folder)).await??);
    let displaced = displaced(scratch.clone());
    let finder = scratch.clone();
    let kept = start::blocking(move || recovered_outputs::restore(&finder)).await?;
    let (owner, left) = start::owner(&config, &scratch).await?;

    let outputs = outputs::Outputs::default();
    let lists: Arc<known_lists::KnownLists<serve::Holding>> = Arc::default();
    let logs = logs::Logs::default();
    let progress = progress::Progress::default();
    let neighbours = Arc::new(match config.fetch_from_neighbours {
        true => neighbours::Neighbours::default(),
        false => neighbours::Neighbours::here(),
    });
    let node = start::node_info(&config, address, &scratch, &neighbours);
    let start::StoredChunks { membership, chunks, room, scrub } = start::stored_chunks(&config, &scratch).await?;
    let service = serve::TransferService {
        worker: node.worker,
        root: scratch.root().to_path_buf(),
        outputs: outputs.clone(),
        lists: lists.clone(),
        logs: logs.clone(),
        chunks: chunks.clone(),
        membership: membership.clone(),
    };
    let transfers = transfers::Transfers::start().map_err(Error::System)?;
    let fetcher = Arc::new(fetch::Fetcher::new(config.access.clone(), config.fetch_timeout));
    let staging = Arc::new(staging::Staging {
        scratch: scratch.clone(),
        find: find_places::FindPlaces {
            worker: node.worker,
            outputs: outputs.clone(),
            neighbours,
            fetcher: fetcher.clone(),
        },
        fetcher,
        replicas: replicas::Replicas {
            chunks: chunks.clone(),
            access: config.access.clone(),
            progress_deadline: config.fetch_timeout,
        },
        seen: Arc::default(),
        storage: StorageCalls::new(config.storage_timeout).on(config.outputs.clone()),
    });
    let parts = node::Parts {
        slots: node.slots,
        memory_bytes: config.memory_bytes,
        scratch_quota_bytes: config.scratch_quota_bytes,
        stop_timeout: config.stop_timeout,
        // Between processes of one machine compression costs more than it saves.
        compress: !address.ip().is_loopback(),
        scratch: scratch.clone(),
        membership: membership.clone(),
        transfers: transfers.handle(),
        outputs,
        lists,
        logs,
        progress: progress.clone(),
        room: room.clone(),
        left,
        spawner: executor::Spawner::start(owner).map_err(Error::System)?,
    };

    let config = Arc::new(config);
    let process = u64::from_ne_bytes(windrow_format::durable::random().map_err(Error::System)?);
    let (events, session_events) = mpsc::unbounded_channel();
    let _room = AbortOnDropHandle::new(tokio::spawn(room.clone().watch(scratch.clone())));
    let session = session::Session {
        config: config.clone(),
        scratch,
        node,
        process,
        clock: Clock::new(),
        progress,
        room,
        scrub: scrub.progress.clone(),
        chunks,
        membership,
        has_joined: false,
        events,
    };
    let _session = AbortOnDropHandle::new(tokio::spawn(session.run()));

    let (stop, stopped) = oneshot::channel::<()>();
    let routes = tonic::service::Routes::new(service.into_server());
    let listener = listener.into_std().map_err(Error::System)?;
    let server = Server {
        insecure: config.insecure,
        ..Server::new(Role::Worker, config.access.token.clone(), config.tls.clone())
    };
    let serving = transfers.handle().spawn(async move {
        // A socket belongs to the runtime that has registered it.
        let listener = TcpListener::from_std(listener).map_err(Error::System)?;
        let stopped = async {
            let _ = stopped.await;
        };
        serve(listener, routes, server, stopped).await.map_err(|failure| Error::Serve(failure.into()))
    });
    let working = async {
        let result = node::Node::new(parts, staging, kept).run(session_events, shutdown, on_registered).await;
        drop(stop);
        result
    };
    let mut working = std::pin::pin!(working);
    tokio::select! {
        result = &mut working => result,
        error = displaced => Err(error),
        served = serving => match served.map_err(|e| Error::System(std::io::Error::other(e))) {
            Ok(Ok(())) => working.await,
            Ok(Err(error)) | Err(error) => Err(error),
        },
    }
}

/// Completes when the data folder is no longer at its path.
async fn displaced(scratch: Arc<scratch::Scratch>) -> Error {
    loop {
        tokio::time::sleep(FOLDER_CHECK_INTERVAL).await;
        let checked = scratch.clone();
        // A disk that hangs delays the check, and proves nothing.
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || checked.check()).await {
            return error;
        }
    }
}
