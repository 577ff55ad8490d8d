//! The start of a stage that reads edges: it decodes segments into records.

use crate::data::arena::Arena;
use crate::data::datum::{Datum, Reader};
use crate::data::decode_error::DecodeError;
use crate::data::emitter::Push;
use crate::plan::chain::Chain;
use crate::task::context::TaskCx;
use crate::task::failure::{TaskError, TaskResult};
use std::marker::PhantomData;
use windrow_engine::{Concat, EngineError, Pairs as EnginePairs, open_concat, open_sorted};
use windrow_model::counters::names;
use windrow_model::{Code, Failure, Order};

/// The error of a decoding failure: a bug, or damage that checksums did not detect. No record is to blame.
pub(crate) fn undecodable(e: DecodeError) -> TaskError {
    Failure::new(Code::Internal, format!("a shuffled record does not decode: {e}")).into()
}

/// The same as [`undecodable`], within a loop of the engine.
pub(crate) fn undecodable_there(e: DecodeError) -> EngineError {
    EngineError::Decode(e.to_string())
}

/// Opens an input's segments: merged by key, or one after the other.
pub(crate) fn open(cx: &TaskCx<'_>, input: usize, order: Order) -> TaskResult<Box<dyn EnginePairs>> {
    let segments = cx.input_segments(input).to_vec();
    let opened: Result<Box<dyn EnginePairs>, EngineError> = match order {
        Order::Key => open_sorted(segments, cx.folder, &cx.share, &|| cx.alive()).map(|sorted| {
            cx.count_spilled(sorted.spilled);
            sorted.pairs
        }),
        Order::Arrival => open_concat(segments).map(|c| Box::new(c) as _),
    };
    opened.map_err(|e| cx.input_error(input, e))
}

/// Opens an input's segments one after the other, for loops over all pairs.
pub(crate) fn concat(cx: &TaskCx<'_>, input: usize) -> TaskResult<Concat> {
    open_concat(cx.input_segments(input).to_vec()).map_err(|e| cx.input_error(input, e))
}

/// Moves the cursor of an input to the next pair.
#[inline]
pub(crate) fn advance(cx: &TaskCx<'_>, pairs: &mut dyn EnginePairs, input: usize) -> TaskResult<()> {
    cx.has_read_one();
    pairs.advance().map_err(|e| cx.input_error(input, e))
}

/// Reads the pairs of an edge in this order, or in any order if the consumer allows it.
pub(crate) struct ReadPairs<K, V> {
    pub order: Order,
    pub types: PhantomData<fn() -> (K, V)>,
}

impl<K: Datum, V: Datum> Chain<(K, V)> for ReadPairs<K, V> {
    fn run(&self, cx: &TaskCx<'_>, sink: &mut dyn Push<(K, V)>) -> TaskResult<()> {
        let order = if cx.any_order() { Order::Arrival } else { self.order };
        let mut pairs = open(cx, 0, order)?;
        let mut arena = Arena::new();
        let mut read = 0u64;
        while let Some((key, value)) = pairs.peek() {
            let k = K::decode::<true>(&mut Reader::new(key, &arena)).map_err(undecodable)?;
            let v = V::decode::<true>(&mut Reader::new(value, &arena)).map_err(undecodable)?;
            cx.working_on_key::<K>(key, || sink.push((k, v)));
            arena.reset();
            if cx.stopped() {
                break;
            }
            read += 1;
            if read.is_multiple_of(4096) {
                cx.check_cancelled();
            }
            advance(cx, &mut *pairs, 0)?;
        }
        cx.count(names::RECORDS_MERGED, read);
        Ok(())
    }
}

/// Reads the first `most` records of an edge without keys.
pub(crate) struct ReadRecords<R> {
    pub most: u64,
    pub types: PhantomData<fn() -> R>,
}

impl<R: Datum> Chain<R> for ReadRecords<R> {
    fn run(&self, cx: &TaskCx<'_>, sink: &mut dyn Push<R>) -> TaskResult<()> {
        let mut pairs = open(cx, 0, Order::Arrival)?;
        let mut arena = Arena::new();
        let mut read = 0u64;
        while read < self.most
            && let Some((_, value)) = pairs.peek()
        {
            let r = R::decode::<true>(&mut Reader::new(value, &arena)).map_err(undecodable)?;
            cx.working_on_record::<R>(&r, value, || sink.push(R::shorten(r)));
            arena.reset();
            if cx.stopped() {
                break;
            }
            read += 1;
            if read.is_multiple_of(4096) {
                cx.check_cancelled();
            }
            advance(cx, &mut *pairs, 0)?;
        }
        cx.count(names::RECORDS_MERGED, read);
        Ok(())
    }
}
