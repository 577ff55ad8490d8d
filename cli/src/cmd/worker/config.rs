//! The configuration of a worker, from its flags, the settings file and the machine.

use crate::args::{Span, Text, WorkerRun};
use crate::cmd::needed;
use crate::settings::Settings;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use windrow_model::{ByteSize, Code, Failure};
use windrow_net::{Access, ServerTls, check_listen};
use windrow_store::{Outputs, StorageCalls};
use windrow_worker::Config;

/// Where a worker listens by default.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Threads of a job's process beside those of its slots, with a margin.
const OWN_THREADS: u32 = 8;

/// Where the worker listens, and its configuration.
pub(super) fn config(args: WorkerRun, settings: Settings) -> Result<(SocketAddr, Config), Failure> {
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
        stop_timeout: duration(args.stop_timeout, section.stop_timeout, Config::STOP_TIMEOUT),
        storage_timeout: duration(args.storage_timeout, section.storage_timeout, StorageCalls::LIMIT),
        outputs: Outputs::default(),
        fetch_timeout: duration(args.fetch_timeout, section.fetch_timeout, Config::FETCH_TIMEOUT),
        scrub_period: duration(args.scrub_period, section.scrub_period, Config::SCRUB_PERIOD),
        scrub_bytes_per_s: args
            .scrub_rate
            .or(section.scrub_rate.map(|rate| rate.0))
            .map_or(Config::SCRUB_BYTES_PER_S, |rate| rate.0),
        trash_kept: duration(args.trash_kept, section.trash_kept, Config::TRASH_KEPT),
        fetch_from_neighbours: args.fetch_from_neighbours || section.fetch_from_neighbours.unwrap_or(false),
        advertised: args.advertise.or(section.advertise),
        access,
        tls,
        insecure,
    };
    check_limits(&config)?;
    Ok((listen, config))
}

/// The duration of a flag, else of its setting, else the default.
fn duration(flag: Option<Span>, setting: Option<Text<Span>>, default: Duration) -> Duration {
    flag.or(setting.map(|text| text.0)).map_or(default, |span| Duration::from_millis(span.ms))
}

/// Whether its limits leave room for what runs under them.
fn check_limits(config: &Config) -> Result<(), Failure> {
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
    Ok(())
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
