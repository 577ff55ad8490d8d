//! Random plans for the simulated cluster, and the outputs of their tasks.

use crate::dice::Dice;
use crate::samples::*;
use windrow_model::*;

/// Chains, joins, unions, broadcasts, sinks and collects over edges of one or two partition counts.
pub(crate) fn random_plan(dice: &mut Dice, fickle: bool, scale: u32) -> (Plan, Vec<u32>) {
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
            chunk_counts.push(dice.below(6) as u32 * scale);
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
pub(crate) fn writes(stage: StageId, index: u32, output: u32, partition: u32) -> bool {
    !(stage.0 * 7 + index * 5 + output * 3 + partition).is_multiple_of(4)
}

/// The report of a finished attempt, and a number that stands for its output. Both follow from what the task has read, unless it is
/// `fickle`: then each attempt has another output.
pub(crate) fn sparse_report(task: &Task, fickle: bool) -> (TaskReport, u64) {
    let mut full = report(task);
    let AttemptId { task: id, number, epoch, incarnation } = task.attempt;
    let mut made = Dice(full.inputs ^ u64::from(id.stage.0 << 16 | id.index)).next();
    if fickle {
        made = Dice(made ^ u64::from(number) ^ epoch.0 << 20 ^ incarnation.0 << 40).next();
    }
    for (o, (report, output)) in (0u32..).zip(full.outputs.iter_mut().zip(&task.outputs)) {
        if let TaskOutput::Edge { partitions } = output {
            let written = (0..*partitions).filter(|p| writes(id.stage, id.index, o, *p));
            let segments = written.map(|p| Segment { digest: made as u32 ^ o << 8 ^ p, ..segment(p) });
            *report = edge_report(segments, *partitions);
        }
    }
    (full, made)
}
