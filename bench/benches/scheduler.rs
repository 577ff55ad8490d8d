//! The scheduler alone: events per second of a whole job with a hundred thousand tasks on a hundred workers. Making
//! reports and taking actions is not counted.

mod support;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use support::{map_reduce, report};
use windrow_model::*;
use windrow_scheduler::{Action, Config, Event, Scheduler, StageChunks};

const MAPS: u32 = 99_000;
const REDUCES: u32 = 1_000;

/// Segments of each map; their number is not what is measured.
const SEGMENTS: u32 = 3;

fn plan() -> Plan {
    let sink = SinkSpec {
        path: "/out".into(),
        format: "tsv".into(),
        suffix: String::new(),
        framing: Framing::Whole,
        overwrite: false,
    };
    map_reduce("/in", REDUCES, Output::Sink { sink: 0 }, vec![sink], vec![])
}

/// Runs one job; returns the number of events and the time that they took.
fn run() -> (u64, Duration) {
    let mut scheduler = Scheduler::new(Config::default(), Epoch(1));
    let mut inbox = VecDeque::new();
    let (mut events, mut took) = (0u64, Duration::ZERO);
    let mut step = |event: Event| {
        events += 1;
        let begun = Instant::now();
        let actions = scheduler.step(Time(events / 1000), event);
        took += begun.elapsed();
        actions
    };
    for n in 0..100u8 {
        let node = NodeInfo {
            worker: WorkerId::from_bytes([n; 16]),
            incarnation: Incarnation(1),
            address: "http://127.0.0.1:1".into(),
            host: "h".into(),
            slots: 8,
            memory_bytes: 1 << 30,
            version: "0".into(),
            home: None,
        };
        inbox.extend(step(Event::WorkerJoined { node, held: Vec::new(), left: Vec::new() }));
    }
    let spec = JobSpec {
        id: JobId::from_bytes([1; 16]),
        name: "n".into(),
        program: "P".into(),
        params: "{}".into(),
        plan: plan(),
        binary: Digest([1; 32]),
        options: JobOptions::default(),
    };
    inbox.extend(step(Event::Submitted { spec: Box::new(spec), unix_ms: 0 }));
    while let Some(action) = inbox.pop_front() {
        let event = match action {
            Action::PlanJob { job } => {
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
                    ..Chunk::default()
                };
                let chunks = StageChunks { stage: StageId(0), chunks: (0..MAPS).map(chunk).collect() };
                Event::Planned { job, input_bytes: 1, stages: vec![chunks] }
            }
            Action::Assign { worker, task, .. } => {
                Event::AttemptDone { worker, attempt: task.attempt, report: report(&task, SEGMENTS) }
            }
            Action::Grant { worker, attempt } => Event::Published { worker, attempt },
            Action::CommitJob { job, .. } => Event::Committed { job },
            Action::Published { .. }
            | Action::SetAside { .. }
            | Action::Charged { .. }
            | Action::WorkerChanged { .. }
            | Action::Uncharged { .. }
            | Action::Revoke { .. }
            | Action::JobEnded { .. } => {
                continue;
            }
        };
        inbox.extend(step(event));
    }
    (events, took)
}

fn events(c: &mut Criterion) {
    let (count, _) = run();
    let mut group = c.benchmark_group("scheduler");
    group.throughput(Throughput::Elements(count)).sample_size(10);
    group.bench_function(format!("{} tasks, events", MAPS + REDUCES), |b| {
        b.iter_custom(|times| (0..times).map(|_| run().1).sum());
    });
}

criterion_group!(benches, events);
criterion_main!(benches);
