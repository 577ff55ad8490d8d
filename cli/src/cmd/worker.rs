//! `windrow worker`: runs, lists and drains workers.

use super::{connect, needed};
use crate::args::{WorkerRun, WorkerVerb};
use crate::exit::Exit;
use crate::output::{self, Format};
use crate::settings::Settings;
use crate::signals::Stop;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpListener;
use windrow_model::{ByteSize, Code, Failure};
use windrow_net::{Access, ServerTls, check_listen};
use windrow_store::StorageCalls;
use windrow_worker::Config;

/// Where a worker listens by default.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Threads of a job's process beside those of its slots, with a margin.
const OWN_THREADS: u32 = 8;

/// Lists or drains.
pub(crate) async fn manage(verb: WorkerVerb, settings: Settings, format: Format) -> Result<Exit, Failure> {
    match verb {
        WorkerVerb::List { client } => {
            let mut workers = connect(client, settings.client).await?.workers().await?;
            workers.sort_by_key(|worker| worker.id);
            output::workers(&workers, format)?;
        }
        WorkerVerb::Drain { client, id } => {
            connect(client, settings.client).await?.drain(id).await?;
            output::say(&format!("{id} finishes what it runs and gets nothing new"));
        }
    }
    Ok(Exit::Done)
}

/// Runs a worker until SIGINT or SIGTERM, or until its coordinator refuses it.
pub(crate) async fn run(args: WorkerRun, settings: Settings) -> Result<Exit, Failure> {
    if let Some(parent) = args.die_with {
        die_with(parent)?;
    }
    let section = settings.worker;
    let client = settings.client.settle(args.client);
    let tls =
        ServerTls::from_flags(args.tls.tls_cert.or(section.tls_cert), args.tls.tls_key.or(section.tls_key), None)?;
    let listen = args.listen.or(section.listen).unwrap_or(LISTEN);
    let url = Access::url(client.coordinator.as_deref())?;
    let access = Access::resolve(&url, client.token_file.as_deref(), client.tls_ca.as_deref())?;
    let insecure = args.insecure || section.insecure.unwrap_or(false);
    check_listen(listen, tls.is_some(), access.token.is_some(), insecure)?;
    let config = Config {
        coordinator_url: url,
        data_dir: needed(args.data_dir.or(section.data_dir), "--data-dir")?,
        slots: args.slots.or(section.slots.map(|n| n.0)).unwrap_or_else(cores),
        memory_bytes: args.memory.or(section.memory.map(|m| m.0)).map_or_else(half_of_memory, |m| m.0),
        memory_limit_bytes: args.memory_limit.or(section.memory_limit.map(|m| m.0)).map(|m| m.0),
        processes_max: args.max_processes.or(section.max_processes.map(|n| n.0)),
        scratch_quota_bytes: args.scratch_quota.or(section.scratch_quota.map(|m| m.0)).map(|m| m.0),
        stop_timeout: args
            .stop_timeout
            .or(section.stop_timeout.map(|t| t.0))
            .map_or(Config::STOP_TIMEOUT, |t| Duration::from_millis(t.ms)),
        storage_timeout: args
            .storage_timeout
            .or(section.storage_timeout.map(|t| t.0))
            .map_or(StorageCalls::LIMIT, |t| Duration::from_millis(t.ms)),
        fetch_timeout: args
            .fetch_timeout
            .or(section.fetch_timeout.map(|t| t.0))
            .map_or(Config::FETCH_TIMEOUT, |t| Duration::from_millis(t.ms)),
        scrub_period: args
            .scrub_period
            .or(section.scrub_period.map(|t| t.0))
            .map_or(Config::SCRUB_PERIOD, |t| Duration::from_millis(t.ms)),
        scrub_bytes_per_s: args
            .scrub_rate
            .or(section.scrub_rate.map(|rate| rate.0))
            .map_or(Config::SCRUB_BYTES_PER_S, |rate| rate.0),
        trash_kept: args
            .trash_kept
            .or(section.trash_kept.map(|t| t.0))
            .map_or(Config::TRASH_KEPT, |t| Duration::from_millis(t.ms)),
        fetch_from_neighbours: args.fetch_from_neighbours || section.fetch_from_neighbours.unwrap_or(false),
        advertised: args.advertise.or(section.advertise),
        access,
        tls,
        insecure,
    };
    if let Some(limit) = config.memory_limit_bytes.filter(|limit| *limit <= config.memory_bytes) {
        let [limit, memory] = [limit, config.memory_bytes].map(ByteSize);
        let message = format!("--memory-limit {limit} leaves nothing for user code beside --memory {memory}");
        return Err(Failure::new(Code::BadRequest, message));
    }
    // A job's process has a thread for each slot and a few more.
    if let Some(limit) = config.processes_max.filter(|limit| *limit < config.slots + OWN_THREADS) {
        let message = format!("--max-processes {limit} is too few for the threads of {} slots", config.slots);
        return Err(Failure::new(Code::BadRequest, message));
    }
    if !insecure {
        config.access.require_token(&config.coordinator_url)?;
    }
    if let Some(tls) = config.tls.clone() {
        let ca = config.access.ca.clone();
        let checked = tokio::task::spawn_blocking(move || tls.check(ca.as_deref())).await;
        checked.map_err(|e| Failure::new(Code::Internal, e.to_string())).flatten()?;
    }
    let listener = TcpListener::bind(listen)
        .await
        .map_err(|e| Failure::new(Code::IoError, format!("cannot listen on {listen}: {e}")))?;
    let mut stop = Stop::catch()?;
    // A worker that cannot print its line stops: its starter waits for that line.
    let (unheard, silent) = tokio::sync::oneshot::channel();
    let registered = |id| {
        if let Err(failure) = output::put(&format!("worker {id}")) {
            let _ = unheard.send(failure);
        }
    };
    let mut failed = None;
    let shutdown = async {
        tokio::select! {
            () = stop.asked() => {}
            Ok(failure) = silent => failed = Some(failure),
        }
    };
    windrow_worker::run(config, listener, shutdown, registered).await?;
    failed.map_or(Ok(Exit::Done), Err)
}

/// Makes the kernel kill this process when its parent dies, and checks that the parent is still alive.
fn die_with(parent: i32) -> Result<(), Failure> {
    let set = set_parent_process_death_signal(Some(Signal::KILL));
    set.map_err(|e| Failure::new(Code::IoError, format!("cannot be tied to process {parent}: {e}")))?;
    match getppid().map(|pid| pid.as_raw_nonzero().get()) {
        Some(pid) if pid == parent => Ok(()),
        _ => Err(Failure::new(Code::Interrupted, format!("process {parent}, which started this worker, is gone"))),
    }
}

/// Cores that this process may use.
pub(crate) fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| n.get() as u32)
}

/// Half of the machine's memory; a gigabyte where that is unknown.
pub(crate) fn half_of_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text.lines().find_map(|l| l.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map_or(1 << 30, |kib| kib * 1024 / 2)
}
