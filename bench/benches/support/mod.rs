//! Shared parts of the benches: a plan of maps and reduces, the report of a task, and the processor time of a process.

#![allow(dead_code)] // Each bench uses its part.

use std::time::Duration;
use windrow_model::*;

/// A plan that reads lines of `input` and shuffles them to `reduces` partitions, whose tasks produce `last`.
pub fn map_reduce(input: &str, reduces: u32, last: Output, sinks: Vec<SinkSpec>, collects: Vec<Collect>) -> Plan {
    let source = SourceSpec {
        inputs: vec![input.to_string()],
        framing: Framing::Delimiter(b'\n'),
        header: false,
        sample: false,
        as_is: false,
    };
    let edge = Output::Edge {
        partitions: Partitions::Count(reduces),
        partitioner: Partitioner::Hash,
        order: Order::Key,
        combined: false,
    };
    let stage = |label: &str, input, output| Stage {
        label: label.into(),
        place: "bench.rs:1".into(),
        inputs: vec![input],
        outputs: vec![output],
        deterministic: true,
    };
    let from = vec![Port { stage: StageId(0), output: 0 }];
    Plan {
        stages: vec![stage("map", Input::Source(source), edge), stage("reduce", Input::Edge { from }, last)],
        sinks,
        collects,
        sides: vec![],
        fingerprint: Digest([0; 32]),
    }
}

/// The report of a task that took no time. A map reports `segments` segments at even distances.
pub fn report(task: &Task, segments: u32) -> TaskReport {
    let of = |output: &TaskOutput| match output {
        TaskOutput::Edge { partitions } => {
            let step = partitions / segments;
            let mut of: Vec<u32> = (0..segments).map(|i| (task.attempt.task.index + i * step) % partitions).collect();
            of.sort_unstable();
            let segment =
                |partition| Segment { partition, offset: 0, length: 10, records: 1, raw_length: 10, digest: 0 };
            let segments: Vec<Segment> = of.into_iter().map(segment).collect();
            OutputReport::Edge(EdgeReport::of(&segments, *partitions))
        }
        TaskOutput::Broadcast => OutputReport::Broadcast(vec![]),
        TaskOutput::Sink { sink } => OutputReport::Sink(PartReport { sink: *sink, bytes: 7, records: 1, checksum: 0 }),
    };
    TaskReport {
        outputs: task.outputs.iter().map(of).collect(),
        inputs: input_digest(&task.inputs),
        ..TaskReport::default()
    }
}

/// Processor time of a process, in user and system mode.
pub fn cpu(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, rest) = stat.rsplit_once(')').unwrap();
    let ticks: u64 = rest.split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().unwrap()).sum();
    // The kernel's unit in this file is a hundredth of a second on every machine.
    Duration::from_millis(ticks * 10)
}
