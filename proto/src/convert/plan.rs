//! Plans: converts every field, then checks the graph with `Plan::check`.

use super::{
    ConvertError, LIST_ITEMS_MAX, NAME_BYTES_MAX, PATH_BYTES_MAX, PLAN_ITEMS_MAX, list, required, text, wire_list,
};
use crate::v1;
use windrow_model::{
    Collect, Framing, Input, Order, Output, Partitioner, Partitions, Plan, Side, SinkSpec, SourceSpec, Stage,
};

/// Bytes of what every status of the job repeats. Each client that watches is sent all of it with each change.
const SHOWN_BYTES_MAX: usize = 2 << 20;

impl TryFrom<v1::Plan> for Plan {
    type Error = ConvertError;
    fn try_from(w: v1::Plan) -> Result<Self, ConvertError> {
        let plan = Plan {
            stages: list(w.stages, "plan.stages", PLAN_ITEMS_MAX)?,
            sinks: list(w.sinks, "plan.sinks", PLAN_ITEMS_MAX)?,
            collects: list(w.collects, "plan.collects", PLAN_ITEMS_MAX)?,
            sides: list(w.sides, "plan.sides", PLAN_ITEMS_MAX)?,
            fingerprint: required(w.fingerprint, "plan.fingerprint")?.try_into()?,
        };
        let shown = plan.stages.iter().map(|s| &s.label).chain(plan.sinks.iter().map(|s| &s.path));
        let shown: usize = shown.chain(plan.collects.iter().map(|c| &c.name)).map(String::len).sum();
        if shown > SHOWN_BYTES_MAX {
            return Err(ConvertError::invalid("plan", format!("has {shown} bytes of labels, names and outputs")));
        }
        plan.check()?;
        Ok(plan)
    }
}
impl From<Plan> for v1::Plan {
    fn from(d: Plan) -> Self {
        v1::Plan {
            stages: wire_list(d.stages),
            sinks: wire_list(d.sinks),
            collects: wire_list(d.collects),
            sides: wire_list(d.sides),
            fingerprint: Some(d.fingerprint.into()),
        }
    }
}

impl TryFrom<v1::Stage> for Stage {
    type Error = ConvertError;
    fn try_from(w: v1::Stage) -> Result<Self, ConvertError> {
        Ok(Stage {
            label: text(w.label, "stage.label", NAME_BYTES_MAX)?,
            place: text(w.place, "stage.place", NAME_BYTES_MAX)?,
            inputs: list(w.inputs, "stage.inputs", PLAN_ITEMS_MAX)?,
            outputs: list(w.outputs, "stage.outputs", PLAN_ITEMS_MAX)?,
            deterministic: w.deterministic,
        })
    }
}
impl From<Stage> for v1::Stage {
    fn from(d: Stage) -> Self {
        v1::Stage {
            label: d.label,
            place: d.place,
            inputs: wire_list(d.inputs),
            outputs: wire_list(d.outputs),
            deterministic: d.deterministic,
        }
    }
}

impl TryFrom<v1::Input> for Input {
    type Error = ConvertError;
    fn try_from(w: v1::Input) -> Result<Self, ConvertError> {
        use v1::input::Kind;
        Ok(match required(w.kind, "input")? {
            Kind::Source(s) => Input::Source(s.try_into()?),
            Kind::Edge(e) => Input::Edge { from: list(e.from, "edge.from", PLAN_ITEMS_MAX)? },
            Kind::Broadcast(p) => Input::Broadcast { from: p.try_into()? },
        })
    }
}
impl From<Input> for v1::Input {
    fn from(d: Input) -> Self {
        use v1::input::Kind;
        let kind = match d {
            Input::Source(s) => Kind::Source(s.into()),
            Input::Edge { from } => Kind::Edge(v1::EdgeInput { from: wire_list(from) }),
            Input::Broadcast { from } => Kind::Broadcast(from.into()),
        };
        v1::Input { kind: Some(kind) }
    }
}

impl TryFrom<v1::Source> for SourceSpec {
    type Error = ConvertError;
    fn try_from(w: v1::Source) -> Result<Self, ConvertError> {
        if w.inputs.len() > LIST_ITEMS_MAX {
            return Err(ConvertError::invalid("source.inputs", format!("has {} items", w.inputs.len())));
        }
        let inputs = w.inputs.into_iter().map(|i| text(i, "source.inputs", PATH_BYTES_MAX));
        Ok(SourceSpec {
            inputs: inputs.collect::<Result<_, _>>()?,
            framing: required(w.framing, "source.framing")?.try_into()?,
            header: w.header,
            sample: w.sample,
            as_is: w.as_is,
        })
    }
}
impl From<SourceSpec> for v1::Source {
    fn from(d: SourceSpec) -> Self {
        let SourceSpec { inputs, framing, header, sample, as_is } = d;
        v1::Source { inputs, framing: Some(framing.into()), header, sample, as_is }
    }
}

impl TryFrom<v1::Framing> for Framing {
    type Error = ConvertError;
    fn try_from(w: v1::Framing) -> Result<Self, ConvertError> {
        use v1::framing::Kind;
        Ok(match required(w.kind, "framing")? {
            Kind::Delimiter(b) => Framing::Delimiter(
                b.try_into().map_err(|_| ConvertError::invalid("framing.delimiter", format!("is {b}, not a byte")))?,
            ),
            Kind::Fixed(0) => return Err(ConvertError::invalid("framing.fixed", "is zero")),
            Kind::Fixed(n) => Framing::Fixed(n),
            Kind::Whole(_) => Framing::Whole,
        })
    }
}
impl From<Framing> for v1::Framing {
    fn from(d: Framing) -> Self {
        use v1::framing::Kind;
        let kind = match d {
            Framing::Delimiter(b) => Kind::Delimiter(b.into()),
            Framing::Fixed(n) => Kind::Fixed(n),
            Framing::Whole => Kind::Whole(v1::Empty {}),
        };
        v1::Framing { kind: Some(kind) }
    }
}

impl TryFrom<v1::Output> for Output {
    type Error = ConvertError;
    fn try_from(w: v1::Output) -> Result<Self, ConvertError> {
        use v1::output::Kind;
        Ok(match required(w.kind, "output")? {
            Kind::Edge(e) => Output::Edge {
                partitioner: partitioner(e.partitioner())?,
                order: order(e.order())?,
                partitions: match e.partitions {
                    0 => Partitions::Auto,
                    n => Partitions::Count(n),
                },
                combined: e.combined,
            },
            Kind::Broadcast(_) => Output::Broadcast,
            Kind::Sink(sink) => Output::Sink { sink },
        })
    }
}
impl From<Output> for v1::Output {
    fn from(d: Output) -> Self {
        use v1::output::Kind;
        let kind = match d {
            Output::Edge { partitions, partitioner, order, combined } => {
                let mut edge = v1::EdgeOutput { combined, ..Default::default() };
                edge.partitions = match partitions {
                    Partitions::Auto => 0,
                    Partitions::Count(n) => n,
                };
                edge.set_partitioner(match partitioner {
                    Partitioner::Hash => v1::Partitioner::Hash,
                    Partitioner::Range => v1::Partitioner::Range,
                    Partitioner::Same => v1::Partitioner::Same,
                    Partitioner::InputPart => v1::Partitioner::InputPart,
                    Partitioner::InputFile => v1::Partitioner::InputFile,
                });
                edge.set_order(match order {
                    Order::Key => v1::Order::Key,
                    Order::Arrival => v1::Order::Arrival,
                });
                Kind::Edge(edge)
            }
            Output::Broadcast => Kind::Broadcast(v1::Empty {}),
            Output::Sink { sink } => Kind::Sink(sink),
        };
        v1::Output { kind: Some(kind) }
    }
}

// prost decodes an unknown number as the default, `Unspecified`; both are refused here.
fn partitioner(w: v1::Partitioner) -> Result<Partitioner, ConvertError> {
    Ok(match w {
        v1::Partitioner::Hash => Partitioner::Hash,
        v1::Partitioner::Range => Partitioner::Range,
        v1::Partitioner::Same => Partitioner::Same,
        v1::Partitioner::InputPart => Partitioner::InputPart,
        v1::Partitioner::InputFile => Partitioner::InputFile,
        v1::Partitioner::Unspecified => {
            return Err(ConvertError::invalid("edge.partitioner", "is unknown"));
        }
    })
}
fn order(w: v1::Order) -> Result<Order, ConvertError> {
    Ok(match w {
        v1::Order::Key => Order::Key,
        v1::Order::Arrival => Order::Arrival,
        v1::Order::Unspecified => {
            return Err(ConvertError::invalid("edge.order", "is not known here"));
        }
    })
}

impl TryFrom<v1::Sink> for SinkSpec {
    type Error = ConvertError;
    fn try_from(w: v1::Sink) -> Result<Self, ConvertError> {
        if w.path.is_empty() {
            return Err(ConvertError::Missing("sink.path"));
        }
        let suffix = text(w.suffix, "sink.suffix", 64)?;
        if suffix.contains(['/', '\0']) {
            return Err(ConvertError::invalid("sink.suffix", "is not part of a file name"));
        }
        Ok(SinkSpec {
            path: text(w.path, "sink.path", PATH_BYTES_MAX)?,
            format: text(w.format, "sink.format", 64)?,
            suffix,
            framing: required(w.framing, "sink.framing")?.try_into()?,
            overwrite: w.overwrite,
        })
    }
}
impl From<SinkSpec> for v1::Sink {
    fn from(d: SinkSpec) -> Self {
        v1::Sink {
            path: d.path,
            format: d.format,
            suffix: d.suffix,
            overwrite: d.overwrite,
            framing: Some(d.framing.into()),
        }
    }
}

impl TryFrom<v1::Collect> for Collect {
    type Error = ConvertError;
    fn try_from(w: v1::Collect) -> Result<Self, ConvertError> {
        Ok(Collect {
            name: text(w.name, "collect.name", NAME_BYTES_MAX)?,
            from: required(w.from, "collect.from")?.try_into()?,
        })
    }
}
impl From<Collect> for v1::Collect {
    fn from(d: Collect) -> Self {
        v1::Collect { name: d.name, from: Some(d.from.into()) }
    }
}

impl TryFrom<v1::Side> for Side {
    type Error = ConvertError;
    fn try_from(w: v1::Side) -> Result<Self, ConvertError> {
        Ok(Side { digest: required(w.digest, "side.digest")?.try_into()?, length: w.length })
    }
}
impl From<Side> for v1::Side {
    fn from(d: Side) -> Self {
        v1::Side { digest: Some(d.digest.into()), length: d.length }
    }
}
