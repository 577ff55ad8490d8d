//! Draws faults of disks, sessions, folders and journals; at the end it heals them and expects that the copies converge.

use super::worker::Disk;
use super::{CONTENTS, RULE, World, content};
use windrow_model::*;

/// The number of turns within which copies must converge.
const TURNS_MAX: usize = 8_000;

impl World {
    /// Draws a fault, or none.
    pub(super) fn something_fails(&mut self, one: WorkerId) {
        match self.dice.below(600) {
            0..8 => self.crash(one),
            8..28 => self.start_worker(one),
            28..33 => {
                self.count("session broken");
                self.session_ends(one);
            }
            74..80 => self.reconnect(one),
            33..38 => self.damage(one),
            38..43 => {
                self.count("disk full, or with room again");
                let node = self.node(one);
                node.full = !node.full;
            }
            43..46 => self.coordinator_dies(),
            46..56 if self.coordinator.is_none() => self.choose_journal(),
            56..59 => {
                let disk = self.nodes[&one].disk.clone();
                self.node(one).older_disk = Some(disk);
            }
            59..62 => self.restore_disk(one),
            62..63 => {
                self.count("folder without its membership");
                let node = self.node(one);
                node.stop();
                (node.disk.cluster, node.disk.seen) = (None, Seen::default());
                self.session_ends(one);
            }
            63..65 => self.adopt_worker(one),
            72..74 => {
                self.count("folder of another cluster");
                let other = self.empty_journal().cluster;
                let node = self.node(one);
                node.stop();
                node.disk.cluster = other;
                self.session_ends(one);
            }
            65..71 => {
                self.count("minutes without an event");
                let minutes = 1 + self.dice.next() % 9;
                self.pass(60_000 * minutes);
            }
            71..72 => {
                self.count("hours without an event");
                let more_ms = self.dice.next() % 3_600_000;
                self.pass(3_600_000 + more_ms);
            }
            _ => {}
        }
    }

    pub(super) fn crash(&mut self, id: WorkerId) {
        if !self.nodes[&id].up {
            return;
        }
        let lost = self.dice.percent(20);
        self.count(if lost { "crash that loses the disk" } else { "crash of a worker" });
        let node = self.node(id);
        node.stop();
        if lost {
            node.disk = Disk::default();
        }
        self.session_ends(id);
    }

    pub(super) fn start_worker(&mut self, id: WorkerId) {
        if !self.nodes[&id].up {
            self.node(id).start();
            self.register(id);
        }
    }

    /// A chunk's file is damaged, or goes.
    fn damage(&mut self, id: WorkerId) {
        let digest = content(self.dice.below(CONTENTS));
        if self.nodes[&id].disk.chunks.contains_key(&digest) {
            self.count("chunk damaged or gone");
            let gone = self.dice.percent(40);
            let node = self.node(id);
            if gone {
                node.disk.chunks.remove(&digest);
            } else {
                node.disk.chunks.insert(digest, false);
            }
        }
    }

    /// The data folder of a worker is replaced by an older copy of it.
    fn restore_disk(&mut self, id: WorkerId) {
        if let Some(older) = self.nodes[&id].older_disk.clone() {
            self.count("worker's folder restored");
            let node = self.node(id);
            node.stop();
            node.disk = older;
            self.session_ends(id);
        }
    }

    pub(super) fn coordinator_dies(&mut self) {
        if self.coordinator.is_none() {
            return;
        }
        self.count("coordinator crash");
        self.end_coordinator();
        if self.dice.percent(50) {
            self.choose_journal();
        }
    }

    /// The coordinator has ordered orphans to the trash, and dies before that is recorded, except by chance.
    pub(super) fn crash_after_order(&mut self) {
        if !std::mem::take(&mut self.must_crash) {
            return;
        }
        self.count("coordinator crash after an order");
        self.end_coordinator();
        self.start_coordinator();
        for id in self.ids.clone() {
            self.register(id);
        }
    }

    /// The coordinator dies: a prefix of its unwritten records becomes durable.
    fn end_coordinator(&mut self) {
        if let Some(coordinator) = &self.coordinator {
            for _ in 0..self.dice.below(coordinator.unwritten.len() + 1) {
                let Some((record, done)) =
                    self.coordinator.as_mut().and_then(|coordinator| coordinator.unwritten.pop_front())
                else {
                    break;
                };
                drop(done);
                self.write_last(record);
            }
        }
        self.coordinator = None;
        self.fresh.clear();
        for node in self.nodes.values_mut() {
            node.end_session();
        }
    }

    /// The coordinator starts: nearly always on the newest journal.
    fn choose_journal(&mut self) {
        if let Some(newest) = self.newest.take() {
            match self.dice.percent(70) {
                true => self.journal = newest,
                false => self.newest = Some(newest),
            }
        } else if self.dice.percent(12) {
            let another = match self.copies_of_journal.is_empty() || self.dice.percent(20) {
                true => {
                    self.count("start on an empty journal");
                    self.empty_journal()
                }
                false => {
                    self.count("start on an older journal");
                    self.copies_of_journal[self.dice.below(self.copies_of_journal.len())].clone()
                }
            };
            self.newest = Some(std::mem::replace(&mut self.journal, another));
        } else if !self.copies_of_journal.is_empty() && self.dice.percent(5) {
            self.count("journal restored from a copy");
            self.journal = self.copies_of_journal[self.dice.below(self.copies_of_journal.len())].clone();
            self.journal.restore();
            self.copies_of_journal.clear();
        }
        self.start_coordinator();
    }

    pub(super) fn copy_journal(&mut self) {
        if self.newest.is_none() {
            self.copies_of_journal.push(self.journal.clone());
        }
    }

    /// Ends all faults. Operators repair journals and folders; then the copies must converge, with a new coordinator or with the
    /// one that has seen the faults.
    pub(super) fn heal(&mut self) {
        if self.newest.is_some() || self.coordinator.is_none() || self.dice.percent(50) {
            self.end_coordinator();
            if let Some(newest) = self.newest.take() {
                self.journal = newest;
            }
            self.start_coordinator();
        }
        self.broken = false;
        self.answers_to_lose = 2;
        let clients: Vec<u64> = self.clients.iter().map(|client| client.id).collect();
        clients.into_iter().for_each(|client| self.end_client(client));
        for id in self.ids.clone() {
            let cluster = self.journal.cluster;
            let node = self.node(id);
            node.full = false;
            match node.disk.cluster.is_some_and(|own| Some(own) != cluster) {
                true => self.give_up_folder(id),
                false => self.start_worker(id),
            }
        }
        self.converge();
        self.damage_copies();
        self.scrub();
        self.converge();
        self.check_copies();
        self.let_orphans_go();
        self.converge();
        self.check_copies();
    }

    /// One copy of some chunks is damaged, and another one is whole.
    fn damage_copies(&mut self) {
        for digest in (0..CONTENTS).map(content) {
            let whole = |id: &&WorkerId| self.nodes[id].disk.chunks.get(&digest) == Some(&true);
            let holders: Vec<WorkerId> = self.ids.iter().filter(whole).copied().collect();
            if holders.len() > 1 && self.dice.percent(30) {
                self.node(holders[0]).disk.chunks.insert(digest, false);
            }
        }
    }

    fn converge(&mut self) {
        let mut turns = 0;
        while !self.is_settled() {
            (0..20).for_each(|_| self.turn());
            turns += 20;
            if turns % 500 == 0 {
                self.help();
            }
            assert!(turns < TURNS_MAX, "the copies do not converge: {}", self.unsettled());
        }
    }

    /// Every worker reads all of its chunks.
    fn scrub(&mut self) {
        for node in self.nodes.values_mut() {
            (0..CONTENTS).for_each(|n| _ = node.check(content(n)));
        }
    }

    /// Operators admit the newest journal where workers have seen another copy of it, restart a coordinator that asks for it, and
    /// let folders join.
    fn help(&mut self) {
        let behind = self.behind();
        if self.journal.is_restored || !behind.is_empty() {
            self.end_coordinator();
            if !self.journal.is_restored {
                self.journal.restore();
            }
            self.start_coordinator();
        }
        for id in self.ids.clone() {
            self.adopt_worker(id);
            self.register(id);
        }
    }

    /// An operator gives a worker an empty folder.
    fn give_up_folder(&mut self, id: WorkerId) {
        self.count("folder given up");
        self.session_ends(id);
        let node = self.node(id);
        node.stop();
        node.disk = Disk::default();
        node.start();
    }

    /// All orphans go to the trash in time.
    fn let_orphans_go(&mut self) {
        self.crashes_after_orders = 2;
        // Each crash may cost the rest of its hour.
        for _ in 0..4 + CONTENTS / RULE.per_hour as usize {
            self.pass(3_600_000);
            for _ in 0..200 {
                self.turn();
            }
        }
        self.check_orphans_went();
    }
}
