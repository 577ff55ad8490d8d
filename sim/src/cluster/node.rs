//! Simulated workers: what they have, what they do with what they are held, and what becomes of it on its way.

use super::{Cluster, node_info};
use crate::samples::failure;
use crate::workload::sparse_report;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use windrow_model::*;
use windrow_scheduler::{Action, Event, HeldAttempt, Left, Progress};

#[derive(Default)]
pub(crate) struct Node {
    pub(crate) up: bool,
    pub(crate) incarnation: u64,
    pub(crate) slots: u32,
    /// Told by the scheduler, not yet looked at.
    pub(crate) inbox: VecDeque<Action>,
    /// Attempts that it was held to run and that are not over.
    pub(crate) running: BTreeMap<AttemptId, Task>,
    /// The same, in the order in which they came: so many have begun as there are slots, the others wait.
    pub(crate) order: Vec<AttemptId>,
    /// Attempts whose files are here.
    pub(crate) files: BTreeMap<AttemptId, TaskReport>,
    pub(crate) granted: BTreeSet<AttemptId>,
    /// Whatever it does takes ten times as long.
    pub(crate) slow: bool,
    /// It has a session: otherwise what it says is lost.
    pub(crate) session: bool,
    /// Jobs of which the coordinator has heard or held in this session.
    pub(crate) named: BTreeSet<JobId>,
    /// Said to the scheduler, in order, not yet arrived.
    pub(crate) outbox: VecDeque<Event>,
    /// Nothing of what it says arrives.
    pub(crate) mute: bool,
    /// Nothing that it is held arrives.
    pub(crate) deaf: bool,
    /// Other workers cannot fetch from it.
    pub(crate) unreachable: bool,
    /// What its last life ran when that ended.
    pub(crate) left: Vec<Left>,
}

impl Node {
    /// Those that have begun.
    fn begun(&self) -> BTreeSet<AttemptId> {
        self.order.iter().filter(|a| self.running.contains_key(a)).take(self.slots as usize).copied().collect()
    }

    /// What a beat lists: what it was held and has looked at. What it has said of others comes before the beat.
    fn listed(&self) -> impl Iterator<Item = AttemptId> {
        let said = self.outbox.iter().filter_map(|event| match event {
            Event::AttemptDone { attempt, .. }
            | Event::AttemptFailed { attempt, .. }
            | Event::SegmentLost { reader: attempt, .. } => Some(*attempt),
            _ => None,
        });
        self.running.keys().copied().chain(said)
    }

    fn say(&mut self, event: Event) {
        if self.session {
            self.outbox.push_back(event);
        }
    }
}

impl Cluster {
    pub(crate) fn beat(&mut self, id: WorkerId) {
        if !self.nodes[&id].up || self.nodes[&id].mute {
            return;
        }
        if !self.nodes[&id].session {
            return self.join(id);
        }
        let node = &self.nodes[&id];
        let (slow, attempts): (bool, Vec<AttemptId>) = (node.slow, node.begun().into_iter().collect());
        let listed: Vec<AttemptId> = node.listed().collect();
        let mut progress: BTreeMap<AttemptId, Progress> =
            listed.into_iter().map(|a| (a, Progress { attempt: a, permille: 0, mark: 0, waits: true })).collect();
        for attempt in attempts {
            // Of some nothing is known.
            let permille = match self.dice.percent(70) {
                true => self.dice.below(if slow { 200 } else { 1_000 }) as u32,
                false => 0,
            };
            let permille = if self.stuck.contains(&attempt) { 999 } else { permille };
            progress.insert(attempt, Progress { attempt, permille, mark: 0, waits: false });
        }
        let progress = progress.into_values().collect();
        self.step(Event::WorkerBeat { worker: id, progress, lists_all: true, full: None });
        self.heard.insert(id);
        // Its session is ended by a coordinator that counts it as lost.
        if self.scheduler.worker_address(id).is_none() {
            self.join(id);
        }
    }

    /// It registers and tells what it has.
    pub(crate) fn join(&mut self, id: WorkerId) {
        let node = self.nodes.get_mut(&id).expect("it is there");
        if node.deaf || node.mute {
            return;
        }
        node.session = true;
        node.inbox.clear();
        node.outbox.clear();
        node.order.retain(|a| node.running.contains_key(a));
        if !self.kinds.ahead {
            // As it was when nobody waited: seeds stay the same.
            node.order.sort_unstable();
        }
        let running = node.order.iter().map(|a| HeldAttempt { attempt: *a, report: None });
        let done = node.files.iter().map(|(a, r)| HeldAttempt { attempt: *a, report: Some(r.clone()) });
        let held: Vec<HeldAttempt> = running.chain(done).collect();
        self.revoked.retain(|a| held.iter().all(|t| t.attempt != *a));
        node.named = held.iter().map(|t| t.attempt.task.job).collect();
        // Jobs that nobody knows any more are dropped.
        let known = |job: &JobId| self.scheduler.status(*job, self.now).is_some_and(|s| !s.state.is_final());
        for job in node.named.iter().filter(|job| !known(job)) {
            node.files.retain(|a, _| a.task.job != *job);
            node.running.retain(|a, _| a.task.job != *job);
            node.granted.retain(|a| a.task.job != *job);
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
        let begun = node.begun().into_iter().filter(|_| !disk_lost);
        node.left = begun.map(|attempt| Left { attempt, place: None }).collect();
        node.running.clear();
        node.granted.clear();
        if disk_lost {
            node.files.clear();
        }
        let said: Vec<Event> = node.outbox.drain(..).collect();
        for event in said {
            if self.dice.percent(50) {
                self.late.push(event);
            }
        }
        // Else it is found out by its lease, or by its next life.
        if self.dice.percent(60) {
            self.step(Event::WorkerLeft { worker: id });
        }
    }

    /// The worker looks at what it was held.
    pub(crate) fn receive(&mut self, id: WorkerId) {
        let lost = self.is_lost_on_the_way(id);
        let node = self.nodes.get_mut(&id).expect("it is there");
        if node.deaf {
            return;
        }
        let Some(action) = node.inbox.pop_front().filter(|_| node.up) else { return };
        match action {
            Action::Assign { task, .. } => {
                // What was assigned to an earlier life arrives in none.
                if task.attempt.incarnation == Incarnation(node.incarnation) && !lost {
                    node.order.retain(|a| node.running.contains_key(a));
                    node.order.push(task.attempt);
                    node.running.insert(task.attempt, *task);
                }
            }
            Action::Revoke { attempt, .. } => {
                node.running.remove(&attempt);
                node.files.remove(&attempt);
                node.granted.remove(&attempt);
            }
            Action::Grant { attempt, .. } => match node.files.contains_key(&attempt) {
                true if self.staged.contains(&attempt) => node.say(Event::Published { worker: id, attempt }),
                true => drop(node.granted.insert(attempt)),
                false => node.say(Event::PublishFailed { worker: id, attempt, failure: failure(Code::StaleAttempt) }),
            },
            Action::JobEnded { job, .. } => {
                node.running.retain(|a, _| a.task.job != job);
                node.files.retain(|a, _| a.task.job != job);
                node.granted.retain(|a| a.task.job != job);
            }
            other => panic!("{other:?} is not for a worker"),
        }
    }

    /// The worker gets something done.
    pub(crate) fn work(&mut self, id: WorkerId) {
        if !self.nodes[&id].up || self.nodes[&id].slow && self.dice.percent(90) {
            return;
        }
        if let Some(attempt) = self.nodes[&id].granted.first().copied() {
            return self.publish(id, attempt);
        }
        let running = &self.nodes[&id].running;
        if running.is_empty() {
            return;
        }
        let begun = self.nodes[&id].begun();
        let nth = self.dice.below(running.len());
        // Of those that wait only the fetching of their inputs can end.
        let waiting = running.keys().filter(|a| !begun.contains(a));
        let Some(attempt) = begun.iter().chain(waiting).nth(nth).copied() else { return };
        let Some(task) = running.get(&attempt).cloned() else { return };
        let fails = self.broken && self.dice.percent(6);
        if begun.contains(&attempt) && self.springs_trap(id, attempt) {
            return;
        }
        let event = if self.blind.contains(&(id, attempt.task.job)) {
            Event::AttemptFailed { worker: id, attempt, failure: failure(Code::InputNotShared) }
        } else if let Some(segment) = self.rotten_input(&task) {
            Event::SegmentLost { worker: id, reader: attempt, segment, failure: failure(Code::SegmentCorrupt) }
        } else if let Some(segment) = self.behind_a_cut(id, &task) {
            Event::SegmentLost { worker: id, reader: attempt, segment, failure: failure(Code::FetchFailed) }
        } else if let Some(segment) = self.missing(&task) {
            let code = if self.dice.percent(40) { Code::SegmentCorrupt } else { Code::FetchFailed };
            Event::SegmentLost { worker: id, reader: attempt, segment, failure: failure(code) }
        } else if fails {
            let codes = [Code::FetchFailed, Code::WorkerLost, Code::UserError, Code::ExecutorCrashed];
            let code = codes[self.dice.below(if self.user_errors && begun.contains(&attempt) { 4 } else { 2 })];
            Event::AttemptFailed { worker: id, attempt, failure: failure(code) }
        } else if !begun.contains(&attempt) {
            return;
        } else {
            let job = attempt.task.job;
            let fickle = self.fickle.contains(&(job, attempt.task.stage));
            let (report, made) = sparse_report(&task, &self.plans[&job].0, fickle);
            let segments = task.inputs.iter().flat_map(|i| if let TaskInput::Segments(s) = i { &s[..] } else { &[] });
            self.made.insert(attempt, (made, segments.map(|s| s.attempt).collect()));
            Event::AttemptDone { worker: id, attempt, report }
        };
        let node = self.nodes.get_mut(&id).expect("it is there");
        node.running.remove(&attempt);
        if let Event::AttemptDone { report, .. } = &event {
            node.files.insert(attempt, report.clone());
        }
        node.say(event);
    }

    pub(crate) fn publish(&mut self, id: WorkerId, attempt: AttemptId) {
        let fails = self.broken && self.user_errors && self.dice.percent(5);
        let node = self.nodes.get_mut(&id).expect("it is there");
        node.granted.remove(&attempt);
        node.say(if fails {
            Event::PublishFailed { worker: id, attempt, failure: failure(Code::IoError) }
        } else {
            self.staged.insert(attempt);
            Event::Published { worker: id, attempt }
        });
    }

    /// A segment on a worker that this one does not reach.
    pub(crate) fn behind_a_cut(&self, reader: WorkerId, task: &Task) -> Option<SegmentRef> {
        let cut = |s: &&SegmentRef| s.worker != reader && self.nodes[&s.worker].unreachable;
        let segments = task.inputs.iter().filter_map(|i| if let TaskInput::Segments(s) = i { Some(s) } else { None });
        segments.flatten().find(cut).copied()
    }

    /// A segment that is not where it should be, or cannot be fetched just now.
    pub(crate) fn missing(&mut self, task: &Task) -> Option<SegmentRef> {
        let segments: Vec<SegmentRef> = task
            .inputs
            .iter()
            .filter_map(|i| if let TaskInput::Segments(s) = i { Some(s) } else { None })
            .flatten()
            .copied()
            .collect();
        let gone = |s: &&SegmentRef| {
            let node = &self.nodes[&s.worker];
            !node.up || !node.files.contains_key(&s.attempt)
        };
        if let Some(gone) = segments.iter().find(gone) {
            return Some(*gone);
        }
        let flaky = self.broken && !segments.is_empty() && self.dice.percent(5);
        flaky.then(|| segments[self.dice.below(segments.len())])
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
