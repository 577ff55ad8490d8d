//! The sessions of workers: one at a time for each worker, with the setups, tables and addresses that it has got.
//!
//! An ended session is forgotten. The scheduler knows the workers' attempts.

use crate::addresses::Addresses;
use crate::mailbox::SessionId;
use crate::outbox::Outbox;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use windrow_model::{Incarnation, JobId, StageOutputs, Time, WorkerId};
use windrow_proto::v1;
use windrow_scheduler::{Lacking, SentTables};

struct Session {
    id: SessionId,
    incarnation: Incarnation,
    /// Random number of the worker's process; 0 if its release has none.
    process: u64,
    to_worker: Outbox,
    /// Jobs whose setup this worker has got in this session.
    set_up: BTreeSet<JobId>,
    /// Tables of outputs that it has got.
    tables: SentTables,
    /// By worker: the change of its address that this session has got.
    peers: BTreeMap<WorkerId, u64>,
    /// Jobs of which it had data when the session began.
    named: BTreeSet<JobId>,
    /// It has announced its end, and what it waits for.
    draining: Option<v1::Draining>,
    /// When its last message came.
    heard: Time,
    /// Whether its disk was full at its last beat.
    full: bool,
}

#[derive(Default)]
pub(crate) struct Sessions {
    live: BTreeMap<WorkerId, Session>,
    /// Workers whose session has ended, and when they count as gone if they do not return.
    leaving: BTreeMap<WorkerId, Time>,
    last_id: u64,
}

impl Sessions {
    /// Begins a session; an older one of the same worker ends. `None` if another process is registered as this worker, with a
    /// later incarnation or the same one.
    pub(crate) fn begin(
        &mut self,
        worker: WorkerId,
        incarnation: Incarnation,
        process: u64,
        to_worker: Outbox,
        now: Time,
    ) -> Option<SessionId> {
        let is_taken = |s: &Session| match s.incarnation == incarnation {
            true => s.process != process && s.process != 0 && process != 0,
            false => s.incarnation > incarnation,
        };
        if self.live.get(&worker).is_some_and(is_taken) {
            return None;
        }
        self.last_id += 1;
        let id = SessionId(self.last_id);
        self.leaving.remove(&worker);
        let (set_up, tables, peers, named) = Default::default();
        let draining = None;
        let (heard, full) = (now, false);
        let session =
            Session { id, incarnation, process, to_worker, set_up, tables, peers, named, draining, heard, full };
        self.live.insert(worker, session);
        Some(id)
    }

    /// Whether this is the worker's session, and not an older one.
    pub(crate) fn is_current(&self, worker: WorkerId, id: SessionId) -> bool {
        self.live.get(&worker).is_some_and(|s| s.id == id)
    }

    /// A message of the worker has come; `full`: what it says of its disk, if it says so.
    pub(crate) fn heard(&mut self, worker: WorkerId, now: Time, full: Option<bool>) {
        if let Some(session) = self.live.get_mut(&worker) {
            session.heard = now;
            session.full = full.unwrap_or(session.full);
        }
    }

    /// When the last message of a worker with a session came, and whether its disk is full.
    pub(crate) fn last_heard(&self, worker: WorkerId) -> Option<(Time, bool)> {
        self.live.get(&worker).map(|session| (session.heard, session.full))
    }

    /// Ends a session; its stream ends with it.
    pub(crate) fn end(&mut self, worker: WorkerId) {
        self.live.remove(&worker);
    }

    /// The worker counts as gone at `at`, if it does not return before.
    pub(crate) fn leaves_at(&mut self, worker: WorkerId, at: Time) {
        self.leaving.insert(worker, at);
    }

    /// When the next worker counts as gone.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.leaving.values().min().copied()
    }

    /// A worker that counts as gone now.
    pub(crate) fn pop_gone(&mut self, now: Time) -> Option<WorkerId> {
        let gone = self.leaving.iter().find(|(_, at)| **at <= now).map(|(worker, _)| *worker)?;
        self.leaving.remove(&gone);
        Some(gone)
    }

    /// Sends to a worker. Without a session this does nothing: its tasks are given to others when it counts as gone, or anew when it
    /// returns.
    pub(crate) fn send(&self, worker: WorkerId, message: v1::to_worker::Message) {
        if let Some(session) = self.live.get(&worker) {
            // `SessionEnded` reports a closed stream.
            session.to_worker.send(v1::ToWorker { message: Some(message) });
        }
    }

    /// True once for each job and session: the job's setup goes with this message.
    pub(crate) fn needs_setup(&mut self, worker: WorkerId, job: JobId) -> bool {
        self.live.get_mut(&worker).is_some_and(|s| s.set_up.insert(job))
    }

    /// The tables that this worker has not got in its session, or whose holders may have other addresses. They count as sent.
    pub(crate) fn take_lacking_tables(
        &mut self,
        worker: WorkerId,
        tables: &[Arc<StageOutputs>],
        changes: u64,
    ) -> Vec<Lacking> {
        self.live.get_mut(&worker).map_or(Vec::new(), |s| s.tables.take_lacking(tables, changes))
    }

    /// The addresses of these holders that this worker does not know. They count as sent.
    pub(crate) fn take_lacking_peers(
        &mut self,
        worker: WorkerId,
        holders: impl Iterator<Item = WorkerId>,
        addresses: &Addresses,
    ) -> Vec<v1::Peer> {
        let Some(Session { peers, .. }) = self.live.get_mut(&worker) else { return Vec::new() };
        let lacking = |holder| {
            let address = addresses.get(holder)?;
            (peers.insert(holder, address.change) != Some(address.change)).then(|| address.peer.clone())
        };
        let lacking = holders.filter_map(lacking).collect();
        // Workers that are gone are forgotten, so that sessions do not grow with every worker that there ever was.
        if peers.len() > 2 * addresses.len() {
            peers.retain(|holder, _| addresses.get(*holder).is_some());
        }
        lacking
    }

    /// The worker has data of these jobs. Their setups are sent all the same: it may have the one of an earlier epoch, in which outputs
    /// were staged elsewhere.
    pub(crate) fn names(&mut self, worker: WorkerId, named: BTreeSet<JobId>) {
        if let Some(session) = self.live.get_mut(&worker) {
            session.named = named;
        }
    }

    /// Whether this worker has a session.
    pub(crate) fn is_live(&self, worker: WorkerId) -> bool {
        self.live.contains_key(&worker)
    }

    /// The job has ended. Returns the workers that may have data of it.
    pub(crate) fn forget_job(&mut self, job: JobId) -> Vec<WorkerId> {
        let had = |s: &mut Session| {
            s.tables.forget(job);
            s.set_up.remove(&job) | s.named.remove(&job)
        };
        self.live.iter_mut().filter_map(|(worker, s)| had(s).then_some(*worker)).collect()
    }

    /// This worker has announced its end.
    pub(crate) fn set_draining(&mut self, worker: WorkerId, said: v1::Draining) {
        if let Some(session) = self.live.get_mut(&worker) {
            session.draining = Some(said);
        }
    }

    /// What a worker that was asked to end waits for.
    pub(crate) fn waits_for(&self, worker: WorkerId) -> Option<String> {
        let v1::Draining { running, unpublished, served, stops_in_ms } = self.live.get(&worker)?.draining?;
        (running.max(unpublished).max(served) > 0).then(|| {
            format!(
                "it stops when {running} tasks have run, {unpublished} have published their parts, and the jobs are over \
                 that may read the outputs of {served}; {} s after it said so at the latest",
                stops_in_ms / 1_000
            )
        })
    }

    /// Whether the worker has announced its end.
    pub(crate) fn is_draining(&self, worker: WorkerId) -> bool {
        self.live.get(&worker).is_some_and(|s| s.draining.is_some())
    }

    /// Every worker with a session.
    pub(crate) fn workers(&self) -> impl Iterator<Item = WorkerId> + '_ {
        self.live.keys().copied()
    }
}
