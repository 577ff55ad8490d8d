//! The end of a stage that feeds another stage: writes records into an edge's shuffle file.

use crate::data::datum::{Datum, Key};
use crate::data::emitter::Push;
use crate::plan::chain::{Branch, Chain};
use crate::plan::demand::{Demand, Shuffled};
use crate::plan::records::{Pairs, Records};
use crate::task::context::TaskCx;
use crate::task::failure::TaskResult;
use crate::task::written::Written;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;
use windrow_engine::{EngineError, Partitioning, PlainEdge};
use windrow_model::{Input, Order, Output, Partitioner, Partitions, Port};

/// The layout of one collection for its reader.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub partitions: Partitions,
    pub partitioner: Partitioner,
    pub order: Order,
}

/// Buffers for a key and a value on their way into an edge.
#[derive(Default)]
pub(crate) struct Scratch {
    pub key: Vec<u8>,
    pub value: Vec<u8>,
}

/// Pushes records into an edge in the encoding of `write`.
struct EdgeSink<'c, 't, R, W> {
    edge: PlainEdge,
    write: &'c W,
    scratch: Scratch,
    cx: &'c TaskCx<'t>,
    emitted: u64,
    types: PhantomData<fn(R)>,
}

impl<R: Datum, W> Push<R> for EdgeSink<'_, '_, R, W>
where
    W: Fn(&mut PlainEdge, R::Ref<'_>, &mut Scratch) -> Result<(), EngineError>,
{
    #[inline]
    fn push(&mut self, r: R::Ref<'_>) {
        self.emitted += 1;
        if let Err(e) = (self.write)(&mut self.edge, r, &mut self.scratch) {
            self.cx.fail(e);
        }
    }
}

/// The partition of a task's records, for partitioners that look at the key only.
pub(crate) fn partitioning(cx: &TaskCx<'_>, partitioner: Partitioner, partitions: u32) -> Partitioning {
    match partitioner {
        Partitioner::Same => Partitioning::Fixed(cx.task.attempt.task.index),
        Partitioner::InputPart => Partitioning::Fixed(cx.chunk().map_or(0, |c| c.part)),
        Partitioner::InputFile => {
            let part = cx.chunk().map_or(0, |c| c.part);
            cx.expect_part(part, partitions);
            Partitioning::Fixed(part)
        }
        // `sort` makes a range partitioner from a sample and does not call this.
        Partitioner::Hash | Partitioner::Range => Partitioning::Hash(partitions),
    }
}

/// Runs a chain into the edge that is output `output` of the task.
pub(crate) fn run_into_edge<R: Datum, W>(
    cx: &TaskCx<'_>,
    chain: &dyn Chain<R>,
    output: usize,
    partitioning: impl FnOnce(u32) -> Partitioning,
    write: &W,
) -> TaskResult<Written>
where
    W: Fn(&mut PlainEdge, R::Ref<'_>, &mut Scratch) -> Result<(), EngineError>,
{
    let edge = PlainEdge::new(cx.edge(output, partitioning));
    let types = PhantomData::<fn(R)>;
    let mut sink = EdgeSink { edge, write, scratch: Scratch::default(), cx, emitted: 0, types };
    chain.run(cx, &mut sink)?;
    cx.outcome()?;
    Ok(cx.emitted(sink.emitted, sink.edge.finish()?))
}

/// Adds, for every branch, a stage that writes its records into an edge of this layout.
pub(crate) fn edge_stages<R: Datum, W>(
    records: &Records<R>,
    op: &str,
    at: &Location<'_>,
    layout: impl Fn(&Branch<R>) -> Layout,
    write: W,
) -> Shuffled
where
    W: Fn(&mut PlainEdge, R::Ref<'_>, &mut Scratch) -> Result<(), EngineError> + Send + Sync + 'static,
{
    edge_stages_by(records, op, at, layout, move |cx, chain, partitioner| {
        run_into_edge(cx, chain, 0, |n| self::partitioning(cx, partitioner, n), &write)
    })
}

/// The same, with the function that runs a chain into the edge of a task.
pub(crate) fn edge_stages_by<R: Datum>(
    records: &Records<R>,
    op: &str,
    at: &Location<'_>,
    layout: impl Fn(&Branch<R>) -> Layout,
    run: impl Fn(&TaskCx<'_>, &dyn Chain<R>, Partitioner) -> TaskResult<Written> + Send + Sync + 'static,
) -> Shuffled {
    let run = Arc::new(run);
    let demand = Demand::new(records.branches.iter().flat_map(|b| b.demands.clone()).collect());
    let add = |branch: &Branch<R>| {
        let Layout { partitions, partitioner, order } = layout(branch);
        let (chain, run, demand) = (branch.chain.clone(), run.clone(), demand.clone());
        let output = Output::Edge { partitions, partitioner, order, combined: false };
        let stage = records.flow.add_stage(branch, op, at, vec![], vec![output], move |cx| {
            if !demand.is_ordered() {
                cx.take_any_order();
            }
            Ok(vec![run(cx, &*chain, partitioner)?])
        });
        Port { stage, output: 0 }
    };
    let ports = records.branches.iter().map(add).collect();
    Shuffled::new(ports, demand)
}

/// Encodes a pair: the value's bytes after the key's.
#[inline]
pub(crate) fn write_pair<K: Datum, V: Datum>(
    edge: &mut PlainEdge,
    (k, v): (K::Ref<'_>, V::Ref<'_>),
    scratch: &mut Scratch,
) -> Result<(), EngineError> {
    let Scratch { key, value } = scratch;
    K::with_bytes(k, key, |k| V::with_bytes(v, value, |v| edge.push(k, v)))
}

/// Encodes a record without a key.
#[inline]
pub(crate) fn write_record<R: Datum>(
    edge: &mut PlainEdge,
    r: R::Ref<'_>,
    scratch: &mut Scratch,
) -> Result<(), EngineError> {
    R::with_bytes(r, &mut scratch.value, |v| edge.push(&[], v))
}

/// The ports of these pairs, partitioned by the hash of their keys. They are shuffled unless they already are
/// partitioned so; then they are only written in place. Made once per collection and number of partitions.
pub(crate) fn keyed_ports<K: Key, V: Datum>(
    pairs: &Pairs<K, V>,
    partitions: Partitions,
    op: &str,
    at: &Location<'_>,
) -> Shuffled {
    let in_place = pairs.keyed == Some(partitions);
    pairs.flow.shared_edge(pairs.node, format!("keyed {partitions:?}"), || {
        let direct: Option<Vec<Port>> =
            pairs.branches.iter().map(|b| b.direct.clone()).collect::<Option<Vec<_>>>().map(|p| p.concat());
        match direct {
            Some(ports) if in_place => {
                let demands = pairs.branches.iter().flat_map(|b| b.demands.clone()).collect();
                Shuffled::new(ports, Demand::new(demands))
            }
            _ => {
                let layout = |branch: &Branch<_>| {
                    let there = branch.lies_in().filter(|_| in_place);
                    let partitioner = there.map_or(Partitioner::Hash, |(_, partitioner)| partitioner);
                    Layout { partitions, partitioner, order: Order::Key }
                };
                edge_stages(pairs, op, at, layout, write_pair::<K, V>)
            }
        }
    })
}

/// A branch that reads these ports; the order of its records depends on the edges of these demands.
pub(crate) fn reading<R: Datum>(
    ports: Vec<Vec<Port>>,
    partitions: Partitions,
    label: &str,
    direct: bool,
    demands: Vec<Arc<Demand>>,
    chain: Arc<dyn Chain<R>>,
) -> Branch<R> {
    Branch {
        direct: direct.then(|| ports.concat()),
        inputs: ports.into_iter().map(|from| Input::Edge { from }).collect(),
        chain,
        label: label.to_string(),
        partitions: Some(partitions),
        files: None,
        deterministic: true,
        has_places: true,
        demands,
        broadcasts: Vec::new(),
        is_alternative: false,
    }
}
