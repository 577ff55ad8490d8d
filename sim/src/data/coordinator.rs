//! The coordinator in one epoch: it drives the table as `coordinator/src/driver` does.

use super::journal::{Record, Running};
use super::pending::{Done, Job, Placing};
use super::worker::{Doom, Order as Tell, Report};
use super::{CONTENTS, RULE, World, chunk, content};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use windrow_datasets::{Datasets, Membership, Order, OrphanWaits, Orphans, PutId, Verdict};
use windrow_model::*;

/// Milliseconds for which workers of an earlier epoch are awaited.
const AWAITED_MS: u64 = 6_000;
/// Milliseconds for which an inventory is awaited.
const INVENTORY_MS: u64 = 30_000;

pub(super) struct Coordinator {
    began: Time,
    pub(super) epoch: u64,
    pub(super) nonce: u64,
    pub(super) table: Datasets,
    membership: Membership,
    revision: u64,
    pub(super) sessions: BTreeSet<WorkerId>,
    members: BTreeSet<WorkerId>,
    pub(super) awaited_until: Option<Time>,
    pub(super) unwritten: VecDeque<(Record, Option<Done>)>,
    /// Clients that wait for a put to begin.
    pub(super) waiting: Vec<u64>,
    pub(super) placing: Vec<Placing>,
    pub(super) open: BTreeSet<PutId>,
    pub(super) jobs: BTreeMap<JobId, Job>,
    /// Workers whose inventory is not complete, and until when it is awaited.
    listing: BTreeMap<WorkerId, Time>,
    /// Workers that were refused because they have seen a newer journal.
    behind: BTreeSet<WorkerId>,
}

impl Coordinator {
    /// The clock of this epoch, which begins at zero.
    pub(super) fn time(&self, now: Time) -> Time {
        Time(now.since_ms(self.began))
    }

    fn at(&self, own: Time) -> Time {
        self.began.plus_ms(own.0)
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        let placing = self.placing.iter().map(|placing| placing.until).min();
        let table = [self.table.next_deadline(), self.table.next_orphan_note(), self.awaited_until];
        table.into_iter().flatten().map(|own| self.at(own)).chain(placing).min()
    }
}

impl World {
    /// Begins an epoch with what the journal has.
    pub(super) fn start_coordinator(&mut self) {
        let (epoch, nonce) = self.begin_epoch();
        let journal = &self.journal;
        let waits = journal.waits.iter().map(|(digest, wait)| (*digest, *wait)).collect();
        let orphans = Orphans::new(RULE, OrphanWaits { waits, ..journal.orphans.clone() });
        let dropped = journal.dropped.iter().copied().collect();
        let table = Datasets::new(journal.datasets.values().cloned().collect(), dropped, orphans);
        let cluster = journal.cluster.expect("it has an id");
        let mut coordinator = Coordinator {
            began: self.now,
            epoch,
            nonce,
            table,
            membership: Membership::new(cluster, journal.lineage.clone()),
            revision: journal.revision,
            sessions: BTreeSet::new(),
            members: journal.members.clone(),
            awaited_until: None,
            unwritten: VecDeque::new(),
            waiting: Vec::new(),
            placing: Vec::new(),
            open: BTreeSet::new(),
            jobs: BTreeMap::new(),
            listing: BTreeMap::new(),
            behind: BTreeSet::new(),
        };
        if !coordinator.members.is_empty() {
            coordinator.awaited_until = Some(Time(AWAITED_MS));
            coordinator.table.expect_workers(Time(0));
        }
        for (id, running) in &journal.jobs {
            coordinator.restore(*id, running);
        }
        self.coordinator = Some(coordinator);
    }

    /// A worker asks to be registered.
    pub(super) fn register(&mut self, id: WorkerId) {
        if self.coordinator.is_none() || !self.nodes[&id].up || self.nodes[&id].session.is_some() {
            return;
        }
        let disk = &self.nodes[&id].disk;
        let unjoined = disk.cluster.is_none();
        let names: Vec<Digest> = if unjoined { disk.chunks.keys().copied().collect() } else { Vec::new() };
        let folder = Folder { cluster: disk.cluster, seen: disk.seen, chunks: names.len() as u64 };
        let incarnation = self.nodes[&id].incarnation;
        let info = NodeInfo { worker: id, ..crate::samples::node(1, 1, incarnation) };
        let coordinator = self.coordinator.as_mut().expect("looked at above");
        let is_known = |digest: &Digest| coordinator.table.is_known(digest);
        let verdict = coordinator.membership.judge(&info, folder, &names, coordinator.revision, is_known);
        coordinator.table.set_frozen(coordinator.membership.is_behind());
        self.note(|| format!("{id} registers: {verdict:?}"));
        self.check_verdict(id, folder, &verdict);
        let coordinator = self.coordinator.as_mut().expect("looked at above");
        match verdict {
            Verdict::Refused { failure, above, is_news } => {
                // Its folder may have been replaced since it was refused before.
                match failure.code == Code::JournalBehind {
                    true => coordinator.behind.insert(id),
                    false => coordinator.behind.remove(&id),
                };
                if let Some(epoch) = above.filter(|_| is_news) {
                    coordinator.unwritten.push_back((Record::RestoreAbove(epoch.0), None));
                }
                return self.count("registration refused");
            }
            Verdict::Admitted => drop(coordinator.behind.remove(&id)),
        }
        coordinator.sessions.insert(id);
        coordinator.listing.insert(id, self.now.plus_ms(INVENTORY_MS));
        coordinator.table.worker_joined(id, Incarnation(incarnation), coordinator.time(self.now));
        if coordinator.members.insert(id) {
            coordinator.unwritten.push_back((Record::Member(id, true), None));
        }
        if coordinator.members.iter().all(|member| coordinator.sessions.contains(member)) {
            coordinator.awaited_until = None;
            coordinator.table.all_are_back();
        }
        let seen = Seen { epoch: Epoch(coordinator.epoch), nonce: coordinator.nonce, revision: coordinator.revision };
        let cluster = coordinator.membership.cluster;
        let nonce = coordinator.nonce;
        let node = self.node(id);
        node.end_session();
        node.session = Some(nonce);
        node.inbox.push_back(Tell::Registered { cluster, seen });
    }

    /// The session of a worker breaks, and the worker registers again before the coordinator counts it as lost.
    pub(super) fn reconnect(&mut self, id: WorkerId) {
        if self.coordinator.is_some() && self.nodes[&id].up && self.nodes[&id].session.is_some() {
            self.count("session replaced");
            self.node(id).end_session();
            self.register(id);
        }
    }

    /// Workers that were refused because they have seen a newer journal.
    pub(super) fn behind(&self) -> BTreeSet<WorkerId> {
        self.coordinator.as_ref().map_or_else(BTreeSet::new, |coordinator| coordinator.behind.clone())
    }

    /// An operator lets the folder of a worker join.
    pub(super) fn adopt_worker(&mut self, id: WorkerId) {
        if let Some(coordinator) = &mut self.coordinator {
            let _ = coordinator.membership.adopt(id);
        }
    }

    /// The session of a worker is over, on both sides.
    pub(super) fn session_ends(&mut self, id: WorkerId) {
        self.node(id).end_session();
        let now = self.now;
        if let Some(coordinator) = self.coordinator.as_mut().filter(|coordinator| coordinator.sessions.contains(&id)) {
            coordinator.sessions.remove(&id);
            coordinator.listing.remove(&id);
            coordinator.table.worker_left(id, coordinator.time(now));
            if self.dice.percent(50) && coordinator.members.remove(&id) {
                coordinator.unwritten.push_back((Record::Member(id, false), None));
            }
        }
    }

    /// The coordinator reads a report.
    pub(super) fn coordinator_receives(&mut self, id: WorkerId) {
        let now = self.now;
        let Some(coordinator) = self.coordinator.as_mut().filter(|coordinator| coordinator.sessions.contains(&id))
        else {
            return;
        };
        let node = self.nodes.get_mut(&id).expect("it is there");
        if node.session == Some(coordinator.nonce) {
            // Its beats.
            coordinator.table.note_room(id, node.full);
        }
        let Some(report) = node.outbox.pop_front() else { return };
        let time = coordinator.time(now);
        self.trace.note(&mut self.outcome.trace, || format!("data {} from {id}: {report:?}", now.0));
        match report {
            Report::Held { digests, all, stored } => {
                if stored {
                    coordinator.table.arrived(id, &digests, time);
                }
                coordinator.table.held(id, digests.iter().copied());
                coordinator.note_lengths(&digests);
                if all {
                    coordinator.listing.remove(&id);
                    coordinator.table.inventory_complete(id);
                    let counted = |digest: &Digest| coordinator.table.holders(*digest).any(|holder| holder == id);
                    let stale = (0..CONTENTS).map(content).find(|d| counted(d) && !node.reported.contains(d));
                    assert!(
                        stale.is_none(),
                        "{id} has not reported {stale:?} in its inventory, and counts as a holder"
                    );
                }
            }
            Report::Trashed(digests) => {
                coordinator.table.trashed(id, digests.iter().copied());
                coordinator.note_lengths(&digests);
            }
            Report::Lost(digest) => drop(coordinator.table.lost(id, &[digest])),
            Report::Dropped => coordinator.table.dropped(id),
            Report::NotCopied(digest, code) => coordinator.table.not_copied(id, digest, code, time),
        }
    }

    /// Answers calls that have waited, and sends orders: in the same order as the driver.
    pub(super) fn reconcile(&mut self) {
        let now = self.now;
        let Some(coordinator) = &mut self.coordinator else { return };
        let time = coordinator.time(now);
        coordinator.awaited_until.take_if(|at| *at <= time);
        if !coordinator.table.is_dropping() && coordinator.awaited_until.is_none() {
            for client in std::mem::take(&mut coordinator.waiting) {
                self.begin_put(client);
            }
        }
        let Some(coordinator) = &mut self.coordinator else { return };
        coordinator.table.give_up_silent(time);
        self.commit_placed();
        self.fail_lacking();
        let Some(coordinator) = &mut self.coordinator else { return };
        let orders = coordinator.table.orders(time);
        let trashed = orders.iter().flat_map(|order| match order {
            Order::Trash { digests, .. } => &digests[..],
            Order::Copy { .. } | Order::Drop { .. } => &[],
        });
        let went: BTreeSet<Digest> = trashed.copied().collect();
        if let Some(changes) = coordinator.table.take_orphan_changes(time, false) {
            let reserved = changes.reserves.map(Done::Reserved);
            coordinator.unwritten.push_back((Record::Orphans(changes), reserved));
        }
        for order in orders {
            let (worker, tell) = match order {
                Order::Copy { worker, digest, from } => {
                    self.outcome.copies += 1;
                    (worker, Tell::Copy(digest, from))
                }
                Order::Drop { worker, digests } => {
                    self.outcome.deletions += digests.len() as u64;
                    digests.iter().for_each(|digest| self.check_order(worker, *digest, true));
                    (worker, self.drop_order(digests, Doom::Delete))
                }
                Order::Trash { worker, digests } => {
                    self.outcome.deletions += digests.len() as u64;
                    digests.iter().for_each(|digest| self.check_order(worker, *digest, false));
                    (worker, self.drop_order(digests, Doom::Trash))
                }
            };
            self.note(|| format!("to {worker}: {tell:?}"));
            self.node(worker).inbox.push_back(tell);
        }
        if !went.is_empty() && self.crashes_after_orders > 0 && self.dice.percent(30) {
            self.crashes_after_orders -= 1;
            self.must_crash = true;
        }
        went.into_iter().for_each(|digest| self.check_wait(digest));
        let Some(coordinator) = &mut self.coordinator else { return };
        let unrecorded = coordinator.table.take_unrecorded();
        if !unrecorded.is_empty() {
            coordinator.unwritten.push_back((Record::Dropped(unrecorded), None));
        }
    }

    fn drop_order(&self, digests: Vec<Digest>, doom: Doom) -> Tell {
        let revision = self.coordinator.as_ref().map_or(0, |coordinator| coordinator.revision);
        Tell::Drop { digests, doom, revision }
    }

    /// A record is durable: the table follows the journal.
    pub(super) fn is_durable(&mut self, done: Done) {
        let now = self.now;
        let Some(coordinator) = &mut self.coordinator else { return };
        let time = coordinator.time(now);
        match done {
            Done::Put(dataset, client) => {
                self.check_acknowledged(&dataset);
                self.count_changes();
                let coordinator = self.coordinator.as_mut().expect("it is up");
                coordinator.table.recorded(dataset, true);
                self.outcome.puts += 1;
                client.into_iter().for_each(|client| self.end_client(client));
            }
            Done::Removed(name) => {
                self.count_changes();
                let coordinator = self.coordinator.as_mut().expect("it is up");
                let _ = coordinator.table.remove(&name);
            }
            Done::Outputs(job, dataset) => {
                self.count_changes();
                let coordinator = self.coordinator.as_mut().expect("it is up");
                coordinator.table.recorded(dataset, true);
                coordinator.end_job(job);
            }
            Done::JobEnded(job) => {
                if let Some(put) = coordinator.jobs.remove(&job).and_then(|job| job.put) {
                    coordinator.open.remove(&put);
                    coordinator.table.end_put(put, time);
                }
                coordinator.table.unpin(job);
            }
            Done::Reserved(id) => coordinator.table.reservation_recorded(id),
        }
    }

    fn count_changes(&mut self) {
        let coordinator = self.coordinator.as_mut().expect("it is up");
        coordinator.revision += 1;
        let revision = coordinator.revision;
        for id in coordinator.sessions.clone() {
            self.node(id).inbox.push_back(Tell::Revision(revision));
        }
    }

    /// Asserts that the table may order this deletion.
    fn check_order(&self, worker: WorkerId, digest: Digest, at_once: bool) {
        let coordinator = self.coordinator.as_ref().expect("it orders");
        assert!(!self.journal.refers_to(digest), "{digest} is to go from {worker} and is referred to");
        let pinned = coordinator.jobs.values().flat_map(|job| &job.inputs).any(|chunk| chunk.digest == digest);
        assert!(!pinned, "{digest} is to go from {worker}, and a job reads it");
        assert!(coordinator.open.is_empty(), "{digest} is to go from {worker} while a put is open");
        assert!(
            coordinator.behind.is_empty(),
            "{digest} is to go although {:?} have seen a newer journal",
            coordinator.behind
        );
        let is_complete = coordinator.listing.get(&worker).is_none_or(|until| *until <= self.now);
        assert!(is_complete, "{digest} is to go from {worker} before its inventory is complete");
        let may = self.journal.released.contains(&digest)
            || self.fresh.contains(&(worker, self.nodes[&worker].incarnation, digest))
            || self.journal.dropped.contains(&digest);
        assert!(!at_once || may, "{digest} is to go at once from {worker}, and no recorded change has ordered that");
    }
}

impl Coordinator {
    pub(super) fn note_lengths(&mut self, digests: &[Digest]) {
        self.table.note_lengths(digests.iter().map(|digest| (*digest, chunk(*digest).length)));
    }

    /// A job of an earlier epoch continues.
    fn restore(&mut self, id: JobId, running: &Running) {
        let mut job = Job { inputs: running.inputs.clone(), ..Job::default() };
        self.table.keep_inputs(id, running.inputs.clone());
        if let Some(name) = running.output.as_ref().filter(|_| !running.recorded)
            && let Ok(put) = self.table.begin_output(name, true)
        {
            self.open.insert(put);
            job.put = Some(put);
            for (worker, chunk) in &running.kept {
                job.kept.push(*chunk);
                self.table.keep_output(id, *worker, *chunk);
            }
        }
        self.jobs.insert(id, job);
    }
}
