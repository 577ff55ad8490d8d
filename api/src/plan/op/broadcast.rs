//! `broadcast` and `broadcast_as`: a few records as a value for later functions.

use super::collect::{blob, records_of};
use super::gather::{Needs, gathered};
use crate::data::arena::Arena;
use crate::data::datum::{Datum, Reader};
use crate::plan::broadcast::{BYTES_MAX, Broadcast};
use crate::plan::flow::place;
use crate::plan::records::Records;
use crate::task::culprit::Op;
use windrow_model::{Code, Failure, Output, Partitions, Port};

impl<R: Datum + Sync> Records<R> {
    /// These records as a value for the functions of later operations, which capture a clone of the handle: `get` returns
    /// the only record, as of `count` or `combine_all`, and `all` a slice of any number of them. At most 1 MiB of encoded
    /// records; more fails with `BROADCAST_TOO_LARGE`.
    ///
    /// The stages of later functions that capture something wait for the value. So call `broadcast` right before the
    /// operations that read it. Sources and sinks cannot read it.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// fn except(words: &Records<String>, stop: &Records<String>) -> Records<String> {
    ///     let stop = stop.distinct().broadcast();
    ///     words.filter(move |word| stop.all().iter().all(|s| s != word))
    /// }
    /// # let got = windrow::testing::run(["a", "+b", "b"], |lines| {
    /// #     except(&lines, &lines.map(|l, out| out.extend(l.strip_prefix('+'))))
    /// # });
    /// # assert_eq!(got.unwrap(), ["a", "+b"]);
    /// ```
    #[track_caller]
    pub fn broadcast(&self) -> Broadcast<R> {
        let op = Op::here("broadcast");
        published(self, op, Broadcast::new(made_by(op), decoded::<R>))
    }
}

impl<R: Datum> Records<R> {
    /// The same, with a value that `make` makes from all records, once in each process: a map to look keys up in, a set, a
    /// model.
    ///
    /// ```
    /// use std::collections::HashMap;
    /// use windrow::prelude::*;
    /// /// The cents of each item, by a small table of prices.
    /// fn priced(items: &Records<String>, prices: &Pairs<String, u64>) -> Pairs<String, u64> {
    ///     let prices = prices.broadcast_as(|prices| prices.into_iter().collect::<HashMap<_, _>>());
    ///     items.map(move |item, out| out.extend(prices.get().get(item).map(|cents| (item, *cents))))
    /// }
    /// # let got = windrow::testing::run(["a", "b", "c"], |lines| {
    /// #     priced(&lines, &lines.filter(|l| l < "c").map(|l, out| out.emit(l, l.len())))
    /// # });
    /// # assert_eq!(got.unwrap(), [("a".to_string(), 1), ("b".to_string(), 1)]);
    /// ```
    #[track_caller]
    pub fn broadcast_as<T: Send + Sync + 'static>(
        &self,
        make: impl Fn(Vec<R>) -> T + Send + Sync + 'static,
    ) -> Broadcast<T> {
        let op = Op::here("broadcast_as");
        published(self, op, Broadcast::new(made_by(op), move |bytes| vec![make(decoded::<R>(bytes))]))
    }
}

fn made_by(op: Op) -> String {
    format!("`{}` at {}", op.name, place(op.at))
}

/// Adds the stage that makes the value.
fn published<R: Datum, T: Send + Sync + 'static>(records: &Records<R>, op: Op, handle: Broadcast<T>) -> Broadcast<T> {
    // One task has all records, so one task knows whether there are too many.
    let records = match &records.branches[..] {
        [branch] if branch.partitions == Some(Partitions::Count(1)) => records.clone(),
        _ => gathered(records, op, Needs::Order, u64::MAX),
    };
    for branch in records.branches.iter() {
        branch.need_order();
        let chain = branch.chain.clone();
        let stage = records.flow.add_stage(branch, op.name, op.at, vec![], vec![Output::Broadcast], move |cx| {
            Ok(vec![blob(cx, BYTES_MAX, too_large, |push| chain.run(cx, push))?])
        });
        records.flow.add_broadcast(handle.bound(Port { stage, output: 0 }));
    }
    handle
}

fn too_large() -> Failure {
    Failure::new(Code::BroadcastTooLarge, format!("the records of a broadcast take more than {BYTES_MAX} bytes"))
}

/// The records in a blob.
///
/// # Panics
/// The blob holds something else, which the plan's fingerprint and the connection's checksums exclude.
fn decoded<R: Datum>(blob: &[u8]) -> Vec<R> {
    let arena = Arena::new();
    let record = |bytes: &[u8]| match R::decode::<true>(&mut Reader::new(bytes, &arena)) {
        Ok(record) => R::to_owned(record),
        Err(e) => panic!("a broadcast record does not decode: {e}"),
    };
    records_of(blob).map(record).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::combiner::Sum;
    use crate::plan::flow::Flow;
    use crate::source::lines;
    use std::path::PathBuf;
    use windrow_model::{Input, Plan};

    /// For each stage, the stages whose broadcasts it reads.
    fn broadcasts(plan: &Plan) -> Vec<Vec<u32>> {
        let of = |input: &Input| match input {
            Input::Broadcast { from } => Some(from.stage.0),
            _ => None,
        };
        plan.stages.iter().map(|stage| stage.inputs.iter().filter_map(of).collect()).collect()
    }

    fn plan(make: impl FnOnce(&Records<String>)) -> Result<Plan, crate::error::Error> {
        let flow = Flow::new(PathBuf::from("/"), false, None);
        make(&flow.read(lines("in")));
        flow.build().map(|built| built.plan)
    }

    #[test]
    fn stages_of_functions_that_capture_depend_on_broadcasts() {
        let plan = plan(|lines| {
            let limit = 3;
            let early = lines.filter(move |line| line.len() > limit);
            // The stages 0 and 1.
            let total = lines.count().broadcast();
            // Added before the value, and without a capture after it: 2.
            let counted = early.map(|line, out| out.emit(line, 1u64)).combine(Sum);
            // On both sides of a shuffle by a combiner that captures: 3 and 4.
            let also = total.clone();
            let scaled = counted.combine(crate::combiner::Max.of(move |n: u64| n * *also.get()));
            scaled.keys().collect("keys");
            // 5
            counted.map(move |(word, n), out| out.emit(word, n / *total.get())).collect("shares");
        });
        assert_eq!(broadcasts(&plan.unwrap()), [vec![], vec![], vec![], vec![1], vec![1], vec![1]]);
    }

    #[test]
    fn stage_depends_on_few_broadcasts() {
        let plan = |n: usize| {
            plan(|lines| {
                let count = lines.count();
                let handles: Vec<_> = (0..n).map(|_| count.broadcast()).collect();
                lines.map(move |_, out| out.push(handles.len())).collect("n");
            })
        };
        assert_eq!(broadcasts(&plan(32).unwrap()).last().unwrap().len(), 32);
        let error = plan(33).err().unwrap();
        assert_eq!(error.code(), Code::PlanInvalid);
        assert!(error.failure().message.contains("33 broadcasts"), "{error}");
    }
}
