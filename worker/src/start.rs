//! The parts of a worker that it makes or takes over when it starts, before it serves and registers.

use crate::chunks::Chunks;
use crate::config::Config;
use crate::disk_space::Room;
use crate::error::Error;
use crate::executor::{self, CrumbFolder, Groups, Left, Marks, Owner};
use crate::membership::Membership;
use crate::neighbours::Neighbours;
use crate::pace::Pace;
use crate::scratch::Scratch;
use crate::scrub::{self, Scrub};
use std::net::SocketAddr;
use std::sync::Arc;
use windrow_model::{Incarnation, NodeInfo};
use windrow_net::serve::url_of;

/// Runs a call on the disk on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(call).await.map_err(|e| Error::System(e.into()))
}

/// What this incarnation starts executors with, and the tasks whose executors died in an earlier one. What else an
/// earlier incarnation left (processes, groups, files) is removed in the background.
pub(crate) async fn owner(config: &Config, scratch: &Arc<Scratch>) -> Result<(Owner, Vec<Left>), Error> {
    let processes_max = config.processes_max.unwrap_or(Config::PROCESSES_MAX);
    let (groups, left_groups) = Groups::find(scratch.worker(), processes_max, &scratch.groups());
    let groups = match groups {
        Ok(groups) => Some(groups),
        Err(reason) if config.processes_max.is_some() => return Err(Error::NoGroups(reason)),
        Err(reason) => {
            tracing::info!("the number of processes that jobs start is not limited: {reason}");
            None
        }
    };
    let crumbs_at = scratch.crumbs();
    let (crumbs, left) = blocking(move || CrumbFolder::open(crumbs_at)).await?;
    let left = executor::with_excerpts(left).await;
    let marks = Marks::new(scratch.worker());
    let (sweeper, leftovers) = (scratch.clone(), marks.clone());
    // It may take long with many processes, and touches nothing of this incarnation.
    tokio::task::spawn_blocking(move || {
        drop(left_groups);
        leftovers.kill_leftovers();
        if let Err(e) = sweeper.sweep() {
            tracing::warn!("cannot delete files of an earlier start: {e}");
        }
    });
    Ok((Owner { marks, memory_limit_bytes: config.memory_limit_bytes, crumbs, groups }, left))
}

/// What the worker registers with.
pub(crate) fn node_info(config: &Config, address: SocketAddr, scratch: &Scratch, neighbours: &Neighbours) -> NodeInfo {
    NodeInfo {
        worker: scratch.worker(),
        incarnation: Incarnation(0),
        address: config.advertised.clone().unwrap_or_else(|| url_of(address, config.tls.is_some())),
        host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        slots: config.slots.max(1),
        memory_bytes: config.memory_bytes,
        version: windrow_proto::release().to_string(),
        home: neighbours.home(scratch.root().to_path_buf()),
    }
}

/// The chunks of the data folder, and what watches over them.
pub(crate) struct StoredChunks {
    pub membership: Arc<Membership>,
    pub chunks: Chunks,
    pub room: Room,
    pub scrub: Scrub,
}

/// Opens the chunks of the data folder and starts their scrub.
pub(crate) async fn stored_chunks(config: &Config, scratch: &Arc<Scratch>) -> Result<StoredChunks, Error> {
    let finder = scratch.clone();
    let opened = blocking(move || Ok::<_, Error>((Membership::open(&finder)?, Chunks::new(finder))));
    let (membership, chunks) = opened.await??;
    let membership = Arc::new(membership);
    let settings = scrub::Settings {
        pace: Pace { period_ms: config.scrub_period.as_millis() as u64, bytes_per_s_max: config.scrub_bytes_per_s },
        trash_kept_ms: config.trash_kept.as_millis() as u64,
    };
    let room = Room::default();
    let (looked, disk) = (room.clone(), scratch.clone());
    // Before the first beat reports it.
    blocking(move || looked.look_and_reserve(&disk)).await?;
    let root = scratch.root().to_path_buf();
    let scrub = Scrub::start(chunks.clone(), membership.clone(), room.clone(), root, settings);
    Ok(StoredChunks { membership, chunks, room, scrub: scrub.map_err(Error::System)? })
}
