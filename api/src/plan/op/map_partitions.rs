//! `map_partitions`: a record function with a state for each task.

use crate::data::datum::Datum;
use crate::data::emitter::{Emitter, Push, PushFn};
use crate::error::{Outcome, Result};
use crate::plan::chain::{Chain, call, call_in_step, user_error};
use crate::plan::records::Records;
use crate::task::context::{OpInTask, TaskCx};
use crate::task::culprit::Op;
use crate::task::failure::TaskResult;
use std::marker::PhantomData;
use std::sync::Arc;

impl<R: Datum> Records<R> {
    /// As `map`, with a state of its own for each task: `open` makes it before the first record, `each` gets it with every
    /// record, and `close` takes it after the last record and may still emit. For connections, buffers and caches. A task
    /// without records opens and closes, too. A task that fails, or whose records are no longer needed (see `take`), drops
    /// its state without `close`.
    ///
    /// How many tasks there are, and which records each has, depends on chunk sizes and on the number of partitions. A
    /// result that depends on that differs when they do.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// use std::collections::HashMap;
    ///
    /// /// Looks each word up once in a task.
    /// fn lengths(words: &Records<String>) -> Records<u64> {
    ///     words.map_partitions(
    ///         || Ok(HashMap::new()),
    ///         |known, word, out| out.push(*known.entry(word.to_string()).or_insert_with(|| word.len() as u64)),
    ///         |_, _| {},
    ///     )
    /// }
    /// # assert_eq!(windrow::testing::run(["bb", "a", "bb"], |l| lengths(&l)).unwrap(), [2, 1, 2]);
    /// ```
    #[track_caller]
    pub fn map_partitions<S: 'static, O: Datum, X: Outcome, Y: Outcome>(
        &self,
        open: impl Fn() -> Result<S> + Send + Sync + 'static,
        each: impl Fn(&mut S, R::Ref<'_>, &mut Emitter<'_, O>) -> X + Send + Sync + 'static,
        close: impl Fn(S, &mut Emitter<'_, O>) -> Y + Send + Sync + 'static,
    ) -> Records<O> {
        let op = Op::here("map_partitions");
        let functions = Arc::new((open, each, close));
        let types = PhantomData::<fn(S) -> O>;
        self.chained(op, false, &*functions, |before| WithState { before, functions: functions.clone(), op, types })
    }
}

struct WithState<R: Datum, S, O, F> {
    before: Arc<dyn Chain<R>>,
    functions: Arc<F>,
    op: Op,
    types: PhantomData<fn(S) -> O>,
}

impl<R: Datum, S, O: Datum, X: Outcome, Y: Outcome, F, G, H> Chain<O> for WithState<R, S, O, (F, G, H)>
where
    F: Fn() -> Result<S> + Send + Sync,
    G: Fn(&mut S, R::Ref<'_>, &mut Emitter<'_, O>) -> X + Send + Sync,
    H: Fn(S, &mut Emitter<'_, O>) -> Y + Send + Sync,
{
    fn run(&self, cx: &TaskCx<'_>, sink: &mut dyn Push<O>) -> TaskResult<()> {
        let (open, each, close) = &*self.functions;
        let op = OpInTask { op: self.op, cx };
        let mut state = match op.call(open) {
            Ok(state) => state,
            Err(e) => {
                user_error(cx, &self.op, e);
                return Ok(());
            }
        };
        let step = |r: R::Ref<'_>| op.call(|| call_in_step(&op, sink, |out| each(&mut state, r, out)));
        self.before.run(cx, &mut PushFn::<R, _>::new(step))?;
        if !cx.stopped() {
            call(cx, &self.op, sink, |out| close(state, out));
        }
        Ok(())
    }
}
