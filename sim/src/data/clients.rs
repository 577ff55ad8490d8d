//! Clients that put datasets: they store chunks on workers and commit, or vanish before.

use super::journal::Record;
use super::pending::{Done, Placing};
use super::{CONTENTS, World, chunk, content};
use std::collections::BTreeSet;
use windrow_datasets::{Placed, PutId};
use windrow_model::*;

/// A put whose chunks are not reported by then is refused.
const PLACED_WAIT_MS: u64 = 30_000;

pub(super) struct Client {
    pub(super) id: u64,
    /// The nonce of the epoch to which it is connected.
    nonce: u64,
    name: String,
    overwrite: bool,
    replicas: u32,
    chunks: Vec<Digest>,
    /// It has asked for the put to begin.
    asks: bool,
    put: Option<PutId>,
    offered: Vec<WorkerId>,
    placed: Vec<(Digest, Vec<WorkerId>)>,
    commits: bool,
    /// It names workers that never got a chunk.
    lies: bool,
}

impl World {
    /// A client begins to put a dataset.
    pub(super) fn new_client(&mut self) {
        let Some(coordinator) = &self.coordinator else { return };
        let nonce = coordinator.nonce;
        let name = format!("set{}", self.dice.below(5));
        let chunks: BTreeSet<usize> = (0..1 + self.dice.below(4)).map(|_| self.dice.below(CONTENTS)).collect();
        let client = Client {
            id: self.dice.next(),
            nonce,
            name,
            overwrite: self.dice.percent(70),
            replicas: if self.dice.percent(80) { 0 } else { 1 + self.dice.below(3) as u32 },
            chunks: chunks.into_iter().map(content).collect(),
            asks: false,
            put: None,
            offered: Vec::new(),
            placed: Vec::new(),
            commits: false,
            lies: self.dice.percent(5),
        };
        self.clients.push(client);
    }

    /// One client takes one step of its put.
    pub(super) fn client_acts(&mut self) {
        if self.clients.is_empty() {
            return;
        }
        let at = self.dice.below(self.clients.len());
        let nonce = self.coordinator.as_ref().map(|coordinator| coordinator.nonce);
        let client = &mut self.clients[at];
        if nonce != Some(client.nonce) {
            self.clients.swap_remove(at);
            return;
        }
        let id = client.id;
        if !client.asks {
            client.asks = true;
            self.coordinator.iter_mut().for_each(|coordinator| coordinator.waiting.push(id));
            return;
        }
        if client.put.is_none() {
            return;
        }
        if self.dice.percent(if self.broken { 4 } else { 0 }) {
            self.count("put cut off");
            return self.end_client(id);
        }
        let client = &self.clients[at];
        match client.chunks.get(client.placed.len()).copied() {
            Some(digest) => self.store_chunk(at, digest),
            None if !client.commits => self.ask_for_commit(at),
            None => {}
        }
    }

    fn store_chunk(&mut self, at: usize, digest: Digest) {
        let Client { id, lies, replicas, .. } = self.clients[at];
        let mut offered = self.clients[at].offered.clone();
        let wanted = if replicas == 0 { 2 } else { replicas as usize };
        let mut holders = Vec::new();
        let lies = lies && self.dice.percent(50);
        while holders.len() < wanted && !offered.is_empty() {
            let one = offered.swap_remove(self.dice.below(offered.len()));
            let node = &self.nodes[&one];
            if !lies && (!node.up || node.full) {
                continue;
            }
            holders.push(one);
            if lies {
                continue;
            }
            let is_new = !node.disk.chunks.contains_key(&digest) && !node.disk.trash.contains(&digest);
            let copy = (one, node.incarnation, digest);
            if is_new && !self.journal.refers_to(digest) {
                self.fresh.insert(copy);
            }
            self.node(one).store(digest, true);
            self.note_stored(digest);
        }
        if holders.is_empty() {
            return self.end_client(id);
        }
        self.clients[at].placed.push((digest, holders));
    }

    fn ask_for_commit(&mut self, at: usize) {
        let until = self.now.plus_ms(PLACED_WAIT_MS);
        let client = &mut self.clients[at];
        client.commits = true;
        let (Some(put), Some(coordinator)) = (client.put, &mut self.coordinator) else { return };
        let dataset = Dataset {
            name: String::new(),
            version: 0,
            framing: Framing::Whole,
            replicas: client.replicas,
            chunks: client.chunks.iter().map(|digest| chunk(*digest)).collect(),
        };
        let placed = Placed::new(client.placed.clone());
        coordinator.placing.push(Placing { client: client.id, put, dataset, placed, until });
    }

    /// The coordinator begins the put that a client asked for.
    pub(super) fn begin_put(&mut self, id: u64) {
        let Some(coordinator) = &mut self.coordinator else { return };
        let Some(client) = self.clients.iter_mut().find(|client| client.id == id) else { return };
        match coordinator.table.begin_put(&client.name, client.overwrite, client.replicas) {
            Ok((put, offered, replicas)) => {
                coordinator.open.insert(put);
                (client.put, client.offered, client.replicas) = (Some(put), offered, replicas);
            }
            Err(_) => self.clients.retain(|client| client.id != id),
        }
    }

    /// Records puts whose copies are reported, and refuses others after a time.
    pub(super) fn commit_placed(&mut self) {
        let now = self.now;
        let Some(coordinator) = &mut self.coordinator else { return };
        let mut refused = Vec::new();
        for mut placing in std::mem::take(&mut coordinator.placing) {
            let committed = match coordinator.table.check_placed(placing.put, &mut placing.placed) {
                Some(Ok(())) => {
                    let checked = coordinator.table.check_lengths(&placing.dataset.chunks);
                    checked.and_then(|()| coordinator.table.commit_put(placing.put, placing.dataset))
                }
                Some(Err(failure)) => Err(failure),
                None if placing.until > now => {
                    coordinator.placing.push(placing);
                    continue;
                }
                None => Err(Failure::new(Code::BadRequest, "a chunk is not where it is said to be")),
            };
            match committed {
                Ok(dataset) => {
                    let record = Record::Put(dataset.clone());
                    coordinator.unwritten.push_back((record, Some(Done::Put(dataset, Some(placing.client)))));
                }
                Err(_) => refused.push(placing.client),
            }
        }
        refused.into_iter().for_each(|client| self.end_client(client));
    }

    /// The stream of a client ends.
    pub(super) fn end_client(&mut self, id: u64) {
        let now = self.now;
        let Some(at) = self.clients.iter().position(|client| client.id == id) else { return };
        let client = self.clients.swap_remove(at);
        if let (Some(put), Some(coordinator)) = (client.put, &mut self.coordinator)
            && coordinator.nonce == client.nonce
        {
            coordinator.open.remove(&put);
            let time = coordinator.time(now);
            coordinator.table.end_put(put, time);
        }
    }
}
