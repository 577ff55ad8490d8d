//! A small harness: plans from short words, a scheduler with the attempts it has assigned, reports made up from tasks.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod cluster;

use std::collections::BTreeMap;
use windrow_model::*;
use windrow_scheduler::{Action, Config, Event, RestoredTask, Scheduler, StageChunks, Told};

pub fn job_id(n: u8) -> JobId {
    JobId::from_bytes([n; 16])
}

pub fn worker_id(n: u8) -> WorkerId {
    WorkerId::from_bytes([n; 16])
}

pub fn node(n: u8, slots: u32, incarnation: u64) -> NodeInfo {
    NodeInfo {
        worker: worker_id(n),
        incarnation: Incarnation(incarnation),
        address: format!("http://127.0.0.1:{}", 4000 + u32::from(n)),
        host: format!("host{n}"),
        slots,
        memory_bytes: 1 << 30,
        version: "0".into(),
    }
}

pub fn port(stage: u32, output: u32) -> Port {
    Port { stage: StageId(stage), output }
}

pub fn source() -> Input {
    Input::Source(SourceSpec {
        inputs: vec!["/in".into()],
        framing: Framing::Delimiter(b'\n'),
        decompress: false,
        header: false,
        sample: false,
    })
}

pub fn edge_from(ports: &[(u32, u32)]) -> Input {
    Input::Edge { from: ports.iter().map(|(s, o)| port(*s, *o)).collect() }
}

pub fn broadcast_from(stage: u32, output: u32) -> Input {
    Input::Broadcast { from: port(stage, output) }
}

pub fn edge(n: u32) -> Output {
    edge_of(Partitions::Count(n))
}

pub fn edge_of(partitions: Partitions) -> Output {
    Output::Edge { partitions, partitioner: Partitioner::Hash, order: Order::Key, combined: false }
}

pub fn sink(sink: u32) -> Output {
    Output::Sink { sink }
}

pub fn stage(label: &str, inputs: Vec<Input>, outputs: Vec<Output>) -> Stage {
    Stage { label: label.into(), place: format!("src/main.rs:{}", label.len()), inputs, outputs, deterministic: true }
}

/// A plan with as many sinks as its stages feed.
pub fn plan(stages: Vec<Stage>) -> Plan {
    let sinks = stages.iter().flat_map(|s| &s.outputs).filter(|o| matches!(o, Output::Sink { .. })).count();
    let sinks = (0..sinks).map(|i| SinkSpec {
        path: format!("/out{i}"),
        format: "tsv".into(),
        suffix: String::new(),
        framing: windrow_model::Framing::Whole,
        overwrite: false,
    });
    Plan { stages, sinks: sinks.collect(), collects: vec![], sides: vec![], fingerprint: Digest([0; 32]) }
}

/// lines → map → reduce → sink, with `partitions` reducers.
pub fn map_reduce(partitions: u32) -> Plan {
    plan(vec![
        stage("map", vec![source()], vec![edge(partitions)]),
        stage("reduce", vec![edge_from(&[(0, 0)])], vec![sink(0)]),
    ])
}

/// One source whose tasks give blobs to the driver: no shuffle, no commit.
pub fn map_only() -> Plan {
    let mut plan = plan(vec![stage("map", vec![source()], vec![Output::Broadcast])]);
    plan.collects.push(Collect { name: "all".into(), from: port(0, 0) });
    plan
}

pub fn spec(n: u8, plan: Plan, options: JobOptions) -> JobSpec {
    JobSpec {
        id: job_id(n),
        name: format!("job{n}"),
        program: "Test".into(),
        params: "{}".into(),
        plan,
        binary: Digest([1; 32]),
        options,
    }
}

pub fn chunks(stage: u32, n: u32) -> StageChunks {
    let chunk = |i| Chunk {
        ranges: vec![FileRange {
            path: "/in/file".into(),
            offset: u64::from(i) * 100,
            length: 100,
            identity: FileIdentity::default(),
            content: None,
        }],
        part: i,
        skip: Vec::new(),
        holders: Vec::new(),
    };
    StageChunks { stage: StageId(stage), chunks: (0..n).map(chunk).collect() }
}

/// Full edges (a segment of 10 bytes for each partition), blobs that name their task, parts of 7 bytes.
pub fn report(task: &Task) -> TaskReport {
    let of = |output: &TaskOutput| match output {
        TaskOutput::Edge { partitions } => OutputReport::Edge((0..*partitions).map(segment).collect()),
        TaskOutput::Broadcast => OutputReport::Broadcast(blob(task.attempt.task)),
        TaskOutput::Sink { sink } => OutputReport::Sink(PartReport { sink: *sink, bytes: 7, records: 1, checksum: 0 }),
    };
    let mut counters = Counters::default();
    counters.add("tasks", 1);
    TaskReport {
        outputs: task.outputs.iter().map(of).collect(),
        counters,
        run_ms: 1,
        inputs: input_digest(&task.inputs, |_| true),
    }
}

pub fn segment(partition: u32) -> Segment {
    Segment { partition, offset: u64::from(partition) * 10, length: 10, records: 1, raw_length: 10, digest: partition }
}

pub fn blob(task: TaskId) -> Vec<u8> {
    vec![task.stage.0 as u8, task.index as u8]
}

pub fn failure(code: Code) -> Failure {
    Failure::new(code, "it broke")
}

/// A scheduler, and the attempts that it has assigned and not revoked, in order of assignment.
pub struct Harness {
    pub scheduler: Scheduler,
    pub now: Time,
    pub assigned: Vec<(WorkerId, Task)>,
    pub ended: BTreeMap<JobId, JobStatus>,
    /// What a journal would have been told of published tasks.
    pub recorded: Vec<RestoredTask>,
    /// And of charged failures.
    pub failures: Vec<(TaskId, u32)>,
}

impl Harness {
    pub fn new() -> Self {
        Self::with(Config { lease_ms: u64::MAX, ..Config::default() })
    }

    pub fn with(config: Config) -> Self {
        Self::in_epoch(config, 1)
    }

    pub fn in_epoch(config: Config, epoch: u64) -> Self {
        let scheduler = Scheduler::new(config, Epoch(epoch));
        let (assigned, ended) = (Vec::new(), BTreeMap::new());
        Harness { scheduler, now: Time(0), assigned, ended, recorded: Vec::new(), failures: Vec::new() }
    }

    /// The actions, without those that are for the journal.
    pub fn step(&mut self, event: Event) -> Vec<Action> {
        let mut actions = self.scheduler.step(self.now, event);
        self.scheduler.check().expect("the invariants hold");
        actions.retain(|action| match action {
            Action::Published { worker, attempt, report } => {
                self.recorded.push(RestoredTask { worker: *worker, attempt: *attempt, report: (**report).clone() });
                false
            }
            Action::Charged { task, failures } => {
                self.failures.push((*task, *failures));
                false
            }
            _ => true,
        });
        for action in &actions {
            match action {
                Action::Assign { worker, task } => self.assigned.push((*worker, (**task).clone())),
                Action::Revoke { attempt, .. } => self.assigned.retain(|(_, t)| t.attempt != *attempt),
                Action::JobEnded { job, status, .. } => {
                    assert!(self.ended.insert(*job, (**status).clone()).is_none(), "a job ends once");
                }
                _ => {}
            }
        }
        actions
    }

    pub fn join(&mut self, n: u8, slots: u32) -> Vec<Action> {
        self.join_as(n, slots, 1)
    }

    pub fn join_as(&mut self, n: u8, slots: u32, incarnation: u64) -> Vec<Action> {
        self.join_telling(n, slots, incarnation, Vec::new())
    }

    /// A worker registers and says what it has.
    pub fn join_telling(&mut self, n: u8, slots: u32, incarnation: u64, told: Vec<Told>) -> Vec<Action> {
        self.step(Event::WorkerJoined { node: node(n, slots, incarnation), told })
    }

    pub fn leave(&mut self, n: u8) -> Vec<Action> {
        self.assigned.retain(|(w, _)| *w != worker_id(n));
        self.step(Event::WorkerLeft { worker: worker_id(n) })
    }

    pub fn submit(&mut self, n: u8, plan: Plan, chunk_counts: &[u32]) -> Vec<Action> {
        self.submit_with(n, plan, chunk_counts, JobOptions::default())
    }

    /// Submits and plans; `chunk_counts` has a number for each source stage in order.
    pub fn submit_with(&mut self, n: u8, plan: Plan, chunk_counts: &[u32], options: JobOptions) -> Vec<Action> {
        let sources = plan.stages.iter().enumerate().filter(|(_, s)| s.source().is_some());
        let stages: Vec<_> = sources.zip(chunk_counts).map(|((i, _), n)| chunks(i as u32, *n)).collect();
        let submitted = Event::Submitted { spec: Box::new(spec(n, plan, options)), unix_ms: 0 };
        assert_eq!(self.step(submitted), [Action::PlanJob { job: job_id(n) }]);
        let input_bytes = stages.iter().flat_map(|s| &s.chunks).map(Chunk::length).sum();
        self.step(Event::Planned { job: job_id(n), input_bytes, stages })
    }

    /// Takes the oldest attempt of this task that is assigned.
    pub fn take(&mut self, n: u8, stage: u32, index: u32) -> (WorkerId, Task) {
        let id = TaskId { job: job_id(n), stage: StageId(stage), index };
        let at = self.assigned.iter().position(|(_, t)| t.attempt.task == id);
        self.assigned.remove(at.unwrap_or_else(|| panic!("{id} is not assigned")))
    }

    pub fn done(&mut self, worker: WorkerId, task: &Task) -> Vec<Action> {
        self.step(Event::AttemptDone { worker, attempt: task.attempt, report: report(task) })
    }

    /// Finishes a task with all that follows: its publication too.
    pub fn finish(&mut self, n: u8, stage: u32, index: u32) -> Vec<Action> {
        let (worker, task) = self.take(n, stage, index);
        let mut actions = self.done(worker, &task);
        if actions.iter().any(|a| matches!(a, Action::Grant { attempt, .. } if *attempt == task.attempt)) {
            actions.extend(self.step(Event::Published { worker, attempt: task.attempt }));
        }
        actions
    }

    pub fn fail(&mut self, n: u8, stage: u32, index: u32, code: Code) -> Vec<Action> {
        let (worker, task) = self.take(n, stage, index);
        self.step(Event::AttemptFailed { worker, attempt: task.attempt, failure: failure(code) })
    }

    /// Finishes whatever is assigned until nothing is.
    pub fn finish_all(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        while let Some((_, task)) = self.assigned.first() {
            let id = task.attempt.task;
            let n = id.job.as_bytes()[0];
            actions.extend(self.finish(n, id.stage.0, id.index));
        }
        actions
    }

    pub fn commit(&mut self, n: u8) -> Vec<Action> {
        self.step(Event::Committed { job: job_id(n) })
    }

    pub fn status(&self, n: u8) -> JobStatus {
        self.scheduler.status(job_id(n), self.now).expect("the job is known")
    }

    /// `stage/index@worker` of everything assigned, sorted.
    pub fn running(&self) -> Vec<String> {
        let mut all: Vec<String> = self.assigned.iter().map(|(w, t)| place(*w, t)).collect();
        all.sort();
        all
    }

    /// Moves time to the next deadline and ticks.
    pub fn tick(&mut self) -> Vec<Action> {
        self.now = self.scheduler.next_deadline().expect("something is due some time");
        self.step(Event::Tick)
    }
}

pub fn place(worker: WorkerId, task: &Task) -> String {
    format!("{}/{}@{}", task.attempt.task.stage, task.attempt.task.index, worker.as_bytes()[0])
}

pub fn told_running(task: &Task) -> Told {
    Told { attempt: task.attempt, report: None }
}

pub fn told_done(task: &Task) -> Told {
    Told { attempt: task.attempt, report: Some(report(task)) }
}

/// What an action list assigns, in order: `stage/index@worker`.
pub fn assigns(actions: &[Action]) -> Vec<String> {
    let of = |a: &Action| match a {
        Action::Assign { worker, task } => Some(place(*worker, task)),
        _ => None,
    };
    actions.iter().filter_map(of).collect()
}
