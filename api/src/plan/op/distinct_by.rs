//! `distinct_by`: the first record of each key.

use crate::combiner::Combiner;
use crate::data::datum::owned::Encoded;
use crate::data::datum::{Datum, IntoDatum, Key, encoded};
use crate::data::decode_error::DecodeError;
use crate::data::emitter::{Push, PushFn};
use crate::plan::chain::Chain;
use crate::plan::records::Records;
use crate::task::context::{OpInTask, TaskCx};
use crate::task::culprit::Op;
use crate::task::failure::TaskResult;
use std::marker::PhantomData;
use std::sync::Arc;

/// A record with its position: the branch, the task in it, and its number in the task.
type Placed<R> = (u32, u32, u64, R);

impl<R: Datum> Records<R> {
    /// The first record of each key, in the order of the keys within each partition. The order in which records are first is
    /// that of the inputs; after a shuffle it is that of the partitions. Only the first record of each key and task is
    /// shuffled.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// fn one_of_each_length(lines: &Records<String>) -> Records<String> {
    ///     lines.distinct_by(|line| line.len())
    /// }
    /// # assert_eq!(windrow::testing::run(["bb", "a", "aa", "b"], |l| one_of_each_length(&l)).unwrap(), ["a", "bb"]);
    /// ```
    #[track_caller]
    pub fn distinct_by<K: IntoDatum<Datum: Key>>(
        &self,
        f: impl Fn(R::Ref<'_>) -> K + Send + Sync + 'static,
    ) -> Records<R> {
        let op = Op::here("distinct_by");
        let emit = move |r: R::Ref<'_>, place: (u32, u32, u64), sink: &mut dyn Push<(K::Datum, Placed<R>)>| {
            f(R::shorten(r)).with(|k| sink.push((K::Datum::shorten(k), (place.0, place.1, place.2, R::shorten(r)))))
        };
        let emit = Arc::new(emit);
        let branches = self.branches.iter().enumerate().map(|(branch, b)| {
            b.need_order();
            let types = PhantomData::<fn() -> K::Datum>;
            let placed = Place { before: b.chain.clone(), branch: branch as u32, op, emit: emit.clone(), types };
            self.flow.calling(&*emit, b.then(op.name, Arc::new(placed)))
        });
        let placed = Records::new(&self.flow, branches.collect(), None);
        placed.combine_as(op, First { types: PhantomData::<fn(R)> }).values()
    }
}

/// Gives each record its position, and passes it to `emit`.
struct Place<R: Datum, K, F> {
    before: Arc<dyn Chain<R>>,
    branch: u32,
    op: Op,
    emit: Arc<F>,
    types: PhantomData<fn() -> K>,
}

impl<R: Datum, K: Datum, F> Chain<(K, Placed<R>)> for Place<R, K, F>
where
    F: Fn(R::Ref<'_>, (u32, u32, u64), &mut dyn Push<(K, Placed<R>)>) + Send + Sync,
{
    fn run(&self, cx: &TaskCx<'_>, sink: &mut dyn Push<(K, Placed<R>)>) -> TaskResult<()> {
        cx.keep_order();
        let op = OpInTask { op: self.op, cx };
        let mut place = (self.branch, cx.task.attempt.task.index, 0);
        let emit = |r: R::Ref<'_>| {
            op.call(|| (self.emit)(r, place, sink));
            place.2 += 1;
        };
        self.before.run(cx, &mut PushFn::<R, _>::new(emit))
    }
}

/// Keeps the record with the smallest position.
struct First<R> {
    types: PhantomData<fn(R)>,
}

/// Bytes of an encoded position.
const PLACE_BYTES: usize = size_of::<(u32, u32, u64)>();

impl<R: Datum> Combiner<Placed<R>> for First<R> {
    /// The encoding of a record after that of its position, so that the smallest encoding is the first.
    type Acc = Box<[u8]>;
    type Out = Encoded<R>;
    fn create(&self, value: <Placed<R> as Datum>::Ref<'_>) -> Box<[u8]> {
        encoded::<Placed<R>>(value).into()
    }
    fn merge(&self, into: &mut Box<[u8]>, other: Box<[u8]>) {
        if other < *into {
            *into = other
        }
    }
    fn finish(&self, acc: Box<[u8]>) -> Encoded<R> {
        Encoded { bytes: acc[PLACE_BYTES..].into(), types: PhantomData }
    }
    fn encode(&self, acc: &Box<[u8]>, out: &mut Vec<u8>) {
        out.extend_from_slice(acc)
    }
    fn encode_value(&self, value: <Placed<R> as Datum>::Ref<'_>, out: &mut Vec<u8>) {
        <Placed<R>>::encode::<true>(value, out)
    }
    fn decode(&self, bytes: &[u8]) -> Result<Box<[u8]>, DecodeError> {
        match bytes.len() {
            0..PLACE_BYTES => Err(DecodeError::new("placed record", "too short")),
            _ => Ok(bytes.into()),
        }
    }
    fn heap_bytes(&self, acc: &Box<[u8]>) -> usize {
        acc.len()
    }
}
