//! Draws what happens next and which fault comes; at the end it heals all faults and lets the jobs finish.

use super::Cluster;
use super::node::Node;
use std::collections::BTreeSet;
use windrow_model::*;
use windrow_scheduler::Event;

impl Cluster {
    /// One turn: one event, message, piece of work or fault.
    pub(crate) fn turn(&mut self) {
        let one = self.ids[self.dice.below(self.ids.len())];
        if self.must_restart || self.broken && self.dice.below(400 * self.scale as usize) == 0 {
            return self.restart();
        }
        self.restart_fallen(one);
        if self.broken {
            self.cut_or_sleep(one);
        }
        self.may_damage_a_file(one);
        if self.dice.percent(10) {
            self.write(1);
        }
        match self.dice.below(if self.broken { 115 } else { 95 }) {
            0..25 => self.receive(one),
            25..45 => self.work(one),
            45..75 => self.deliver(one),
            75..80 => self.deliver_late(),
            80..88 => self.answer(),
            88..92 => self.beat(one),
            92..95 => {
                self.now = self.now.plus_ms(self.dice.next() % 60);
                self.step(Event::Tick);
            }
            95..100 => self.crash(one),
            100..109 => self.start(one),
            109..110 => {
                self.count("drain");
                self.step(Event::WorkerDrains { worker: one });
            }
            // The session breaks and begins again: what both sides said last may be lost.
            110..112 if self.nodes[&one].up => {
                while self.dice.percent(50) && !self.nodes[&one].inbox.is_empty() {
                    self.receive(one);
                }
                self.count("session broken");
                self.join(one);
            }
            // A user cancels a job, possibly while its outputs become visible.
            112..113 if self.dice.percent(5) && self.is_the_worlds_turn() => {
                let jobs: Vec<JobId> = self.plans.keys().copied().collect();
                let job = jobs[self.dice.below(jobs.len())];
                self.cancel(job);
            }
            113..114 if !(self.commits.is_empty() && self.visible.is_empty()) && self.is_the_worlds_turn() => {
                let jobs: Vec<JobId> = self.commits.iter().chain(self.visible.keys()).copied().collect();
                let job = jobs[self.dice.below(jobs.len())];
                self.cancel(job);
            }
            // A long silence: leases run out.
            _ if self.dice.percent(5) => {
                self.count("silence");
                self.heard.clear();
                self.now = self.now.plus_ms(self.config.lease_ms / 10 * 7);
                self.step(Event::Tick);
            }
            _ => {}
        }
    }

    pub(crate) fn cancel(&mut self, job: JobId) {
        self.count("cancel");
        self.cancelled.insert(job);
        self.step(Event::Cancelled { job });
    }

    /// Keeps the rate of faults that hit the whole cluster independent of its number of workers, since each worker has turns.
    fn is_the_worlds_turn(&mut self) -> bool {
        self.scale == 1 || self.wild.below(self.scale as usize) == 0
    }

    /// Links that work in one direction only, and a coordinator that sleeps.
    pub(crate) fn cut_or_sleep(&mut self, one: WorkerId) {
        match self.wild.below(400) {
            0..12 if self.kinds.links => {
                let kind = self.wild.below(3);
                let node = self.nodes.get_mut(&one).expect("it is there");
                let (link, what) = match kind {
                    0 => (&mut node.mute, "link cut from the worker to the coordinator"),
                    1 => (&mut node.deaf, "link cut from the coordinator to the worker"),
                    _ => (&mut node.unreachable, "link cut from workers to one of them"),
                };
                *link = !*link;
                if *link {
                    self.count(what);
                }
            }
            12 if self.kinds.gaps && self.is_the_worlds_turn() => self.sleep(),
            _ => {}
        }
    }

    /// The coordinator's machine is suspended for some leases. The beats of its workers wait unread, so no worker that was
    /// registered before may be lost.
    pub(crate) fn sleep(&mut self) {
        self.count("clock gap");
        self.step(Event::Tick);
        let there: Vec<WorkerId> =
            self.heard.iter().copied().filter(|id| self.scheduler.worker_address(*id).is_some()).collect();
        self.heard.clear();
        self.now = self.now.plus_ms(3 * self.config.lease_ms);
        self.step(Event::Tick);
        for id in there {
            assert!(self.scheduler.worker_address(id).is_some(), "{id} is lost because the coordinator slept");
        }
    }

    /// Ends all faults, though some machines stay away, and expects that the jobs get through.
    pub(crate) fn heal(&mut self) {
        self.broken = false;
        self.take_in_all();
        let ids = self.ids.clone();
        let stays = ids[self.dice.below(ids.len())];
        // One machine may stay cut off from the others although the coordinator hears it.
        let cut_off = ids[self.wild.below(ids.len())];
        for (id, node) in &mut self.nodes {
            (node.mute, node.deaf, node.full) = (false, false, false);
            node.unreachable = self.kinds.links && *id == cut_off && cut_off != stays && self.wild.percent(50);
        }
        let draining: BTreeSet<WorkerId> = {
            let workers = self.scheduler.workers();
            workers.iter().filter(|w| w.state == WorkerState::Draining).map(|w| w.id).collect()
        };
        for id in ids {
            let gone = id != stays && self.dice.percent(30);
            let drains = draining.contains(&id);
            if gone || drains || self.dice.percent(40) {
                self.crash(id);
            }
            match (&self.nodes[&id], gone) {
                (_, true) => {}
                (Node { up: false, .. }, false) => self.start(id),
                (Node { session: false, .. }, false) => self.join(id),
                // Messages that were on their way when the faults ended may still be lost.
                _ if self.dice.percent(50) => self.join(id),
                _ => {}
            }
        }
        let mut turns = 0u64;
        while self.ended.len() < self.plans.len() || self.must_restart {
            self.turn();
            turns += 1;
            assert!(turns < 60_000 * u64::from(self.scale), "no progress: {:#?}", self.scheduler.statuses(self.now));
        }
        self.check_clean();
    }
}
