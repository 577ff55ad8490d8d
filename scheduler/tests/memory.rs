//! Memory of a large shuffle. A process of its own, since it measures the whole process.

mod support;
use support::*;
use windrow_model::*;
use windrow_scheduler::{Action, Config, Event, Scheduler};

const MAPS: u32 = 100_000;
const REDUCES: u32 = 10_000;
const MEMORY_MAX: u64 = 200 << 20;

/// Bytes of the process in memory, the most so far.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a kernel with /proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it has the size");
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kilobytes << 10
}

/// Every map writes to every partition.
fn full(task: &Task) -> TaskReport {
    let of = |output: &TaskOutput| match output {
        TaskOutput::Edge { partitions } => {
            let hints = partitions.div_ceil(SizeHints::width(*partitions)) as usize;
            let sizes = SizeHints::Dense(vec![60; hints]);
            OutputReport::Edge(EdgeReport { bytes: 10_000_000, records: 1, digest: 1, sizes })
        }
        TaskOutput::Broadcast => OutputReport::Broadcast(Vec::new()),
        TaskOutput::Sink { sink } => OutputReport::Sink(PartReport { sink: *sink, bytes: 7, records: 1, checksum: 0 }),
    };
    let outputs = task.outputs.iter().map(of).collect();
    TaskReport { outputs, inputs: input_digest(&task.inputs), ..TaskReport::default() }
}

#[test]
fn hundred_thousand_maps_and_ten_thousand_reduces_fit() {
    let before = memory();
    let mut scheduler = Scheduler::new(Config::default(), Epoch(1));
    let mut now = 0;
    let mut step = |event| {
        now += 1;
        scheduler.step(Time(now / 100), event)
    };
    let mut inbox = std::collections::VecDeque::new();
    for n in 0..200 {
        inbox.extend(step(Event::WorkerJoined { node: node(n, 8, 1), held: Vec::new(), left: Vec::new() }));
    }
    let job = spec(1, map_reduce(REDUCES), JobOptions::default());
    inbox.extend(step(Event::Submitted { spec: Box::new(job), unix_ms: 0 }));
    let (mut bytes, mut ended) = (0, None);
    while let Some(action) = inbox.pop_front() {
        let event = match action {
            Action::PlanJob { job } => Event::Planned { job, input_bytes: 1, stages: vec![chunks(0, MAPS)] },
            Action::Assign { worker, task, .. } => {
                if let TaskInput::Edge(edge) = &task.inputs[0] {
                    bytes += edge.bytes;
                }
                Event::AttemptDone { worker, attempt: task.attempt, report: full(&task) }
            }
            Action::Grant { worker, attempt } => Event::Published { worker, attempt },
            Action::CommitJob { job, .. } => Event::Committed { job },
            Action::JobEnded { status, .. } => {
                ended = Some(status);
                continue;
            }
            _ => continue,
        };
        inbox.extend(step(event));
    }
    let status = ended.expect("the job ends");
    assert_eq!((status.state, bytes), (JobState::Done, 10_000_000 * u64::from(MAPS)));
    assert_eq!(status.stages[1].bytes_done, status.stages[1].bytes_total);
    let took = memory() - before;
    println!("{} MiB", took >> 20);
    assert!(took <= MEMORY_MAX, "{took} bytes");
}
