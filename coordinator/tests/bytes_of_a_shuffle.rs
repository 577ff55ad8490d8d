//! The messages of a shuffle between coordinator and workers grow with maps + reduces, and not with their product.

#![allow(clippy::disallowed_methods, reason = "tests read the files that they made")]

mod support;

use prost::Message;
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use windrow_model::*;
use windrow_proto::convert::table_to_bytes;
use windrow_proto::v1;
use windrow_scheduler::{Action, Config, Event, Scheduler, SentTables, StageChunks};

const WORKERS: u8 = 20;

/// Bytes of one job.
#[derive(Debug, Default)]
struct Sent {
    /// Reports of maps.
    reports: u64,
    /// Assignments of reduces, without tables.
    assignments: u64,
    /// Tables, as often as they are sent.
    tables: u64,
    tables_sent: u64,
}

fn node(n: u8) -> NodeInfo {
    NodeInfo {
        worker: WorkerId::from_bytes([n; 16]),
        incarnation: Incarnation(1),
        address: "http://127.0.0.1:1".into(),
        host: "h".into(),
        slots: 8,
        memory_bytes: 1 << 30,
        version: "0".into(),
        home: None,
    }
}

/// A map that has written to every partition.
fn report(task: &Task) -> TaskReport {
    let of = |output: &TaskOutput| match output {
        TaskOutput::Edge { partitions } => {
            let all: Vec<(u32, u64)> = (0..*partitions).map(|p| (p, 10_000)).take(65).collect();
            let sizes = match partitions {
                0..=64 => SizeHints::of(all.into_iter(), *partitions),
                _ => SizeHints::Dense(vec![80; partitions.div_ceil(SizeHints::width(*partitions)) as usize]),
            };
            OutputReport::Edge(EdgeReport { bytes: 10_000 * u64::from(*partitions), records: 1, digest: 1, sizes })
        }
        TaskOutput::Broadcast => OutputReport::Broadcast(Vec::new()),
        TaskOutput::Sink { sink } => OutputReport::Sink(PartReport { sink: *sink, bytes: 7, records: 1, checksum: 0 }),
    };
    let outputs = task.outputs.iter().map(of).collect();
    TaskReport { outputs, inputs: input_digest(&task.inputs), ..TaskReport::default() }
}

fn run(maps: u32, reduces: u32) -> Sent {
    let mut spec = support::spec(1, Path::new("/in"), Path::new("/out"));
    for output in &mut spec.plan.stages[0].outputs {
        if let Output::Edge { partitions, .. } = output {
            *partitions = Partitions::Count(reduces);
        }
    }
    let mut scheduler = Scheduler::new(Config::default(), Epoch(1));
    let mut inbox = VecDeque::new();
    let mut now = 0;
    let mut step = |event| {
        now += 1;
        scheduler.step(Time(now / 100), event)
    };
    for n in 0..WORKERS {
        inbox.extend(step(Event::WorkerJoined { node: node(n), held: Vec::new(), left: Vec::new() }));
    }
    inbox.extend(step(Event::Submitted { spec: Box::new(spec), unix_ms: 0 }));
    let (mut sent, mut ended) = (Sent::default(), false);
    let mut sessions: BTreeMap<WorkerId, SentTables> = BTreeMap::new();
    while let Some(action) = inbox.pop_front() {
        let event = match action {
            Action::PlanJob { job } => {
                let chunks = (0..maps).map(|part| Chunk { part, ..Chunk::default() }).collect();
                let stages = vec![StageChunks { stage: StageId(0), chunks }];
                Event::Planned { job, input_bytes: 1, stages }
            }
            Action::Assign { worker, task, tables } => {
                for lacking in sessions.entry(worker).or_default().take_lacking(&tables, 0) {
                    sent.tables += table_to_bytes(&lacking.table).len() as u64;
                    sent.tables_sent += 1;
                }
                let report = report(&task);
                match task.attempt.task.stage {
                    StageId(0) => sent.reports += v1::TaskReport::from(report.clone()).encoded_len() as u64,
                    _ => sent.assignments += v1::Task::from((*task).clone()).encoded_len() as u64,
                }
                Event::AttemptDone { worker, attempt: task.attempt, report }
            }
            Action::Grant { worker, attempt } => Event::Published { worker, attempt },
            Action::CommitJob { job, .. } => Event::Committed { job },
            Action::JobEnded { status, .. } => {
                ended = status.state == JobState::Done;
                continue;
            }
            _ => continue,
        };
        inbox.extend(step(event));
    }
    assert!(ended);
    sent
}

#[test]
fn bytes_of_a_shuffle_are_linear_in_its_tasks() {
    println!("{:>7} {:>8} {:>12} {:>12} {:>12}", "maps", "reduces", "reports", "assignments", "tables");
    for maps in [100, 1_000, 10_000] {
        for reduces in [100, 1_000, 10_000] {
            let sent = run(maps, reduces);
            println!("{maps:>7} {reduces:>8} {:>12} {:>12} {:>12}", sent.reports, sent.assignments, sent.tables);
            let (maps, reduces) = (u64::from(maps), u64::from(reduces));
            assert!(sent.tables_sent <= u64::from(WORKERS), "one table for each worker: {sent:?}");
            assert!(sent.tables <= sent.tables_sent * (3 * maps + 1_500), "{sent:?}");
            assert!(sent.assignments <= 300 * reduces, "{sent:?}");
            assert!(sent.reports <= 1_200 * maps, "{sent:?}");
        }
    }
}
