//! A plan as text.

use std::fmt::Write;
use windrow_model::{Escape, Input, Order, Output, Partitioner, Partitions, Plan};

/// One paragraph for each stage: its operations, inputs and outputs.
pub(crate) fn explain(plan: &Plan) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    for (i, stage) in plan.stages.iter().enumerate() {
        let _ = writeln!(text, "stage {i}: {}   ({})", stage.label.escaped(), stage.place.escaped());
        for input in &stage.inputs {
            let _ = match input {
                Input::Source(s) => writeln!(
                    text,
                    "    reads {}{} {}",
                    if s.sample { "windows of " } else { "" },
                    s.inputs.iter().map(|input| input.escaped().to_string()).collect::<Vec<_>>().join(" "),
                    s.framing.phrase()
                ),
                Input::Edge { from } => {
                    let from: Vec<String> = from.iter().map(|p| format!("stage {}", p.stage)).collect();
                    writeln!(text, "    reads its partition of {}", from.join(", "))
                }
                Input::Broadcast { from } => writeln!(text, "    reads all of stage {} (broadcast)", from.stage),
            };
        }
        for output in &stage.outputs {
            let _ = match output {
                Output::Edge { partitions, partitioner, order, combined } => writeln!(
                    text,
                    "    {}{}{}, {}",
                    partitioned(*partitioner),
                    match order {
                        Order::Key => ", by key",
                        Order::Arrival => ", by arrival",
                    },
                    if *combined { ", combined" } else { "" },
                    match partitions {
                        Partitions::Auto => "default partitions".to_string(),
                        Partitions::Count(n) => format!("{n} partitions"),
                    }
                ),
                Output::Broadcast => writeln!(text, "    broadcasts"),
                Output::Sink { sink } => {
                    let sink = &plan.sinks[*sink as usize];
                    writeln!(text, "    writes {} to {}", sink.format.escaped(), sink.path.escaped())
                }
            };
        }
    }
    for collect in &plan.collects {
        let _ = writeln!(text, "collects `{}` from stage {}", collect.name.escaped(), collect.from.stage);
    }
    let _ = writeln!(text, "fingerprint {}", plan.fingerprint);
    text
}

fn partitioned(by: Partitioner) -> &'static str {
    match by {
        Partitioner::Hash => "shuffles by hash",
        Partitioner::Range => "shuffles by key ranges",
        Partitioner::Same => "shuffles in place",
        Partitioner::InputPart => "shuffles by input part",
        Partitioner::InputFile => "keeps the partitions of its files (no shuffle)",
    }
}
