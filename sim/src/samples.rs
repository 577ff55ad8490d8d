//! Short constructors of plans, jobs, chunks and reports, for tests that drive a scheduler or attempts directly.

use windrow_model::*;
use windrow_scheduler::{RestoredJob, StageChunks};

/// The id of job `n`.
pub fn job_id(n: u8) -> JobId {
    JobId::from_bytes([n; 16])
}

/// The id of worker `n`.
pub fn worker_id(n: u8) -> WorkerId {
    WorkerId::from_bytes([n; 16])
}

/// What worker `n` registers with: 1 GiB of memory, and no home.
pub fn node(n: u8, slots: u32, incarnation: u64) -> NodeInfo {
    NodeInfo {
        worker: worker_id(n),
        incarnation: Incarnation(incarnation),
        address: format!("http://127.0.0.1:{}", 4000 + u32::from(n)),
        host: format!("host{n}"),
        slots,
        memory_bytes: 1 << 30,
        version: "0".into(),
        home: None,
    }
}

/// An output of a stage.
pub fn port(stage: u32, output: u32) -> Port {
    Port { stage: StageId(stage), output }
}

/// Lines of a file.
pub fn source() -> Input {
    Input::Source(SourceSpec {
        inputs: vec!["/in".into()],
        framing: Framing::Delimiter(b'\n'),
        header: false,
        sample: false,
        as_is: false,
    })
}

/// An input from these stages and outputs.
pub fn edge_from(ports: &[(u32, u32)]) -> Input {
    Input::Edge { from: ports.iter().map(|(s, o)| port(*s, *o)).collect() }
}

/// A broadcast of this stage and output.
pub fn broadcast_from(stage: u32, output: u32) -> Input {
    Input::Broadcast { from: port(stage, output) }
}

/// An edge with this number of partitions, by hash.
pub fn edge(n: u32) -> Output {
    edge_of(Partitions::Count(n))
}

/// An edge of these partitions.
pub fn edge_of(partitions: Partitions) -> Output {
    Output::Edge { partitions, partitioner: Partitioner::Hash, order: Order::Key, combined: false }
}

/// An output of the job.
pub fn sink(sink: u32) -> Output {
    Output::Sink { sink }
}

/// A deterministic stage.
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

/// A job of this plan.
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

/// The first attempt of task `index` of stage 0.
pub fn attempt(job: u8, index: u32) -> AttemptId {
    AttemptId {
        task: TaskId { job: job_id(job), stage: StageId(0), index },
        number: 0,
        epoch: Epoch(1),
        incarnation: Incarnation(1),
    }
}

/// A task without inputs.
pub fn task(attempt: AttemptId, outputs: Vec<TaskOutput>) -> Box<Task> {
    Box::new(Task {
        attempt,
        inputs: vec![TaskInput::Inline(vec![])],
        outputs,
        job_input_bytes: 0,
        skip_keys: Vec::new(),
    })
}

/// This job as a journal holds it right after its submit.
pub fn restored(spec: JobSpec) -> RestoredJob {
    RestoredJob {
        spec: Box::new(spec),
        unix_ms: 0,
        elapsed_ms: 0,
        split: None,
        published: Vec::new(),
        bad_records: Vec::new(),
        failures: Vec::new(),
        uncharged: Vec::new(),
        sealed: false,
        collected: Vec::new(),
    }
}

/// `n` chunks of one file for a source stage.
pub fn chunks(stage: u32, n: u32) -> StageChunks {
    let chunk = |i| Chunk {
        ranges: vec![FileRange {
            path: "/in/file".into(),
            offset: u64::from(i) * 100,
            length: 100,
            identity: FileIdentity::default(),
            content: None,
            local: None,
            as_is: false,
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
        TaskOutput::Edge { partitions } => edge_report((0..*partitions).map(segment), *partitions),
        TaskOutput::Broadcast => OutputReport::Broadcast(blob(task.attempt.task)),
        TaskOutput::Sink { sink } => OutputReport::Sink(PartReport { sink: *sink, bytes: 7, records: 1, checksum: 0 }),
    };
    let mut counters = Counters::default();
    counters.add("tasks", 1);
    TaskReport {
        outputs: task.outputs.iter().map(of).collect(),
        counters,
        run_ms: 1,
        inputs: input_digest(&task.inputs),
    }
}

/// Ten bytes of a partition.
pub fn segment(partition: u32) -> Segment {
    Segment { partition, offset: u64::from(partition) * 10, length: 10, records: 1, raw_length: 10, digest: partition }
}

/// The report of these segments of an edge.
pub fn edge_report(segments: impl Iterator<Item = Segment>, partitions: u32) -> OutputReport {
    OutputReport::Edge(EdgeReport::of(&segments.collect::<Vec<_>>(), partitions))
}

/// What a broadcasting task makes.
pub fn blob(task: TaskId) -> Vec<u8> {
    vec![task.stage.0 as u8, task.index as u8]
}

/// A failure of this code.
pub fn failure(code: Code) -> Failure {
    Failure::new(code, "it broke")
}
