//! A simulated worker: the files of its chunks, what it has announced of them, and how it obeys orders.

use super::{World, content};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use windrow_model::*;

/// The data folder of a worker.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    /// Chunks by name, and whether the content is what the name says.
    pub(super) chunks: BTreeMap<Digest, bool>,
    pub(super) trash: BTreeSet<Digest>,
    pub(super) cluster: Option<ClusterId>,
    pub(super) seen: Seen,
}

impl Disk {
    /// Whether it has this chunk undamaged, or in the trash.
    pub(super) fn has(&self, digest: Digest) -> bool {
        self.chunks.get(&digest) == Some(&true) || self.trash.contains(&digest)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doom {
    Delete,
    Trash,
}

/// A message to the worker.
#[derive(Clone, Debug)]
pub(super) enum Order {
    Registered { cluster: ClusterId, seen: Seen },
    Copy(Digest, Vec<WorkerId>),
    Drop { digests: Vec<Digest>, doom: Doom, revision: u64 },
    Revision(u64),
}

/// A message to the coordinator.
#[derive(Clone, Debug)]
pub(super) enum Report {
    Held { digests: Vec<Digest>, all: bool, stored: bool },
    Trashed(Vec<Digest>),
    Lost(Digest),
    Dropped,
    NotCopied(Digest, Code),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    pub(super) up: bool,
    pub(super) incarnation: u64,
    /// The nonce of the epoch in which its session began.
    pub(super) session: Option<u64>,
    /// It has read the answer to its registration.
    pub(super) is_registered: bool,
    pub(super) full: bool,
    pub(super) disk: Disk,
    pub(super) older_disk: Option<Disk>,
    doomed: BTreeMap<Digest, Doom>,
    /// Orders to delete that are not carried out yet.
    removing: VecDeque<Vec<Digest>>,
    copying: VecDeque<(Digest, Vec<WorkerId>)>,
    announced: BTreeSet<Digest>,
    /// The newest revision of the journal that it has received in this session.
    revision: u64,
    /// Chunks that it has reported in this session.
    pub(super) reported: BTreeSet<Digest>,
    pub(super) inbox: VecDeque<Order>,
    pub(super) outbox: VecDeque<Report>,
}

impl Node {
    /// The process ends.
    pub(super) fn stop(&mut self) {
        *self = Node {
            incarnation: self.incarnation,
            full: self.full,
            disk: std::mem::take(&mut self.disk),
            older_disk: self.older_disk.take(),
            ..Node::default()
        };
    }

    pub(super) fn end_session(&mut self) {
        (self.session, self.is_registered) = (None, false);
        self.inbox.clear();
        self.outbox.clear();
        self.reported.clear();
    }

    fn say(&mut self, report: Report) {
        if self.is_registered {
            if let Report::Held { digests, .. } = &report {
                self.reported.extend(digests);
            }
            self.outbox.push_back(report);
        }
    }

    /// A chunk gets its file, by a client or in another way.
    pub(super) fn store(&mut self, digest: Digest, for_client: bool) {
        self.doomed.remove(&digest);
        let was_here = self.announced.contains(&digest) || self.disk.trash.contains(&digest);
        self.disk.chunks.insert(digest, true);
        self.announced.insert(digest);
        self.say(Report::Held { digests: vec![digest], all: false, stored: for_client && !was_here });
    }

    /// A chunk is read: a damaged one is set aside.
    pub(super) fn check(&mut self, digest: Digest) -> bool {
        if self.disk.chunks.get(&digest) == Some(&true) {
            return true;
        }
        self.disk.chunks.remove(&digest);
        if self.announced.remove(&digest) {
            if self.disk.trash.contains(&digest) {
                self.say(Report::Trashed(vec![digest]));
            }
            self.say(Report::Lost(digest));
        }
        false
    }

    /// Everything that it holds, and has in its trash.
    fn list(&mut self) {
        let held: Vec<Digest> = self.disk.chunks.keys().filter(|d| !self.doomed.contains_key(d)).copied().collect();
        self.announced.extend(&held);
        let trash = self.disk.trash.iter().copied().collect();
        self.say(Report::Trashed(trash));
        self.say(Report::Held { digests: held, all: false, stored: false });
        self.say(Report::Held { digests: Vec::new(), all: true, stored: false });
    }

    /// The process starts, and counts the chunks of its folder as announced.
    pub(super) fn start(&mut self) {
        self.up = true;
        self.incarnation += 1;
        self.announced = self.disk.chunks.keys().copied().collect();
    }

    /// Whether messages, deletions or copies are pending.
    pub(super) fn is_busy(&self) -> bool {
        !(self.inbox.is_empty() && self.outbox.is_empty() && self.removing.is_empty() && self.copying.is_empty())
    }
}

impl World {
    /// A worker reads a message.
    pub(super) fn worker_receives(&mut self, id: WorkerId) {
        let Some(order) = self.node(id).inbox.pop_front() else { return };
        match order {
            Order::Registered { cluster, seen } => self.takes_in(id, cluster, seen),
            Order::Revision(revision) => self.learns(id, revision),
            Order::Copy(digest, from) => self.node(id).copying.push_back((digest, from)),
            Order::Drop { digests, doom, revision } => {
                let node = self.node(id);
                if revision < node.revision {
                    node.say(Report::Held { digests, all: false, stored: false });
                    node.say(Report::Dropped);
                    return;
                }
                node.doomed.extend(digests.iter().map(|digest| (*digest, doom)));
                node.removing.push_back(digests);
                self.learns(id, revision);
                self.check_obeys(id);
            }
        }
    }

    /// A coordinator has registered the worker. It compares what it has seen before, and keeps what is newer.
    fn takes_in(&mut self, id: WorkerId, cluster: ClusterId, now: Seen) {
        let node = self.node(id);
        let Seen { epoch, nonce, revision } = node.disk.seen;
        let other = node.disk.cluster.is_some_and(|own| own != cluster);
        let behind =
            now.epoch < epoch || now.epoch == epoch && (now.nonce != nonce || now.revision < revision) && nonce != 0;
        if other || behind {
            return self.session_ends(id);
        }
        (node.disk.cluster, node.disk.seen, node.revision) = (Some(cluster), now, now.revision);
        node.is_registered = true;
        node.list();
    }

    fn learns(&mut self, id: WorkerId, revision: u64) {
        let node = self.node(id);
        node.revision = node.revision.max(revision);
        node.disk.seen.revision = node.disk.seen.revision.max(node.revision);
    }

    /// A worker makes a copy, carries out a deletion, or checks a chunk.
    pub(super) fn worker_works(&mut self, id: WorkerId) {
        if !self.nodes[&id].up {
            return;
        }
        if self.dice.percent(50)
            && let Some((digest, from)) = self.node(id).copying.pop_front()
        {
            return self.copy(id, digest, &from);
        }
        if let Some(digests) = self.node(id).removing.pop_front() {
            for digest in digests {
                self.remove(id, digest);
            }
            return self.node(id).say(Report::Dropped);
        }
        if self.dice.percent(10) {
            let digest = content(self.dice.below(super::CONTENTS));
            self.node(id).check(digest);
        }
    }

    fn copy(&mut self, id: WorkerId, digest: Digest, from: &[WorkerId]) {
        let node = self.node(id);
        if node.disk.chunks.contains_key(&digest) && node.check(digest) {
            return node.store(digest, false);
        }
        if node.disk.trash.remove(&digest) {
            return node.store(digest, false);
        }
        if node.full {
            return node.say(Report::NotCopied(digest, Code::NoSpace));
        }
        if (self.broken || self.answers_to_lose > 0) && self.dice.percent(10) {
            self.answers_to_lose = self.answers_to_lose.saturating_sub(1);
            return self.count("copy without an answer");
        }
        let source = from.iter().find(|w| {
            let node = self.nodes.get_mut(w).expect("it is there");
            node.up && node.check(digest)
        });
        match source {
            Some(_) => self.node(id).store(digest, false),
            None => self.node(id).say(Report::NotCopied(digest, Code::FetchFailed)),
        }
    }

    fn remove(&mut self, id: WorkerId, digest: Digest) {
        let node = self.node(id);
        let Some(doom) = node.doomed.remove(&digest) else { return };
        if node.announced.remove(&digest) {
            node.say(Report::Lost(digest));
        }
        let was_here = node.disk.chunks.remove(&digest).is_some();
        match doom {
            Doom::Delete => {
                node.disk.trash.remove(&digest);
            }
            Doom::Trash if was_here => {
                node.disk.trash.insert(digest);
                node.say(Report::Trashed(vec![digest]));
            }
            Doom::Trash => {}
        }
        self.note(|| format!("{id} removes {digest}: {doom:?}"));
    }
}
