//! Valid messages are read back unchanged, and invalid ones are refused.

use proptest::prelude::*;
use std::path::PathBuf;
use windrow_model::*;
use windrow_proto::convert::{table_from_bytes, table_to_bytes};
use windrow_proto::{ConvertError, v1};

fn plan() -> Plan {
    let source = SourceSpec {
        inputs: vec!["/data/in".into(), "windrow://set".into()],
        framing: Framing::Delimiter(b'\n'),
        header: false,
        sample: true,
        as_is: true,
    };
    let port = |stage, output| Port { stage: StageId(stage), output };
    Plan {
        stages: vec![
            Stage {
                label: "lines → map".into(),
                place: "src/main.rs:12".into(),
                inputs: vec![Input::Source(source)],
                outputs: vec![
                    Output::Edge {
                        partitions: Partitions::Count(3),
                        partitioner: Partitioner::Range,
                        order: Order::Key,
                        combined: true,
                    },
                    Output::Broadcast,
                ],
                deterministic: true,
            },
            Stage {
                label: "reduce".into(),
                place: "src/main.rs:14".into(),
                inputs: vec![Input::Edge { from: vec![port(0, 0)] }, Input::Broadcast { from: port(0, 1) }],
                outputs: vec![Output::Sink { sink: 0 }, Output::Broadcast],
                deterministic: false,
            },
        ],
        sinks: vec![SinkSpec {
            path: "/data/out".into(),
            format: "tsv".into(),
            suffix: ".gz".into(),
            framing: Framing::Fixed(7),
            overwrite: true,
        }],
        collects: vec![Collect { name: "count".into(), from: port(1, 1) }],
        sides: vec![Side { digest: Digest::of(b"side"), length: 4 }],
        fingerprint: Digest::of(b"plan"),
    }
}

fn spec(options: JobOptions) -> JobSpec {
    JobSpec {
        id: JobId::from_bytes([7; 16]),
        name: "words".into(),
        program: "WordCount".into(),
        params: "{}".into(),
        plan: plan(),
        binary: Digest::of(b"binary"),
        options,
    }
}

fn attempt(n: u32) -> AttemptId {
    AttemptId {
        task: TaskId { job: JobId::from_bytes([7; 16]), stage: StageId(1), index: n },
        number: 2,
        epoch: Epoch(3),
        incarnation: Incarnation(4),
    }
}

fn wire_spec() -> v1::JobSpec {
    spec(JobOptions::default()).into()
}

proptest! {
    #[test]
    fn specs_read_back(
        partitions in prop::option::of(1u32..=1_000_000), chunk_bytes in prop::option::of(1u64..),
        priority: i32, slots_max in prop::option::of(1u32..), attempts_max in 1u32.., timeout_ms in prop::option::of(1u64..),
        task_timeout_ms in prop::option::of(1u64..), progress_timeout_ms in prop::option::of(1u64..), skip_bad_records: u64,
        backup_attempts: bool,
    ) {
        let spec = spec(JobOptions {
            partitions, chunk_bytes, priority, slots_max, attempts_max, timeout_ms, task_timeout_ms, progress_timeout_ms,
            skip_bad_records, backup_attempts, decompress: priority > 0,
        });
        prop_assert_eq!(JobSpec::try_from(v1::JobSpec::from(spec.clone())), Ok(spec));
    }

    #[test]
    fn tasks_read_back(
        // Paths are bytes and need not be UTF-8.
        name in prop::collection::vec(1u8..=255, 1..60), offset in 0u64..1 << 40, length in 0u64..1 << 40,
        modified_ns: i64, part: u32, index in 0u32..9, blobs in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..4),
    ) {
        use std::os::unix::ffi::OsStringExt;
        let path = PathBuf::from(std::ffi::OsString::from_vec(name));
        let identity = FileIdentity { device: 1, inode: 2, length, modified_ns, changed_ns: modified_ns ^ 1 };
        let content = (part % 2 == 0).then(|| Digest::of(&part.to_le_bytes()));
        let local = content.map(|_| path.clone());
        let task = Task {
            attempt: attempt(index),
            inputs: vec![
                TaskInput::Chunk(Chunk {
                    ranges: vec![FileRange { path, offset, length, identity, content, local, as_is: part % 3 == 0 }],
                    part,
                    skip: vec![SkippedRecord { range: 0, offset }, SkippedRecord { range: 1, offset: length }],
                    holders: vec![],
                }),
                TaskInput::Edge(EdgeInput {
                    ports: vec![EdgePort {
                        port: Port { stage: StageId(1), output: index },
                        partitions: index + 1,
                        version: TableVersion { epoch: Epoch(2), reopened: offset },
                        digest: length,
                    }],
                    bytes: length,
                }),
                TaskInput::Inline(blobs),
            ],
            outputs: vec![TaskOutput::Edge { partitions: 4 }, TaskOutput::Broadcast, TaskOutput::Sink { sink: 2 }],
            job_input_bytes: length,
            skip_keys: (0..index).map(|n| Digest::of(&n.to_le_bytes())).collect(),
        };
        prop_assert_eq!(Task::try_from(v1::Task::from(task.clone())), Ok(task));
    }

    #[test]
    fn reports_read_back(partitions in prop::collection::btree_set(0u32..5_000, 0..200), checksum: u32, run_ms: u64) {
        let segments: Vec<Segment> = partitions.into_iter().map(|partition| Segment {
            partition, offset: 10, length: 20, records: 3, raw_length: 40, digest: checksum,
        }).collect();
        let mut counters = Counters::default();
        counters.add("x", run_ms);
        let report = TaskReport {
            outputs: vec![
                OutputReport::Edge(EdgeReport::of(&segments, 5_000)),
                OutputReport::Broadcast(vec![1, 2]),
                OutputReport::Sink(PartReport { sink: 1, bytes: 2, records: 3, checksum }),
                OutputReport::Stored(StoredBlob { offset: 4, length: 5, digest: Digest::of(b"d") }),
            ],
            counters,
            run_ms,
            inputs: !run_ms,
        };
        prop_assert_eq!(TaskReport::try_from(v1::TaskReport::from(report.clone())), Ok(report));
    }
}

#[test]
fn tables_of_outputs_read_back() {
    let outputs =
        [Some((WorkerId::from_bytes([3; 16]), attempt(0))), None, Some((WorkerId::from_bytes([4; 16]), attempt(2)))];
    let version = TableVersion { epoch: Epoch(5), reopened: 6 };
    let table = StageOutputs::new(JobId::from_bytes([1; 16]), StageId(1), version, outputs.into_iter(), vec![7, 8]);
    let wire = v1::StageOutputs::from(&table);
    assert_eq!(StageOutputs::try_from(wire.clone()).as_ref(), Ok(&table));
    assert_eq!(table_from_bytes(&table_to_bytes(&table)), Ok(table));
    assert_eq!(table_from_bytes(&[255]).map_err(|e| e.code()), Err(Code::BadRequest));
    let bad = [
        v1::StageOutputs { origin: vec![1, 0, 3], ..wire.clone() },
        v1::StageOutputs { number: vec![1], ..wire.clone() },
        v1::StageOutputs { job: None, ..wire },
    ];
    for wire in bad {
        assert_eq!(StageOutputs::try_from(wire).map_err(|e| e.code()), Err(Code::BadRequest));
    }
}

#[test]
fn report_of_an_earlier_release_has_the_same_digest() {
    let segment = |partition, length| Segment { partition, offset: 0, length, records: 1, raw_length: 9, digest: 4 };
    let segments = [segment(1, 10), segment(3, 20)];
    let wire = segments.map(|s| v1::Segment {
        partition: s.partition,
        offset: s.offset,
        length: s.length,
        records: s.records,
        raw_length: s.raw_length,
        digest: s.digest,
    });
    let read = EdgeReport::try_from(v1::EdgeReport { segments: wire.to_vec(), ..v1::EdgeReport::default() });
    let now = EdgeReport::of(&segments, 5);
    assert_eq!(read, Ok(EdgeReport { sizes: SizeHints::None, ..now }));
}

#[test]
fn every_job_and_worker_state_reads_back() {
    use JobState::*;
    for state in [Planning, Running, Committing, Done, Failed, Cancelled] {
        let status = JobStatus {
            id: JobId::from_bytes([1; 16]),
            name: "n".into(),
            state,
            stages: vec![StageStatus {
                label: "l".into(),
                tasks: TaskTotals { total: 4, done: 1, running: 2, failed: 1 },
                bytes_done: 7,
                bytes_total: 9,
                bytes_running: 3,
                records: 8,
            }],
            tasks: TaskTotals { total: 4, done: 1, running: 2, failed: 1 },
            attempts: 5,
            backups: 2,
            counters: Counters::default(),
            error: Some(Failure::new(Code::UserError, "no")),
            waiting: Some("workers".into()),
            outputs: vec!["/out".into()],
            submitted_unix_ms: 1,
            elapsed_ms: 2,
            failures: vec![FailedAttempt {
                stage: StageId(1),
                task: 2,
                attempt: 3,
                worker: WorkerId::from_bytes([4; 16]),
                host: "h".into(),
                code: Code::UserPanic,
                message: "m".into(),
                charged: true,
                after_ms: 5,
            }],
            left_out: vec![LeftOut {
                worker: WorkerId::from_bytes([3; 16]),
                host: "h".into(),
                code: Code::InputNotShared,
                message: "gone".into(),
            }],
        };
        assert_eq!(JobStatus::try_from(v1::JobStatus::from(status.clone())), Ok(status));
    }
    for state in [WorkerState::Live, WorkerState::Draining, WorkerState::Lost] {
        let status = WorkerStatus {
            id: WorkerId::from_bytes([1; 16]),
            address: "http://127.0.0.1:1".into(),
            host: "h".into(),
            state,
            slots: 2,
            running: 1,
            memory_bytes: 3,
            version: "0.1.0".into(),
            reason: Some("its disk is full".into()),
        };
        assert_eq!(WorkerStatus::try_from(v1::WorkerStatus::from(status.clone())), Ok(status));
    }
    for filter in [
        JobFilter::default(),
        JobFilter { states: vec![Done, Failed], name: "n".into(), since_unix_ms: 4, limit: Some(5) },
    ] {
        assert_eq!(JobFilter::try_from(v1::ListRequest::from(filter.clone())), Ok(filter));
    }
    let node = NodeInfo {
        worker: WorkerId::from_bytes([1; 16]),
        incarnation: Incarnation(2),
        address: "http://127.0.0.1:1".into(),
        host: "h".into(),
        slots: 2,
        memory_bytes: 3,
        version: "0.1.0".into(),
        home: Some(Home { machine: "m".into(), folder: "/data/w1".into() }),
    };
    assert_eq!(NodeInfo::try_from(v1::Register::from(node.clone())), Ok(node));
}

#[test]
fn missing_and_unknown_fields_are_refused() {
    let refused = |change: fn(&mut v1::JobSpec), code: Code| {
        let mut wire = wire_spec();
        change(&mut wire);
        let error: ConvertError = JobSpec::try_from(wire).expect_err("a wrong message was taken");
        assert_eq!(error.code(), code, "{error}");
    };
    fn source(w: &mut v1::JobSpec) -> &mut v1::Source {
        match w.plan.as_mut().unwrap().stages[0].inputs[0].kind.as_mut().unwrap() {
            v1::input::Kind::Source(s) => s,
            _ => unreachable!("the first input of the sample plan is a source"),
        }
    }
    fn edge(w: &mut v1::JobSpec) -> &mut v1::EdgeOutput {
        match w.plan.as_mut().unwrap().stages[0].outputs[0].kind.as_mut().unwrap() {
            v1::output::Kind::Edge(e) => e,
            _ => unreachable!("the first output of the sample plan is an edge"),
        }
    }
    refused(|w| w.id = None, Code::BadRequest);
    refused(|w| w.id = Some(v1::JobId { uuid: vec![1; 15] }), Code::BadRequest);
    refused(|w| w.program.clear(), Code::BadRequest);
    refused(|w| w.name = "x".repeat(100_000), Code::BadRequest);
    refused(|w| w.plan = None, Code::BadRequest);
    refused(
        |w| source(w).framing = Some(v1::Framing { kind: Some(v1::framing::Kind::Delimiter(256)) }),
        Code::BadRequest,
    );
    refused(|w| source(w).framing = Some(v1::Framing { kind: Some(v1::framing::Kind::Fixed(0)) }), Code::BadRequest);
    refused(|w| source(w).framing = None, Code::BadRequest);
    refused(|w| edge(w).partitioner = 77, Code::BadRequest);
    refused(|w| edge(w).order = 0, Code::BadRequest);
    refused(|w| w.plan.as_mut().unwrap().sinks[0].suffix = "/../x".into(), Code::BadRequest);
    refused(|w| w.options.as_mut().unwrap().partitions = 1_000_001, Code::BadRequest);
    // Valid fields, but a graph that cannot run.
    refused(|w| w.plan.as_mut().unwrap().sinks.clear(), Code::PlanInvalid);
    refused(|w| w.plan.as_mut().unwrap().stages.reverse(), Code::PlanInvalid);
    assert!(JobSpec::try_from(wire_spec()).is_ok());
}
