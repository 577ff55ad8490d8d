//! The table of datasets on a simulated cluster: workers whose disks fill, fail and are restored from copies, clients that put and
//! remove datasets and vanish, jobs that read and write them, and a coordinator that dies and starts again, sometimes on an older
//! journal or on none. Then everything heals, and the copies must converge.
//!
//! The table and the membership are those of the coordinator (`windrow-datasets`). The simulation has the files and the journals, and
//! checks what the table cannot know: that no deletion is ordered of a chunk that the newest journal refers to, that orphans wait
//! for their time and go at their rate, that no worker obeys an older journal or one of another cluster, and that every chunk of an
//! acknowledged dataset that a disk still has is found again.

mod checks;
mod clients;
mod coordinator;
mod faults;
mod journal;
mod pending;
mod users;
mod worker;

use crate::dice::Dice;
use crate::trace::Trace;
use clients::Client;
use coordinator::Coordinator;
use journal::Journal;
use std::collections::{BTreeMap, BTreeSet};
use windrow_datasets::OrphanRule;
use windrow_model::*;
use worker::Node;

/// Orphans go to the trash within minutes: a run simulates hours, not days.
const RULE: OrphanRule = OrphanRule { kept_ms: 600_000, per_hour: 3 };
/// The number of different chunks.
const CONTENTS: usize = 12;
const WORKERS_MAX: usize = 5;

/// The counts of a run, and its trace.
#[derive(Clone, Debug, Default)]
pub struct DataOutcome {
    /// Datasets that were acknowledged.
    pub puts: u64,
    /// Copies that were ordered.
    pub copies: u64,
    /// Deletions that were ordered, at once or by way of the trash.
    pub deletions: u64,
    pub faults: BTreeMap<&'static str, u64>,
    pub trace: String,
}

/// What a worker has seen of a journal: epoch, nonce, revision.
type Point = (u64, u64, u64);

struct World {
    dice: Dice,
    now: Time,
    broken: bool,
    trace: Trace,
    ids: Vec<WorkerId>,
    nodes: BTreeMap<WorkerId, Node>,
    /// The running coordinator, unless it is down.
    coordinator: Option<Coordinator>,
    /// The journal that the coordinator starts on.
    journal: Journal,
    /// The newest journal, while the coordinator runs on another one.
    newest: Option<Journal>,
    copies_of_journal: Vec<Journal>,
    clients: Vec<Client>,
    /// The number of each state of a journal that a worker can have seen. No two histories share one.
    states: BTreeMap<Point, u64>,
    last_state: u64,
    last_nonce: u64,
    last_cluster: u64,
    last_job: u64,
    /// Copies that a client has stored in this epoch of the coordinator on an incarnation of a worker that had none, and that
    /// have had no reference since.
    fresh: BTreeSet<(WorkerId, u64, Digest)>,
    /// Chunks that were on a disk at some time.
    stored_ever: BTreeSet<Digest>,
    /// Copies without an answer that still come when all is healed.
    answers_to_lose: u32,
    /// Crashes between an order that moves orphans to the trash and its record that still come.
    crashes_after_orders: u32,
    /// The coordinator dies when this turn is over.
    must_crash: bool,
    outcome: DataOutcome,
}

fn content(n: usize) -> Digest {
    Digest([n as u8 + 1; 32])
}

fn chunk(digest: Digest) -> DatasetChunk {
    DatasetChunk { digest, length: 10 + u64::from(digest.0[0]) }
}

impl World {
    fn new(seed: u64, trace: Trace) -> World {
        let mut dice = Dice(seed ^ 0x6461_7461);
        let ids: Vec<WorkerId> =
            (1..=2 + dice.below(WORKERS_MAX - 1) as u8).map(|n| WorkerId::from_bytes([n; 16])).collect();
        let nodes = ids.iter().map(|id| (*id, Node::default())).collect();
        let mut world = World {
            dice,
            now: Time(0),
            broken: true,
            trace,
            ids,
            nodes,
            coordinator: None,
            journal: Journal::default(),
            newest: None,
            copies_of_journal: Vec::new(),
            clients: Vec::new(),
            states: BTreeMap::new(),
            last_state: 0,
            last_nonce: 0,
            last_cluster: 0,
            last_job: 0,
            fresh: BTreeSet::new(),
            stored_ever: BTreeSet::new(),
            answers_to_lose: 0,
            crashes_after_orders: 2,
            must_crash: false,
            outcome: DataOutcome::default(),
        };
        world.journal = world.empty_journal();
        world.start_coordinator();
        for id in world.ids.clone() {
            world.start_worker(id);
        }
        world
    }

    fn one(&mut self) -> WorkerId {
        self.ids[self.dice.below(self.ids.len())]
    }

    fn node(&mut self, id: WorkerId) -> &mut Node {
        self.nodes.get_mut(&id).expect("it is there")
    }

    fn count(&mut self, fault: &'static str) {
        self.note(|| fault.to_string());
        *self.outcome.faults.entry(fault).or_default() += 1;
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        let now = self.now.0;
        self.trace.note(&mut self.outcome.trace, || format!("data {now} {}", line()));
    }

    /// One turn: one message, piece of work, record or fault.
    fn turn(&mut self) {
        let one = self.one();
        match self.dice.below(100) {
            0..22 => self.worker_receives(one),
            22..44 => self.coordinator_receives(one),
            44..58 => self.worker_works(one),
            58..66 => self.write_journal(),
            66..80 => self.client_acts(),
            80..90 if self.broken => self.user_acts(),
            90..98 => {
                let ms = self.dice.next() % if self.dice.percent(10) { 4_000 } else { 200 };
                self.pass(ms);
            }
            _ => self.register(one),
        }
        if self.broken {
            self.something_fails(one);
        }
        self.reconcile();
        self.crash_after_order();
    }

    /// Time passes; the coordinator wakes at its deadlines.
    fn pass(&mut self, ms: u64) {
        self.note_references();
        let until = self.now.plus_ms(ms);
        while self.now < until {
            let at = self.coordinator.as_ref().and_then(Coordinator::next_deadline);
            let next = at.filter(|at| *at < until).map_or(until, |at| at.max(self.now.plus_ms(1_000)).min(until));
            if self.coordinator.is_some() {
                self.journal.clock_ms += next.since_ms(self.now);
            }
            self.now = next;
            self.note_references();
            if ms > 4_000 && self.dice.percent(30) {
                self.write_journal();
                self.work_on();
            }
            self.reconcile();
            self.crash_after_order();
        }
    }

    /// While much time passes, messages are read and work is done.
    fn work_on(&mut self) {
        for id in self.ids.clone() {
            self.worker_receives(id);
            self.worker_works(id);
            self.coordinator_receives(id);
        }
    }

    fn run(mut self) -> DataOutcome {
        for _ in 0..200 + self.dice.below(1_000) {
            self.turn();
        }
        self.heal();
        self.outcome
    }
}

/// Runs the datasets of a cluster until their copies have converged. Panics if a promise does not hold.
pub fn run(seed: u64, trace: Trace) -> DataOutcome {
    World::new(seed, trace).run()
}
