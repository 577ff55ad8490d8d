//! A simulated worker seen from the network: its session, its messages in both directions, and how its attempts end. The attempts
//! themselves are in `worker.rs`.

use super::tables::Tables;
use super::worker::{self, Worker};
use super::{Cluster, node_info};
use crate::samples::failure;
use crate::workload::sparse_report;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use windrow_attempts::{Lease, Report};
use windrow_model::*;
use windrow_scheduler::{Action, Event, HeldAttempt, Left, Progress, SentTables};

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) up: bool,
    pub(crate) incarnation: u64,
    pub(crate) slots: u32,
    /// Messages of the scheduler that the worker has not read yet.
    pub(crate) inbox: VecDeque<Action>,
    /// Its attempts, executors and files.
    pub(crate) worker: Worker,
    /// It works ten times as slowly.
    pub(crate) slow: bool,
    /// It has a session. Without one its messages are lost.
    pub(crate) session: bool,
    /// Jobs of which the coordinator has heard or spoken in this session.
    pub(crate) named: BTreeSet<JobId>,
    /// Messages to the scheduler that have not arrived yet, in order.
    pub(crate) outbox: VecDeque<Event>,
    /// None of its messages arrives.
    pub(crate) mute: bool,
    /// No message to it arrives.
    pub(crate) deaf: bool,
    /// Other workers cannot fetch from it.
    pub(crate) unreachable: bool,
    /// Its disk has no room.
    pub(crate) full: bool,
    /// The lease of its session.
    pub(crate) lease: Lease,
    /// When beats were sent whose answers are on their way.
    pub(crate) answers: VecDeque<Time>,
    /// What its last incarnation ran when that ended.
    pub(crate) left: Vec<Left>,
    /// The tables of outputs that it has.
    pub(crate) tables: Tables,
    /// What the coordinator remembers to have sent in the present session.
    pub(crate) sent: SentTables,
}

impl Node {
    pub(crate) fn new(slots: u32, slow: bool, takes_time: bool) -> Self {
        Node {
            up: false,
            incarnation: 0,
            slots,
            inbox: VecDeque::new(),
            worker: Worker::new(slots, takes_time),
            slow,
            session: false,
            named: BTreeSet::new(),
            outbox: VecDeque::new(),
            mute: false,
            deaf: false,
            unreachable: false,
            full: false,
            lease: Lease::new(0, Time(0)),
            answers: VecDeque::new(),
            left: Vec::new(),
            tables: Tables::default(),
            sent: SentTables::default(),
        }
    }

    /// The attempts that a beat lists: those it has read an assignment of. Its reports on other attempts are sent before the beat.
    fn listed(&self) -> impl Iterator<Item = AttemptId> {
        let said = self.outbox.iter().filter_map(|event| match event {
            Event::AttemptDone { attempt, .. }
            | Event::AttemptFailed { attempt, .. }
            | Event::SegmentLost { reader: attempt, .. } => Some(*attempt),
            _ => None,
        });
        self.worker.here().into_iter().chain(said)
    }

    /// Puts the reports of its attempts into the outbox.
    pub(crate) fn tell(&mut self, id: WorkerId) {
        for report in self.worker.take_said() {
            self.say(match report {
                Report::Done(attempt, report) => Event::AttemptDone { worker: id, attempt, report },
                Report::Failed(attempt, failure) => Event::AttemptFailed { worker: id, attempt, failure },
                Report::Published(attempt) => Event::Published { worker: id, attempt },
                Report::PublishFailed(attempt, failure) => Event::PublishFailed { worker: id, attempt, failure },
                Report::SegmentLost { reader, lost, failure } => {
                    Event::SegmentLost { worker: id, reader, lost, failure }
                }
            });
        }
    }

    fn say(&mut self, event: Event) {
        if self.session {
            self.outbox.push_back(event);
        }
    }
}

/// How an attempt ends.
enum Outcome {
    Done(TaskReport),
    Failed(Failure),
    Lost(OutputRef, Failure),
}

impl Cluster {
    pub(crate) fn beat(&mut self, id: WorkerId) {
        if !self.nodes[&id].up || self.nodes[&id].mute {
            return;
        }
        if self.nodes[&id].session && self.kinds.executors && self.nodes[&id].lease.has_run_out(self.now) {
            self.give_up_session(id);
        }
        if !self.nodes[&id].session {
            return self.join(id);
        }
        let node = &self.nodes[&id];
        let full = self.kinds.disks.then_some(node.full);
        let (slow, attempts): (bool, Vec<AttemptId>) = (node.slow, node.worker.begun().into_iter().collect());
        let listed: Vec<AttemptId> = node.listed().collect();
        let mut progress: BTreeMap<AttemptId, Progress> = listed
            .into_iter()
            .map(|a| (a, Progress { attempt: a, permille: 0, mark: 0, waits: true, records: 0 }))
            .collect();
        for attempt in attempts {
            // Some attempts report no progress.
            let permille = match self.dice.percent(70) {
                true => self.dice.below(if slow { 200 } else { 1_000 }) as u32,
                false => 0,
            };
            let permille = if self.stuck.contains(&attempt) { 999 } else { permille };
            progress.insert(attempt, Progress { attempt, permille, mark: 0, waits: false, records: 0 });
        }
        let progress = progress.into_values().collect();
        self.step(Event::WorkerBeat { worker: id, progress, lists_all: true, full });
        self.heard.insert(id);
        let now = self.now;
        self.nodes.get_mut(&id).expect("it is there").answers.push_back(now);
        // Its session is ended by a coordinator that counts it as lost.
        if self.scheduler.worker_address(id).is_none() {
            self.join(id);
        }
    }

    /// The lease of a session is over, by the worker's clock. The coordinator notices the end of the stream, or does not.
    fn give_up_session(&mut self, id: WorkerId) {
        self.count("session given up with its lease");
        let node = self.nodes.get_mut(&id).expect("it is there");
        node.session = false;
        node.inbox.clear();
        node.outbox.clear();
        if self.fourth.percent(60) {
            self.step(Event::WorkerLeft { worker: id });
        }
    }

    /// The worker registers with its inventory.
    pub(crate) fn join(&mut self, id: WorkerId) {
        let node = self.nodes.get_mut(&id).expect("it is there");
        if node.deaf || node.mute {
            return;
        }
        node.session = true;
        node.sent = SentTables::default();
        node.tables.begin_session();
        (node.lease, node.answers) = (Lease::new(self.config.lease_ms, self.now), VecDeque::new());
        node.inbox.clear();
        node.outbox.clear();
        let held = node.worker.inventory().into_iter().map(|(attempt, report)| HeldAttempt { attempt, report });
        let mut held: Vec<HeldAttempt> = held.collect();
        if !self.kinds.executors {
            // As it was when a model stood for the daemon's attempts: kept seeds stay the same.
            held.sort_by_key(|t| t.report.is_some());
            let running = held.iter().take_while(|t| t.report.is_none()).count();
            if !self.kinds.ahead {
                held[..running].sort_by_key(|t| t.attempt);
            }
        }
        self.revoked.retain(|a| held.iter().all(|t| t.attempt != *a));
        // A job of which only the executor is left is named, too.
        node.named = held.iter().map(|t| t.attempt.task.job).chain(node.worker.executors()).collect();
        // Jobs that the coordinator does not know are dropped.
        let known = |job: &JobId| self.scheduler.status(*job, self.now).is_some_and(|s| !s.state.is_final());
        for job in node.named.iter().filter(|job| !known(job)) {
            node.tables.drop_job(*job);
            node.worker.step(worker::Event::JobDropped(*job));
        }
        self.awaited.remove(&id);
        let info = node_info(id, node.slots, node.incarnation);
        let left = std::mem::take(&mut node.left);
        self.note_held(id, info.incarnation, &held);
        self.step(Event::WorkerJoined { node: info, held, left });
    }

    pub(crate) fn start(&mut self, id: WorkerId) {
        let node = self.nodes.get_mut(&id).expect("it is there");
        if !node.up {
            node.up = true;
            node.incarnation += 1;
            self.faults.entry("restart").and_modify(|n| *n += 1).or_insert(1);
            self.join(id);
        }
    }

    /// The process dies; its disk may be lost with it.
    pub(crate) fn crash(&mut self, id: WorkerId) {
        if !self.nodes[&id].up {
            return;
        }
        let disk_lost = self.dice.percent(50);
        self.count(if disk_lost { "crash that loses the disk" } else { "crash" });
        self.note_deaths(id);
        let node = self.nodes.get_mut(&id).expect("it is there");
        (node.up, node.session) = (false, false);
        node.inbox.clear();
        let begun = node.worker.begun().into_iter().filter(|_| !disk_lost);
        node.left = begun.map(|attempt| Left { attempt, place: None }).collect();
        node.worker.restart(!disk_lost);
        node.tables = Tables::default();
        let said: Vec<Event> = node.outbox.drain(..).collect();
        for event in said {
            if self.dice.percent(50) {
                self.late.push(event);
            }
        }
        // Otherwise the coordinator notices when the lease expires or the next incarnation registers.
        if self.dice.percent(60) {
            self.step(Event::WorkerLeft { worker: id });
        }
    }

    /// The worker reads a message.
    pub(crate) fn receive(&mut self, id: WorkerId) {
        let lost = self.is_lost_on_the_way(id);
        let node = self.nodes.get_mut(&id).expect("it is there");
        if node.deaf || node.up && !node.session {
            return;
        }
        node.answers.drain(..).for_each(|sent| node.lease.contact(sent));
        let Some(action) = node.inbox.pop_front().filter(|_| node.up) else { return };
        match action {
            Action::Assign { task, tables, .. } => {
                // The worker may lose an assignment; the tables in it are there all the same.
                node.tables.take(tables, &task);
                // Assignments to an earlier incarnation are lost.
                if task.attempt.incarnation == Incarnation(node.incarnation) && !lost {
                    node.worker.step(worker::Event::Assigned(task));
                }
            }
            Action::Revoke { attempt, .. } => node.worker.step(worker::Event::Revoked(attempt)),
            Action::Grant { attempt, .. } => node.worker.step(worker::Event::Granted(attempt)),
            Action::JobEnded { job, .. } => {
                node.tables.drop_job(job);
                node.worker.step(worker::Event::JobDropped(job));
            }
            other => panic!("{other:?} is not for a worker"),
        }
        node.tell(id);
    }

    /// The worker makes progress with one attempt.
    pub(crate) fn work(&mut self, id: WorkerId) {
        if !self.nodes[&id].up || self.nodes[&id].slow && self.dice.percent(90) {
            return;
        }
        if self.kinds.executors {
            self.attend(id);
        }
        if let Some(attempt) = self.nodes[&id].worker.granted.first().copied() {
            return self.publish(id, attempt);
        }
        let here: BTreeSet<AttemptId> = self.nodes[&id].worker.here().into_iter().collect();
        if here.is_empty() {
            return;
        }
        let begun = self.nodes[&id].worker.begun();
        let nth = self.dice.below(here.len());
        // A queued attempt can only end the fetch of its inputs.
        let waiting = here.iter().filter(|a| !begun.contains(a));
        let Some(attempt) = begun.iter().chain(waiting).nth(nth).copied() else { return };
        let Some(task) = self.nodes[&id].worker.task(attempt).cloned() else { return };
        if self.hung.contains(&attempt.task.job) && begun.contains(&attempt) {
            return;
        }
        let reads = self.nodes[&id].tables.reads(&task);
        let fails = self.broken && self.dice.percent(6);
        if begun.contains(&attempt) && self.springs_trap(id, attempt) {
            return;
        }
        let has_read = self.have_read.contains(&attempt);
        if has_read && self.fourth.percent(75) {
            return;
        }
        let outcome = if has_read {
            self.finished(&task, &reads)
        } else if self.blind.contains(&(id, attempt.task.job)) {
            Outcome::Failed(failure(Code::InputNotShared))
        } else if let Some(lost) = self.rotten_input(&reads) {
            Outcome::Lost(lost, failure(Code::SegmentCorrupt))
        } else if let Some(lost) = self.damaged_input(&reads) {
            Outcome::Lost(lost, failure(Code::SegmentCorrupt))
        } else if let Some(lost) = self.behind_a_cut(id, &reads) {
            Outcome::Lost(lost, failure(Code::FetchFailed))
        } else if let Some(lost) = self.missing(&reads) {
            let code = if self.dice.percent(40) { Code::SegmentCorrupt } else { Code::FetchFailed };
            Outcome::Lost(lost, failure(code))
        } else if fails {
            let codes = [Code::FetchFailed, Code::WorkerLost, Code::UserError, Code::ExecutorCrashed];
            let code = codes[self.dice.below(if self.user_errors && begun.contains(&attempt) { 4 } else { 2 })];
            Outcome::Failed(failure(code))
        } else if self.runs_out_of_space(id, begun.contains(&attempt)) {
            Outcome::Failed(failure(Code::NoSpace))
        } else if !begun.contains(&attempt) {
            return;
        } else if self.kinds.fickle && !reads.is_empty() && self.fourth.percent(15) {
            // It has read its inputs and ends much later, whatever becomes of them meanwhile.
            self.have_read.insert(attempt);
            self.count("attempt that ends long after it has read");
            return;
        } else {
            self.finished(&task, &reads)
        };
        let node = self.nodes.get_mut(&id).expect("it is there");
        match outcome {
            Outcome::Done(report) => node.worker.finish(attempt, report),
            Outcome::Failed(failure) => node.worker.fail(attempt, failure),
            Outcome::Lost(lost, failure) => node.worker.lose_output(attempt, lost, failure),
        }
        node.tell(id);
    }

    fn finished(&mut self, task: &Task, reads: &[OutputRef]) -> Outcome {
        let id = task.attempt.task;
        let fickle = self.fickle.contains(&(id.job, id.stage));
        let (report, made) = sparse_report(task, fickle);
        self.made.insert(task.attempt, (made, reads.iter().map(|read| read.attempt).collect()));
        Outcome::Done(report)
    }

    pub(crate) fn publish(&mut self, id: WorkerId, attempt: AttemptId) {
        let fails = self.broken && self.user_errors && self.dice.percent(5);
        let no_space = self.runs_out_of_space(id, true);
        let node = self.nodes.get_mut(&id).expect("it is there");
        node.worker.granted.remove(&attempt);
        node.worker.step(if fails || no_space {
            worker::Event::PublishFailed(attempt, failure(if no_space { Code::NoSpace } else { Code::IoError }))
        } else {
            self.staged.insert(attempt);
            worker::Event::Published(attempt)
        });
        node.tell(id);
    }

    /// An output on a worker that this one does not reach.
    pub(crate) fn behind_a_cut(&self, reader: WorkerId, reads: &[OutputRef]) -> Option<OutputRef> {
        let cut = |s: &&OutputRef| s.worker != reader && self.nodes[&s.worker].unreachable;
        reads.iter().find(cut).copied()
    }

    /// An output that is not where it should be, or cannot be fetched just now.
    pub(crate) fn missing(&mut self, reads: &[OutputRef]) -> Option<OutputRef> {
        let gone = |s: &&OutputRef| {
            let node = &self.nodes[&s.worker];
            !node.up || !node.worker.files.contains(&s.attempt)
        };
        if let Some(gone) = reads.iter().find(gone) {
            return Some(*gone);
        }
        let flaky = self.broken && !reads.is_empty() && self.dice.percent(5);
        flaky.then(|| reads[self.dice.below(reads.len())])
    }

    /// The scheduler hears what a worker said, perhaps once more later.
    pub(crate) fn deliver(&mut self, id: WorkerId) {
        if let Some(event) = self.nodes.get_mut(&id).filter(|n| !n.mute).and_then(|n| n.outbox.pop_front()) {
            if self.broken && self.dice.percent(10) {
                self.count("message twice");
                self.late.push(event.clone());
            }
            self.step(event);
        }
    }

    pub(crate) fn deliver_late(&mut self) {
        if !self.late.is_empty() {
            self.count("message late or out of order");
            let event = self.late.swap_remove(self.dice.below(self.late.len()));
            self.step(event);
        }
    }
}
