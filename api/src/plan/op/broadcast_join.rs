//! A join whose other side may be small: the job finds its size when it runs, and then either broadcasts it or shuffles both
//! sides.
//!
//! The stages of a plan are fixed, so both ways are in it, as the branches of a union, and one of them gives no records. A
//! first stage writes the small side into one partition; its tasks stop as soon as they have more than the limit. The task
//! of a second stage reads that partition and broadcasts either a table of all pairs, or that they are too many. Every stage
//! of both ways depends on that broadcast and looks at it before it reads anything:
//!
//! - *by table*: the chain of the large side looks its keys up;
//! - *by shuffle*: both sides are shuffled and joined as by `join`.
//!
//! A result by table comes in the order of the large side. So this way is taken only if no reader depends on the order
//! (`demand.rs`), which is known when tasks run.

use super::gather::{Needs, gathered};
use super::joined::joined;
use super::small_table::{PAIR_HEAD_BYTES, SmallTable, append_pair};
use crate::data::arena::Arena;
use crate::data::datum::{Datum, Key, Reader};
use crate::data::emitter::{Push, PushFn};
use crate::error::Error;
use crate::plan::broadcast::{BYTES_MAX, Bound, Broadcast};
use crate::plan::chain::{Branch, Chain};
use crate::plan::demand::Demand;
use crate::plan::edge_in::undecodable;
use crate::plan::flow::place;
use crate::plan::op::join_side::JoinSide;
use crate::plan::records::{Pairs, Records};
use crate::task::context::TaskCx;
use crate::task::culprit::Op;
use crate::task::failure::TaskResult;
use crate::task::written::Written;
use std::marker::PhantomData;
use std::sync::Arc;
use windrow_model::{ByteSize, Code, Output, Port};

/// The records of a join for a pair of the large side and the values of its key on the small side.
pub(super) trait Match<K: Datum, V: Datum, W: Datum, O: Datum>: 'static {
    fn each<'s>(
        k: K::Ref<'s>,
        v: V::Ref<'s>,
        values: impl Iterator<Item = TaskResult<W::Ref<'s>>>,
        sink: &mut dyn Push<(K, O)>,
    ) -> TaskResult<()>;
}

/// Joins by the chain `shuffled`, or by `M` if the other side is small.
pub(super) fn joined_with<M, K: Key, V: Datum, S: JoinSide<K>, O: Datum>(
    left: &Pairs<K, V>,
    other: &S,
    op: Op,
    shuffled: Arc<dyn Chain<(K, O)>>,
) -> Pairs<K, O>
where
    M: Match<K, V, S::Value, O>,
{
    let (right, limit) = (other.pairs(), other.broadcast_bytes_max());
    if limit > BYTES_MAX as u64 {
        let message = format!(
            "the small side of `{}` at {} has the limit {}: it may have up to {}",
            op.name,
            place(op.at),
            ByteSize(limit),
            ByteSize(BYTES_MAX as u64)
        );
        left.flow.mistaken(Error::new(Code::PlanInvalid, message));
    }
    // A large side that lies in partitions by the key is not shuffled anyway.
    if limit == 0 || left.keyed.is_some() {
        return joined(left, right, op.name, op.at, shuffled);
    }
    let order = Demand::new(left.branches.iter().flat_map(|b| b.demands.clone()).collect());
    let (chosen, bound) = choose(right, op, limit, &order);
    let by_table = left.branches.iter().map(|b| {
        let types = PhantomData::<fn(S::Value, M)>;
        let chain = LookUp { before: b.chain.clone(), chosen: chosen.clone(), types };
        let mut branch = b.then(&format!("{} by broadcast of up to {}", op.name, ByteSize(limit)), Arc::new(chain));
        branch.read(&bound);
        branch.is_alternative = true;
        branch.demands.push(order.clone());
        branch
    });
    // A side that lies in its partitions already is read there; nothing is to be left out.
    let lies_there = right.keyed.is_some() && right.branches.iter().all(|b| b.direct.is_some());
    let right = if lies_there { right.clone() } else { unless_broadcast(right, &chosen, &bound, None) };
    let by_shuffle = joined(&unless_broadcast(left, &chosen, &bound, None), &right, op.name, op.at, shuffled);
    let by_shuffle = unless_broadcast(&by_shuffle, &chosen, &bound, Some(&order));
    let branches = by_shuffle.branches.iter().cloned().chain(by_table);
    Records::new(&left.flow, branches.collect(), None)
}

/// What the job has found when tasks of the join run.
#[derive(Clone)]
struct Chosen {
    small: Broadcast<Option<SmallTable>>,
    order: Arc<Demand>,
}

impl Chosen {
    /// The table of the small side, if keys are looked up there.
    fn table(&self) -> Option<&SmallTable> {
        if self.order.is_ordered() {
            return None;
        }
        self.small.get().as_ref()
    }
}

/// Adds the stages that find out whether the pairs are few.
fn choose<K: Key, W: Datum>(right: &Pairs<K, W>, op: Op, limit: u64, order: &Arc<Demand>) -> (Chosen, Bound) {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(BYTES_MAX);
    let branches = right.branches.iter().map(|b| {
        let capped = Capped { before: b.chain.clone(), limit, order: order.clone() };
        b.then(&format!("up to {}", ByteSize(limit as u64)), Arc::new(capped))
    });
    let capped = Records::new(&right.flow, branches.collect(), None);
    // In order, so that an attempt that runs again broadcasts the same bytes.
    let all = gathered(&capped, op, Needs::Order, u64::MAX);
    let small = Broadcast::new(format!("small side of `{}` at {}", op.name, place(op.at)), |blob| {
        vec![blob.strip_prefix(&[FITS]).map(SmallTable::new)]
    });
    let chosen = Chosen { small, order: order.clone() };
    // `gathered` has one branch, of one task.
    let branch = &all.branches[0];
    let (chain, order) = (branch.chain.clone(), order.clone());
    let stage = right.flow.add_stage(branch, "broadcast if small", op.at, vec![], vec![Output::Broadcast], move |cx| {
        let blob = if order.is_ordered() { None } else { few::<K, W>(cx, &*chain, limit)? };
        Ok(vec![Written::Broadcast(blob.unwrap_or_else(|| vec![TOO_LARGE]))])
    });
    let bound = chosen.small.bound(Port { stage, output: 0 });
    (chosen, bound)
}

/// First byte of a blob that holds all pairs.
const FITS: u8 = 1;
/// First byte of a blob without them.
const TOO_LARGE: u8 = 0;

/// The pairs that a chain gives as a blob, or none if they take more than `limit`.
fn few<K: Key, W: Datum>(
    cx: &TaskCx<'_>,
    chain: &dyn Chain<Option<(K, W)>>,
    limit: usize,
) -> TaskResult<Option<Vec<u8>>> {
    let mut blob = vec![FITS];
    let mut fits = true;
    let (mut key, mut value) = (Vec::new(), Vec::new());
    let add = |pair: Option<<(K, W) as Datum>::Ref<'_>>| {
        if let (true, Some((k, w))) = (fits, pair) {
            K::with_bytes(k, &mut key, |k| W::with_bytes(w, &mut value, |w| append_pair(k, w, &mut blob)));
        }
        if fits && (pair.is_none() || blob.len() - 1 > limit) {
            fits = false;
            cx.end_early();
        }
    };
    ended_early(chain.run(cx, &mut PushFn::<Option<(K, W)>, _>::new(add)), cx)?;
    cx.outcome()?;
    Ok(fits.then_some(blob))
}

/// The result of a chain that may have ended early. A loop of the engine then has the error of a revoked attempt; if the attempt
/// was revoked, the context has that error itself.
fn ended_early(result: TaskResult<()>, cx: &TaskCx<'_>) -> TaskResult<()> {
    match result {
        Err(e) if cx.stopped() && e.failure.code == Code::StaleAttempt => Ok(()),
        result => result,
    }
}

/// The pairs of a task up to a limit, and `None` when there are more.
struct Capped<K: Key, W: Datum> {
    before: Arc<dyn Chain<(K, W)>>,
    limit: usize,
    order: Arc<Demand>,
}

impl<K: Key, W: Datum> Chain<Option<(K, W)>> for Capped<K, W> {
    fn run(&self, cx: &TaskCx<'_>, sink: &mut dyn Push<Option<(K, W)>>) -> TaskResult<()> {
        if self.order.is_ordered() {
            return Ok(());
        }
        let (mut bytes, mut scratch) = (0, Vec::new());
        let push = |(k, w): <(K, W) as Datum>::Ref<'_>| {
            if bytes > self.limit {
                return;
            }
            let key = K::with_bytes(k, &mut scratch, <[u8]>::len);
            bytes += PAIR_HEAD_BYTES + key + W::with_bytes(w, &mut scratch, <[u8]>::len);
            match bytes > self.limit {
                true => {
                    sink.push(None);
                    cx.end_early();
                }
                false => sink.push(Some((k, w))),
            }
        };
        ended_early(self.before.run(cx, &mut PushFn::<(K, W), _>::new(push)), cx)
    }
}

/// The same records, unless keys are looked up in a broadcast table: then nothing is read, and there are none.
fn unless_broadcast<R: Datum>(
    records: &Records<R>,
    chosen: &Chosen,
    bound: &Bound,
    order: Option<&Arc<Demand>>,
) -> Records<R> {
    let branches = records.branches.iter().map(|b| {
        let chain = Unless { before: b.chain.clone(), chosen: chosen.clone() };
        let mut branch: Branch<R> = b.then("unless by broadcast", Arc::new(chain));
        branch.read(bound);
        branch.demands.extend(order.cloned());
        branch
    });
    Records::new(&records.flow, branches.collect(), records.keyed)
}

struct Unless<R: Datum> {
    before: Arc<dyn Chain<R>>,
    chosen: Chosen,
}

impl<R: Datum> Chain<R> for Unless<R> {
    fn run(&self, cx: &TaskCx<'_>, sink: &mut dyn Push<R>) -> TaskResult<()> {
        match self.chosen.table() {
            Some(_) => Ok(()),
            None => self.before.run(cx, sink),
        }
    }
}

/// Looks the keys of the large side up, if the small side is broadcast.
struct LookUp<K: Key, V: Datum, W, M> {
    before: Arc<dyn Chain<(K, V)>>,
    chosen: Chosen,
    types: PhantomData<fn(W, M)>,
}

impl<K: Key, V: Datum, W: Datum, O: Datum, M: Match<K, V, W, O>> Chain<(K, O)> for LookUp<K, V, W, M> {
    fn run(&self, cx: &TaskCx<'_>, sink: &mut dyn Push<(K, O)>) -> TaskResult<()> {
        let Some(table) = self.chosen.table() else { return Ok(()) };
        let (mut scratch, mut arena) = (Vec::new(), Arena::new());
        let look_up = |(k, v): <(K, V) as Datum>::Ref<'_>| {
            let found = K::with_bytes(K::shorten(k), &mut scratch, |key| {
                let decode = |value| W::decode::<true>(&mut Reader::new(value, &arena)).map_err(undecodable);
                M::each(K::shorten(k), V::shorten(v), table.values(key).map(decode), sink)
            });
            if let Err(e) = found {
                cx.fail(e);
            }
            arena.reset();
        };
        self.before.run(cx, &mut PushFn::<(K, V), _>::new(look_up))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::combiner::Sum;
    use crate::plan::flow::Flow;
    use crate::run::finished::Finished;
    use crate::run::local::{self, LocalOptions};
    use crate::run::task_run::StageTable;
    use crate::source::lines;
    use windrow_model::JobOptions;
    use windrow_model::counters::names;

    const LEFT: u64 = 500;

    /// Joins 500 lines with as many as `right`, for a reader that depends on an order, or for one that does not.
    fn joined(right: usize, limit: u64, is_ordered: bool) -> Finished {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, n: usize| {
            let text: String = (0..n).map(|i| format!("{i}\n")).collect();
            std::fs::write(folder.path().join(name), text).unwrap();
        };
        file("left", LEFT as usize);
        file("right", right);
        let flow = Flow::new(folder.path().to_path_buf(), false, None);
        let read = |name: &str| flow.read(lines(name)).map(|line, out| out.emit(line, 1u64));
        let joined = read("left").join(read("right").small().up_to(limit));
        match is_ordered {
            true => joined.map(|(_, (n, _)), out| out.push(n)).collect("sum"),
            false => joined.map(|(_, (n, _)), out| out.emit((), n)).combine(Sum).values().collect("sum"),
        }
        let built = flow.build().unwrap();
        let program = StageTable { plan: built.plan, functions: built.functions, counters: built.counters };
        let options = LocalOptions {
            name: "test".to_string(),
            threads: 2,
            memory_bytes: 64 << 20,
            scratch: Some(folder.path().to_path_buf()),
            durable: false,
            job: JobOptions { chunk_bytes: Some(100), partitions: Some(3), ..JobOptions::default() },
        };
        let finished = local::run(program, options, &mut |_| {}).unwrap();
        let sum: u64 = finished.collected::<u64>("sum").unwrap().iter().sum();
        assert_eq!(sum, LEFT.min(right as u64));
        finished
    }

    #[test]
    fn large_side_is_not_shuffled_if_the_other_is_small() {
        let (limit, few) = (BYTES_MAX as u64, 20);
        // The small side on its way to one task, and the sum of each task.
        let small = joined(few, limit, false);
        let shuffled = small.counter(names::RECORDS_SHUFFLED);
        assert!(shuffled < LEFT / 2, "{shuffled}");
        let read = small.counter(names::RECORDS_READ);
        assert_eq!(read, LEFT + few as u64, "each side is read once");
        // An ordered reader, no broadcast, a side that is too large. The tasks of the last one are small: it is read twice.
        for (right, limit, is_ordered, at_most) in
            [(few, limit, true, 520), (few, 0, false, 520), (few, 100, false, 560), (400, 1000, false, 1300)]
        {
            let large = joined(right, limit, is_ordered);
            let (shuffled, read) = (large.counter(names::RECORDS_SHUFFLED), large.counter(names::RECORDS_READ));
            assert!(shuffled >= LEFT + right as u64, "{right} {limit}: {shuffled}");
            assert!(read <= at_most, "{right} {limit}: {read}");
        }
    }

    #[test]
    fn limit_above_the_largest_makes_the_plan_invalid() {
        let flow = Flow::new(std::path::PathBuf::from("/"), false, None);
        let pairs = flow.read(lines("in")).map(|line, out| out.emit(line, 1u64));
        pairs.join(pairs.small().up_to(BYTES_MAX as u64 + 1)).collect("all");
        let error = flow.build().err().unwrap();
        assert_eq!(error.code(), Code::PlanInvalid);
        assert!(error.failure().message.contains("`join`"), "{error}");
    }
}
