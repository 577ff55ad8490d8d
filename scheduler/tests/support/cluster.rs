//! Random plans on a simulated cluster whose workers crash, return, drain and fall silent, whose messages come late,
//! twice or never, and whose coordinator dies and starts again on what its journal had written. Then everything heals,
//! and every job must end.
//!
//! The simulation has the files: it knows which attempt's segments exist on which worker, which parts are staged, which
//! records are durable and which outputs visible. It checks what the scheduler cannot know: that a task reads exactly
//! what its producers wrote, that what is committed was granted and staged, once per task, and the same after every
//! restart, that nothing is run again whose parts are recorded, and that no worker ever has more attempts than slots.

use super::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use windrow_model::*;
use windrow_scheduler::{
    Action, Config, Event, Progress, RestoredJob, RestoredSplit, RestoredTask, Scheduler, StageChunks, StagedPart, Told,
};

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
    fn percent(&mut self, p: usize) -> bool {
        self.below(100) < p
    }
}

/// Chains, joins, unions, broadcasts, sinks and collects over edges of one or two partition counts.
fn random_plan(dice: &mut Dice, fickle: bool) -> (Plan, Vec<u32>) {
    let counts = [1 + dice.below(4) as u32, 1 + dice.below(3) as u32];
    let mut stages: Vec<Stage> = Vec::new();
    let mut edges: Vec<((u32, u32), u32)> = Vec::new();
    let mut broadcasts = Vec::new();
    let mut chunk_counts = Vec::new();
    let mut sinks = 0;
    for s in 0..2 + dice.below(5) as u32 {
        let mut inputs = Vec::new();
        let is_source = edges.is_empty() || dice.percent(15);
        if is_source {
            inputs.push(source());
            chunk_counts.push(dice.below(6) as u32);
        } else {
            let count = edges[dice.below(edges.len())].1;
            let alike: Vec<(u32, u32)> = edges.iter().filter(|(_, n)| *n == count).map(|(p, _)| *p).collect();
            for _ in 0..1 + dice.below(2) {
                let from: Vec<_> = (0..1 + dice.below(2)).map(|_| alike[dice.below(alike.len())]).collect();
                inputs.push(edge_from(&from));
            }
        }
        if !broadcasts.is_empty() && dice.percent(30) {
            let (from, output) = broadcasts[dice.below(broadcasts.len())];
            inputs.push(broadcast_from(from, output));
        }
        let mut outputs = Vec::new();
        for _ in 0..1 + dice.below(2) {
            let here = (s, outputs.len() as u32);
            match dice.below(10) {
                0..=1 => {
                    broadcasts.push(here);
                    outputs.push(Output::Broadcast);
                }
                2..=4 if !is_source => {
                    outputs.push(sink(sinks));
                    sinks += 1;
                }
                _ => {
                    let count = counts[dice.below(2)];
                    edges.push((here, count));
                    outputs.push(edge(count));
                }
            }
        }
        let deterministic = !(fickle && dice.percent(20));
        stages.push(Stage { deterministic, ..stage(&format!("s{s}"), inputs, outputs) });
    }
    if broadcasts.is_empty() {
        stages[0].outputs.push(Output::Broadcast);
        broadcasts.push((0, stages[0].outputs.len() as u32 - 1));
    }
    let mut plan = plan(stages);
    let (s, o) = broadcasts[dice.below(broadcasts.len())];
    plan.collects.push(Collect { name: "c".into(), from: port(s, o) });
    plan.check().expect("the generator makes valid plans");
    (plan, chunk_counts)
}

/// Whether this task writes anything for this partition: the same in every attempt.
fn writes(stage: StageId, index: u32, output: u32, partition: u32) -> bool {
    !(stage.0 * 7 + index * 5 + output * 3 + partition).is_multiple_of(4)
}

/// What follows from what the task has read, unless it is `fickle`: then each attempt makes something else. And what says
/// in the same way what it has made.
fn sparse_report(task: &Task, plan: &Plan, fickle: bool) -> (TaskReport, u64) {
    let mut full = report(task);
    let AttemptId { task: id, number, epoch, incarnation } = task.attempt;
    full.inputs = input_digest(&task.inputs, |stage| plan.stage(stage).deterministic);
    let mut made = Dice(full.inputs ^ u64::from(id.stage.0 << 16 | id.index)).next();
    if fickle {
        made = Dice(made ^ u64::from(number) ^ epoch.0 << 20 ^ incarnation.0 << 40).next();
    }
    for (o, output) in full.outputs.iter_mut().enumerate() {
        if let OutputReport::Edge(segments) = output {
            segments.retain(|s| writes(id.stage, id.index, o as u32, s.partition));
            segments.iter_mut().for_each(|s| s.digest = made as u32 ^ (o as u32) << 8 ^ s.partition);
        }
    }
    (full, made)
}

#[derive(Default)]
struct Node {
    up: bool,
    incarnation: u64,
    slots: u32,
    /// Told by the scheduler, not yet looked at.
    inbox: VecDeque<Action>,
    running: BTreeMap<AttemptId, Task>,
    /// Attempts whose files are here.
    files: BTreeMap<AttemptId, TaskReport>,
    granted: BTreeSet<AttemptId>,
    /// Whatever it does takes ten times as long.
    slow: bool,
    /// It has a session: otherwise what it says is lost.
    session: bool,
    /// Jobs of which the coordinator has heard or told in this session.
    named: BTreeSet<JobId>,
    /// Said to the scheduler, in order, not yet arrived.
    outbox: VecDeque<Event>,
}

/// What the journal is told.
enum Record {
    Submitted(Box<JobSpec>),
    Split(JobId, u64, Vec<StageChunks>),
    Published(WorkerId, AttemptId, Box<TaskReport>),
    Charged(TaskId, u32),
    Sealed(JobId),
    Ended(JobId),
}

impl Node {
    fn say(&mut self, event: Event) {
        if self.session {
            self.outbox.push_back(event);
        }
    }
}

struct Cluster {
    dice: Dice,
    epoch: u64,
    /// What is on disk.
    journal: BTreeMap<JobId, RestoredJob>,
    /// On its way there, in order.
    unwritten: VecDeque<Record>,
    /// Jobs whose end is on disk.
    over: BTreeSet<JobId>,
    /// The parts that readers see.
    visible: BTreeMap<JobId, Vec<StagedPart>>,
    specs: BTreeMap<JobId, JobSpec>,
    /// Jobs whose commit this life of the coordinator has asked for.
    commits: BTreeSet<JobId>,
    /// Jobs of an earlier life, the workers that they wait for, and until when.
    restored: BTreeSet<JobId>,
    awaited: BTreeSet<WorkerId>,
    awaited_until: Time,
    scheduler: Scheduler,
    now: Time,
    nodes: BTreeMap<WorkerId, Node>,
    /// Arrives some time, in any order: duplicates, and what dead workers had said.
    late: Vec<Event>,
    /// Answers of the driver.
    answers: Vec<Event>,
    plans: BTreeMap<JobId, (Plan, Vec<u32>)>,
    staged: BTreeSet<AttemptId>,
    /// What this life of the coordinator has revoked and was not told of since.
    revoked: BTreeSet<AttemptId>,
    /// Stages whose tasks make something else in each attempt, or may.
    fickle: BTreeSet<(JobId, StageId)>,
    /// What each finished attempt made, and of which attempts it has read.
    made: BTreeMap<AttemptId, (u64, Vec<AttemptId>)>,
    ended: BTreeMap<JobId, JobStatus>,
    cancelled: BTreeSet<JobId>,
    user_errors: bool,
    /// Who can never fetch from whom, although both are well: reader and holder.
    cut: BTreeSet<(WorkerId, WorkerId)>,
    broken: bool,
    /// The coordinator dies when this step is over.
    must_restart: bool,
}

/// Time goes slowly here: about a millisecond for each thing that happens.
fn config() -> Config {
    Config { lease_ms: 1_000, backup_after_ms: 20, backup_every_ms: 10, ..Config::default() }
}

impl Cluster {
    fn new(seed: u64, user_errors: bool) -> Self {
        Cluster {
            dice: Dice(seed),
            epoch: 3,
            journal: BTreeMap::new(),
            unwritten: VecDeque::new(),
            over: BTreeSet::new(),
            visible: BTreeMap::new(),
            specs: BTreeMap::new(),
            commits: BTreeSet::new(),
            restored: BTreeSet::new(),
            awaited: BTreeSet::new(),
            awaited_until: Time(0),
            scheduler: Scheduler::new(config(), Epoch(3)),
            now: Time(0),
            nodes: BTreeMap::new(),
            late: Vec::new(),
            answers: Vec::new(),
            plans: BTreeMap::new(),
            staged: BTreeSet::new(),
            revoked: BTreeSet::new(),
            fickle: BTreeSet::new(),
            made: BTreeMap::new(),
            ended: BTreeMap::new(),
            cancelled: BTreeSet::new(),
            user_errors,
            cut: BTreeSet::new(),
            broken: true,
            must_restart: false,
        }
    }

    fn step(&mut self, event: Event) {
        match &event {
            Event::Submitted { spec, .. } => self.unwritten.push_back(Record::Submitted(spec.clone())),
            Event::Planned { job, input_bytes, stages } => {
                self.unwritten.push_back(Record::Split(*job, *input_bytes, stages.clone()));
            }
            _ => {}
        }
        let actions = self.scheduler.step(self.now, event);
        self.scheduler.check().expect("the invariants hold");
        for action in actions {
            self.act(action);
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::PlanJob { job } => {
                let (plan, counts) = &self.plans[&job];
                let sources = plan.stages.iter().enumerate().filter(|(_, s)| s.source().is_some());
                let stages = sources.zip(counts).map(|((i, _), n)| chunks(i as u32, *n)).collect();
                self.answers.push(Event::Planned { job, input_bytes: 1, stages });
            }
            Action::Assign { worker, ref task } => {
                self.check_inputs(task);
                assert!(!self.ended.contains_key(&task.attempt.task.job), "nothing is assigned after the end");
                self.check_not_recorded(task);
                self.check_slots(worker, task);
                let job = task.attempt.task.job;
                let waits = self.now < self.awaited_until && !self.awaited.is_empty();
                assert!(!waits || !self.restored.contains(&job), "a restored job begins before its workers are back");
                let node = self.nodes.get_mut(&worker).expect("it joined");
                node.named.insert(job);
                node.inbox.push_back(action);
            }
            Action::Revoke { worker, .. } | Action::Grant { worker, .. } => {
                if let Action::Revoke { attempt, .. } = &action {
                    self.revoked.insert(*attempt);
                }
                self.nodes.get_mut(&worker).expect("it joined").inbox.push_back(action);
            }
            Action::Published { worker, attempt, report } => {
                self.unwritten.push_back(Record::Published(worker, attempt, report));
            }
            Action::Charged { task, failures } => {
                let recorded = &self.journal.get(&task.job).map(|j| &j.failures[..]).unwrap_or(&[]);
                let before = recorded.iter().filter(|(t, _)| *t == task).map(|(_, n)| *n).max();
                assert!(before < Some(failures), "{task} failed {before:?} times before, and now {failures}");
                self.unwritten.push_back(Record::Charged(task, failures));
            }
            Action::SetAside { .. } => panic!("no failure here names a record"),
            Action::CommitJob { job, parts, .. } => {
                self.check_commit(job, &parts);
                assert!(self.commits.insert(job), "a commit is asked for once");
                self.unwritten.push_back(Record::Sealed(job));
                // A crash may come here, too: then the commit has not begun.
                if self.dice.percent(80) {
                    self.write(usize::MAX);
                    let seen = self.visible.entry(job).or_insert_with(|| parts.clone());
                    assert_eq!(*seen, parts, "what was visible once does not change");
                    self.answers.push(Event::Committed { job });
                    // Or here: readers see the output, and nobody knows.
                    self.must_restart = self.broken && self.dice.percent(30);
                } else if self.broken {
                    self.answers.clear();
                    self.must_restart = true;
                } else {
                    self.write(usize::MAX);
                    self.visible.entry(job).or_insert_with(|| parts.clone());
                    self.answers.push(Event::Committed { job });
                }
            }
            Action::JobEnded { job, ref status, ref collected, ref workers } => {
                let seen = self.visible.contains_key(&job);
                assert!(!seen || status.state == JobState::Done, "an output is visible: {status:?}");
                for (id, node) in &mut self.nodes {
                    if node.session && (node.named.remove(&job) || workers.contains(id)) {
                        node.inbox.push_back(action.clone());
                    }
                }
                if status.state == JobState::Done {
                    self.check_done(job, status, collected);
                }
                assert!(self.ended.insert(job, (**status).clone()).is_none(), "a job ends once");
                self.unwritten.push_back(Record::Ended(job));
            }
        }
    }

    /// So many records get to the disk.
    fn write(&mut self, records: usize) {
        for record in self.unwritten.drain(..records.min(self.unwritten.len())) {
            match record {
                Record::Submitted(spec) => {
                    let job = RestoredJob {
                        spec,
                        unix_ms: 0,
                        elapsed_ms: 0,
                        split: None,
                        published: Vec::new(),
                        bad_records: Vec::new(),
                        failures: Vec::new(),
                        sealed: false,
                    };
                    self.journal.entry(job.spec.id).or_insert(job);
                }
                Record::Split(job, input_bytes, stages) => {
                    let job = self.journal.get_mut(&job).expect("records are written in order");
                    job.split = Some(RestoredSplit { epoch: Epoch(self.epoch), input_bytes, stages });
                }
                Record::Published(worker, attempt, report) => {
                    let job = self.journal.get_mut(&attempt.task.job).expect("records are written in order");
                    job.published.push(RestoredTask { worker, attempt, report: *report });
                }
                Record::Charged(task, failures) => {
                    let job = self.journal.get_mut(&task.job).expect("records are written in order");
                    job.failures.push((task, failures));
                }
                Record::Sealed(job) => {
                    self.journal.get_mut(&job).expect("records are written in order").sealed = true;
                }
                Record::Ended(job) => drop(self.over.insert(job)),
            }
        }
    }

    /// The coordinator dies, with all that it knew, and starts again.
    fn restart(&mut self) {
        self.must_restart = false;
        let written = self.dice.below(self.unwritten.len() + 1);
        self.write(written);
        self.unwritten.clear();
        self.answers.clear();
        self.ended.retain(|job, _| self.over.contains(job));
        let members: Vec<WorkerId> =
            self.scheduler.workers().iter().filter(|w| w.state != WorkerState::Lost).map(|w| w.id).collect();
        self.epoch += 1;
        self.commits.clear();
        self.awaited = members.iter().copied().collect();
        self.awaited_until = self.now.plus_ms(500);
        self.revoked.clear();
        self.scheduler = Scheduler::new(config(), Epoch(self.epoch));
        let ids: Vec<WorkerId> = self.nodes.keys().copied().collect();
        for id in ids {
            // What was on its way arrives, or does not.
            while self.dice.percent(60) && !self.nodes[&id].inbox.is_empty() {
                self.receive(id);
            }
            let node = self.nodes.get_mut(&id).expect("it is there");
            node.inbox.clear();
            node.outbox.clear();
            node.session = false;
        }
        let jobs: Vec<RestoredJob> =
            self.journal.values().filter(|j| !self.over.contains(&j.spec.id)).cloned().collect();
        self.restored = jobs.iter().map(|j| j.spec.id).collect();
        for job in jobs {
            self.step(Event::Restored { job: Box::new(job) });
        }
        self.step(Event::Awaited { workers: members, ms: 500 });
        // Whoever had submitted and got no answer asks again.
        let lost: Vec<JobSpec> = self.specs.values().filter(|s| !self.journal.contains_key(&s.id)).cloned().collect();
        for spec in lost {
            self.step(Event::Submitted { spec: Box::new(spec), unix_ms: 0 });
        }
    }

    /// A task that only writes parts is not run again once it is on record that they are staged.
    fn check_not_recorded(&self, task: &Task) {
        let only_sinks = task.outputs.iter().all(|o| matches!(o, TaskOutput::Sink { .. }));
        let recorded = |job: &RestoredJob| job.published.iter().any(|p| p.attempt.task == task.attempt.task);
        let known = self.journal.get(&task.attempt.task.job).is_some_and(recorded);
        assert!(!(only_sinks && known), "a recorded task runs again: {task:?}");
    }

    /// When everything is done that a worker was told, it has no more attempts than slots, and no two of one task.
    fn check_slots(&self, worker: WorkerId, new: &Task) {
        let node = &self.nodes[&worker];
        let mut runs: BTreeSet<AttemptId> = node.running.keys().copied().collect();
        for told in &node.inbox {
            match told {
                Action::Assign { task, .. } => drop(runs.insert(task.attempt)),
                Action::Revoke { attempt, .. } => drop(runs.remove(attempt)),
                Action::JobEnded { job, .. } => runs.retain(|a| a.task.job != *job),
                _ => {}
            }
        }
        runs.retain(|a| a.incarnation == new.attempt.incarnation);
        assert!(runs.iter().all(|a| a.task != new.attempt.task), "{worker} has it already: {new:?}");
        assert!(runs.len() < node.slots as usize, "{worker} has no slot for {new:?}: {runs:?}");
    }

    fn tasks_of(&self, job: JobId, stage: StageId) -> u32 {
        let (plan, counts) = &self.plans[&job];
        match plan.partitions(stage, 0) {
            Some(n) => n,
            None => {
                let nth = plan.stages[..stage.0 as usize].iter().filter(|s| s.source().is_some()).count();
                counts[nth]
            }
        }
    }

    /// A task reads its partition of every task of every port, in order, whatever happened before.
    fn check_inputs(&self, task: &Task) {
        let id = task.attempt.task;
        for (input, got) in self.plans[&id.job].0.stage(id.stage).inputs.iter().zip(&task.inputs) {
            match (input, got) {
                (Input::Source(_), TaskInput::Chunk(chunk)) => assert_eq!(chunk.part, id.index),
                (Input::Edge { from }, TaskInput::Segments(segments)) => {
                    let all = from.iter().flat_map(|p| (0..self.tasks_of(id.job, p.stage)).map(move |t| (*p, t)));
                    let expected = all.filter(|(p, t)| writes(p.stage, *t, p.output, id.index));
                    let got = segments.iter().map(|s| {
                        assert_eq!((s.attempt.task.job, s.segment.partition), (id.job, id.index));
                        assert!(!self.revoked.contains(&s.attempt), "its files are deleted: {s:?}");
                        (Port { stage: s.attempt.task.stage, output: s.output }, s.attempt.task.index)
                    });
                    assert!(got.eq(expected), "{task:?}");
                }
                (Input::Broadcast { from }, TaskInput::Inline(blobs)) => {
                    assert_eq!(*blobs, self.blobs(id.job, *from), "{task:?}");
                }
                _ => panic!("{input:?} as {got:?}"),
            }
        }
    }

    fn blobs(&self, job: JobId, from: Port) -> Vec<Vec<u8>> {
        let tasks = 0..self.tasks_of(job, from.stage);
        tasks.map(|index| blob(TaskId { job, stage: from.stage, index })).collect()
    }

    /// Every task of every sink has exactly one part, and its attempt was granted and has published.
    fn check_commit(&self, job: JobId, parts: &[StagedPart]) {
        let mut expected = BTreeSet::new();
        for (s, stage) in self.plans[&job].0.stages.iter().enumerate() {
            for output in &stage.outputs {
                if let Output::Sink { sink } = output {
                    expected.extend((0..self.tasks_of(job, StageId(s as u32))).map(|t| (*sink, t)));
                }
            }
        }
        let got: BTreeSet<_> = parts.iter().map(|p| (p.part.sink, p.task)).collect();
        assert_eq!(got.len(), parts.len(), "a part twice");
        assert_eq!(got, expected);
        assert!(parts.iter().all(|p| self.staged.contains(&p.attempt)), "a part that is not staged");
        // All that went into them, from whatever was written first on: of each task one output.
        let mut list: Vec<AttemptId> = parts.iter().map(|p| p.attempt).collect();
        let mut known: BTreeSet<AttemptId> = list.iter().copied().collect();
        let mut used: BTreeMap<TaskId, (u64, AttemptId)> = BTreeMap::new();
        while let Some(attempt) = list.pop() {
            let (made, read) = &self.made[&attempt];
            let (first, other) = *used.entry(attempt.task).or_insert((*made, attempt));
            assert_eq!(first, *made, "a mixture of {other:?} and {attempt:?}");
            list.extend(read.iter().copied().filter(|a| known.insert(*a)));
        }
    }

    fn check_done(&self, job: JobId, status: &JobStatus, collected: &[(String, Vec<Vec<u8>>)]) {
        assert_eq!(status.tasks.done, status.tasks.total);
        // What a lost worker had told an earlier life of the coordinator, and what nobody needs again, is not counted.
        let counted = status.counters.get("tasks");
        let all = if self.epoch == 3 { status.tasks.total } else { counted.min(status.tasks.total) };
        assert_eq!(counted, all, "counters are added once");
        let from = self.plans[&job].0.collects[0].from;
        assert_eq!(*collected, [("c".to_string(), self.blobs(job, from))]);
    }

    /// One thing happens.
    fn turn(&mut self) {
        let ids: Vec<WorkerId> = self.nodes.keys().copied().collect();
        let one = ids[self.dice.below(ids.len())];
        if self.must_restart || self.broken && self.dice.below(400) == 0 {
            return self.restart();
        }
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
            109..110 => self.step(Event::WorkerDrains { worker: one }),
            // The session breaks and begins again: what both sides said last may be lost.
            110..112 if self.nodes[&one].up => {
                while self.dice.percent(50) && !self.nodes[&one].inbox.is_empty() {
                    self.receive(one);
                }
                self.join(one);
            }
            // Somebody cancels, perhaps just when the outputs are becoming visible.
            112..113 if self.dice.percent(5) => {
                let jobs: Vec<JobId> = self.plans.keys().copied().collect();
                let job = jobs[self.dice.below(jobs.len())];
                self.cancel(job);
            }
            113..114 if !(self.commits.is_empty() && self.visible.is_empty()) => {
                let jobs: Vec<JobId> = self.commits.iter().chain(self.visible.keys()).copied().collect();
                let job = jobs[self.dice.below(jobs.len())];
                self.cancel(job);
            }
            // A long silence: leases run out.
            _ if self.dice.percent(5) => {
                self.now = self.now.plus_ms(700);
                self.step(Event::Tick);
            }
            _ => {}
        }
    }

    fn cancel(&mut self, job: JobId) {
        self.cancelled.insert(job);
        self.step(Event::Cancelled { job });
    }

    fn answer(&mut self) {
        if !self.answers.is_empty() {
            let event = self.answers.remove(self.dice.below(self.answers.len()));
            self.step(event);
        }
    }

    fn beat(&mut self, id: WorkerId) {
        if !self.nodes[&id].up {
            return;
        }
        if !self.nodes[&id].session {
            return self.join(id);
        }
        let node = &self.nodes[&id];
        let (slow, attempts): (bool, Vec<AttemptId>) = (node.slow, node.running.keys().copied().collect());
        let mut progress = Vec::new();
        for attempt in attempts {
            // Of some nothing is known.
            if self.dice.percent(70) {
                let permille = self.dice.below(if slow { 200 } else { 1_000 }) as u32;
                progress.push(Progress { attempt, permille });
            }
        }
        self.step(Event::WorkerBeat { worker: id, progress });
        // Its session is ended by a coordinator that counts it as lost.
        if self.scheduler.workers().iter().any(|w| w.id == id && w.state == WorkerState::Lost) {
            self.join(id);
        }
    }

    /// It registers and tells what it has.
    fn join(&mut self, id: WorkerId) {
        let node = self.nodes.get_mut(&id).expect("it is there");
        node.session = true;
        node.inbox.clear();
        node.outbox.clear();
        let running = node.running.keys().map(|a| Told { attempt: *a, report: None });
        let done = node.files.iter().map(|(a, r)| Told { attempt: *a, report: Some(r.clone()) });
        let told: Vec<Told> = running.chain(done).collect();
        self.revoked.retain(|a| told.iter().all(|t| t.attempt != *a));
        node.named = told.iter().map(|t| t.attempt.task.job).collect();
        // Jobs that nobody knows any more are dropped.
        let known = |job: &JobId| self.scheduler.status(*job, self.now).is_some_and(|s| !s.state.is_final());
        for job in node.named.iter().filter(|job| !known(job)) {
            node.files.retain(|a, _| a.task.job != *job);
            node.running.retain(|a, _| a.task.job != *job);
            node.granted.retain(|a| a.task.job != *job);
        }
        self.awaited.remove(&id);
        let info = NodeInfo { slots: node.slots, ..node_info(id, node.incarnation) };
        self.step(Event::WorkerJoined { node: info, told });
    }

    fn start(&mut self, id: WorkerId) {
        let node = self.nodes.get_mut(&id).expect("it is there");
        if !node.up {
            node.up = true;
            node.incarnation += 1;
            self.join(id);
        }
    }

    /// The process dies; its disk may be lost with it.
    fn crash(&mut self, id: WorkerId) {
        if !self.nodes[&id].up {
            return;
        }
        let disk_lost = self.dice.percent(50);
        let node = self.nodes.get_mut(&id).expect("it is there");
        (node.up, node.session) = (false, false);
        node.inbox.clear();
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

    /// The worker looks at what it was told.
    fn receive(&mut self, id: WorkerId) {
        let node = self.nodes.get_mut(&id).expect("it is there");
        let Some(action) = node.inbox.pop_front().filter(|_| node.up) else { return };
        match action {
            Action::Assign { task, .. } => {
                // What was assigned to an earlier life arrives in none.
                if task.attempt.incarnation == Incarnation(node.incarnation) {
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
    fn work(&mut self, id: WorkerId) {
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
        let nth = self.dice.below(running.len());
        let Some(task) = self.nodes[&id].running.values().nth(nth).cloned() else { return };
        let attempt = task.attempt;
        let fails = self.broken && self.dice.percent(6);
        let event = if let Some(segment) = self.unreachable(id, &task) {
            Event::SegmentLost { worker: id, reader: attempt, segment, failure: failure(Code::FetchFailed) }
        } else if let Some(segment) = self.missing(&task) {
            let code = if self.dice.percent(40) { Code::SegmentCorrupt } else { Code::FetchFailed };
            Event::SegmentLost { worker: id, reader: attempt, segment, failure: failure(code) }
        } else if fails {
            let codes = [Code::FetchFailed, Code::WorkerLost, Code::UserError, Code::ExecutorCrashed];
            let code = codes[self.dice.below(if self.user_errors { 4 } else { 2 })];
            Event::AttemptFailed { worker: id, attempt, failure: failure(code) }
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

    fn publish(&mut self, id: WorkerId, attempt: AttemptId) {
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

    /// A segment on the other side of a link that is cut.
    fn unreachable(&self, reader: WorkerId, task: &Task) -> Option<SegmentRef> {
        segments_of(task).find(|segment| self.cut.contains(&(reader, segment.worker)))
    }

    /// A segment that is not where it should be, or cannot be fetched just now.
    fn missing(&mut self, task: &Task) -> Option<SegmentRef> {
        let segments: Vec<SegmentRef> = segments_of(task).collect();
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
    fn deliver(&mut self, id: WorkerId) {
        if let Some(event) = self.nodes.get_mut(&id).and_then(|n| n.outbox.pop_front()) {
            if self.broken && self.dice.percent(10) {
                self.late.push(event.clone());
            }
            self.step(event);
        }
    }

    fn deliver_late(&mut self) {
        if !self.late.is_empty() {
            let event = self.late.swap_remove(self.dice.below(self.late.len()));
            self.step(event);
        }
    }

    /// Nothing fails any more, though some machines stay away: the jobs must get through.
    fn heal(&mut self) {
        self.broken = false;
        let ids: Vec<WorkerId> = self.nodes.keys().copied().collect();
        let stays = ids[self.dice.below(ids.len())];
        for id in ids {
            let gone = id != stays && self.dice.percent(30);
            let workers = self.scheduler.workers();
            let drains = workers.iter().any(|w| w.id == id && w.state == WorkerState::Draining);
            if gone || drains || self.dice.percent(40) {
                self.crash(id);
            }
            match (&self.nodes[&id], gone) {
                (_, true) => {}
                (Node { up: false, .. }, false) => self.start(id),
                (Node { session: false, .. }, false) => self.join(id),
                // What was on its way when the world became whole may be lost all the same.
                _ if self.dice.percent(50) => self.join(id),
                _ => {}
            }
        }
        let mut turns = 0;
        while self.ended.len() < self.plans.len() || self.must_restart {
            self.turn();
            turns += 1;
            assert!(turns < 60_000, "no progress: {:#?}", self.scheduler.statuses(self.now));
        }
        self.check_clean();
    }

    /// When everything has been said and heard, nobody has anything left of jobs that are over.
    fn check_clean(&mut self) {
        let up: Vec<WorkerId> = self.nodes.iter().filter(|(_, n)| n.up && n.session).map(|(id, _)| *id).collect();
        for id in up {
            while !self.nodes[&id].inbox.is_empty() || !self.nodes[&id].outbox.is_empty() {
                self.receive(id);
                self.deliver(id);
            }
            let node = &self.nodes[&id];
            let left = node.running.len() + node.files.len() + node.granted.len();
            assert_eq!(left, 0, "left on {id}: {:?} {:?}", node.running.keys(), node.files.keys());
        }
    }
}

fn segments_of(task: &Task) -> impl Iterator<Item = SegmentRef> + '_ {
    fn segments(input: &TaskInput) -> &[SegmentRef] {
        match input {
            TaskInput::Segments(segments) => segments,
            _ => &[],
        }
    }
    task.inputs.iter().flat_map(segments).copied()
}

fn node_info(id: WorkerId, incarnation: u64) -> NodeInfo {
    node(id.as_bytes()[0], 1, incarnation)
}

/// One simulated life of a cluster, from a seed. Panics if anything is not as promised. Says how many backup attempts
/// there were.
pub fn run(seed: u64, user_errors: bool) -> u64 {
    let mut c = Cluster::new(seed, user_errors);
    for n in 1..=2 + c.dice.below(4) as u8 {
        let slots = 1 + c.dice.below(3) as u32;
        let slow = c.dice.percent(20);
        c.nodes.insert(worker_id(n), Node { slots, slow, ..Node::default() });
        if c.dice.percent(80) {
            c.start(worker_id(n));
        }
    }
    // Dice of their own, so that all else in the run is as it would be without.
    let mut links = Dice(!seed);
    if links.percent(30) {
        let nodes = c.nodes.len();
        let reader = links.below(nodes);
        let holder = (reader + 1 + links.below(nodes - 1)) % nodes;
        let [reader, holder] = [reader, holder].map(|n| worker_id(n as u8 + 1));
        c.cut.insert((reader, holder));
        if links.percent(50) {
            c.cut.insert((holder, reader));
        }
    }
    let jobs = 1 + c.dice.below(3) as u8;
    for n in 1..=jobs {
        let fickle = c.dice.percent(25);
        let (plan, chunk_counts) = random_plan(&mut c.dice, fickle);
        for (s, stage) in plan.stages.iter().enumerate() {
            if fickle && (!stage.deterministic || c.dice.percent(30)) {
                c.fickle.insert((job_id(n), StageId(s as u32)));
            }
        }
        let options = JobOptions {
            priority: c.dice.below(2) as i32,
            slots_max: c.dice.percent(30).then_some(2),
            backup_attempts: c.dice.percent(90),
            ..JobOptions::default()
        };
        c.plans.insert(job_id(n), (plan.clone(), chunk_counts));
        let spec = spec(n, plan, options);
        c.specs.insert(spec.id, spec.clone());
        c.step(Event::Submitted { spec: Box::new(spec), unix_ms: 0 });
        for _ in 0..c.dice.below(200) {
            c.turn();
        }
    }
    for _ in 0..c.dice.below(2_000) {
        c.turn();
    }
    c.heal();
    for (job, status) in &c.ended {
        let mixed = c.fickle.iter().any(|(j, _)| j == job)
            && status.error.as_ref().is_some_and(|e| e.code == Code::NondeterministicTask);
        let may_fail = (user_errors || mixed) && status.state == JobState::Failed;
        let was_cancelled = c.cancelled.contains(job) && status.state == JobState::Cancelled;
        assert!(status.state == JobState::Done || may_fail || was_cancelled, "{status:#?}");
        let over = c.scheduler.workers().iter().all(|w| w.running == 0);
        assert!(over, "slots are free again");
    }
    c.ended.values().map(|s| s.backups).sum()
}
