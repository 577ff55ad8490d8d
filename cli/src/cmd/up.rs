//! `windrow up`: a cluster on this machine. The coordinator runs in this process, each worker in one of its own, which
//! the kernel kills when this one dies. A worker that ends is restarted (`workers.rs`, `restarts.rs`). Without `--data-dir`
//! the folder is temporary (`folder.rs`).

mod folder;
mod restarts;
mod workers;

use super::coordinator::{Plan, Ready, serve};
use super::die_with::die_with;
use super::page_plan::{PagePlan, UiSettings, page_plan};
use super::worker::{cores, half_of_memory};
use crate::args::Up;
use crate::exit::Exit;
use crate::settings::Settings;
use crate::signals::Stop;
use folder::Folder;
use rustix::process::Signal;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::pin;
use tokio::process::Child;
use tokio::sync::oneshot;
use windrow_model::Failure;
use workers::{Share, keep_all, start_all, stop_all};

/// Where the coordinator listens by default: several clusters fit on one machine.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Runs the cluster until SIGINT or SIGTERM.
pub(crate) async fn run(args: Up, settings: Settings) -> Result<Exit, Failure> {
    if let Some(parent) = args.die_with {
        // A clean stop: it removes the folder.
        die_with(parent, Signal::TERM)?;
    }
    let section = settings.up;
    let workers = args.workers.or(section.workers.map(|n| n.0)).unwrap_or(1);
    let share = Share {
        slots: args.slots.or(section.slots.map(|n| n.0)).unwrap_or((cores() / workers).max(1)),
        memory_bytes: args
            .memory
            .or(section.memory.map(|m| m.0))
            .map_or_else(|| half_of_memory() / u64::from(workers), |m| m.0),
    };
    let folder = Folder::open(args.data_dir.or(section.data_dir))?;
    if folder.is_temporary() {
        // Not awaited: there may be much to delete.
        tokio::task::spawn_blocking(folder::remove_left_ones);
    }
    let ui = UiSettings {
        listen: section.ui_listen,
        none: section.no_ui,
        base_path: section.ui_base_path,
        hosts: section.ui_host,
    };
    // Several clusters fit on one machine, and so do their dashboards.
    let page = page_plan(args.ui, ui, true)?;
    let plan = plan(&folder, args.listen.or(section.listen).unwrap_or(LISTEN), page);
    serve_until_stopped(plan, &folder, workers, &share).await
}

/// The coordinator of the cluster.
fn plan(folder: &Folder, listen: SocketAddr, page: Option<PagePlan>) -> Plan {
    Plan {
        listen,
        page,
        data_dir: folder.path().join("coordinator"),
        token_file: None,
        tls: None,
        insecure: false,
        lease_ms: windrow_coordinator::Config::LEASE_MS,
        unschedulable_after_ms: windrow_coordinator::Config::UNSCHEDULABLE_AFTER_MS,
        storage_timeout: windrow_coordinator::Config::STORAGE_TIMEOUT,
        orphans: windrow_coordinator::OrphanRule::default(),
        history: windrow_coordinator::Retention::default(),
        temporary: folder.is_temporary(),
    }
}

/// Runs coordinator and workers, and stops all of them at a signal, or if one of them cannot be started.
async fn serve_until_stopped(plan: Plan, folder: &Folder, workers: u32, share: &Share) -> Result<Exit, Failure> {
    let mut stop = Stop::catch()?;
    let (ready, started) = oneshot::channel();
    let (end, ended) = oneshot::channel::<()>();
    let mut serving = pin!(serve(plan, ready, async {
        // A dropped sender is an end, too.
        let _ = ended.await;
    }));
    let mut children = Vec::new();
    let result = {
        let mut cluster = pin!(cluster(started, folder.path(), workers, share, &mut children));
        tokio::select! {
            ended = &mut serving => return ended.map(|()| Exit::Done),
            failed = &mut cluster => failed,
            () = stop.asked() => Ok(()),
        }
    };
    // Workers first: they would retry if the coordinator was gone.
    tokio::select! {
        ended = &mut serving => ended?,
        () = stop_all(children) => {}
    }
    let _ = end.send(());
    let served = serving.await;
    result?;
    served.map(|()| Exit::Done)
}

/// Starts the workers, waits until all have registered, prints that, and from then on restarts workers that end.
async fn cluster(
    started: oneshot::Receiver<Ready>,
    folder: &Path,
    workers: u32,
    share: &Share,
    children: &mut Vec<Child>,
) -> Result<(), Failure> {
    let Ok(ready) = started.await else {
        // The coordinator has ended; its own result says why.
        return std::future::pending().await;
    };
    let lines = start_all(&ready, folder, workers, share, children).await?;
    ready.print()?;
    keep_all(&ready, folder, share, children, lines).await;
    Ok(())
}
