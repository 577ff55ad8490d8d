//! `take` and `first`: the first records.

use super::gather::{Needs, gathered};
use crate::data::datum::Datum;
use crate::data::emitter::{Push, PushFn};
use crate::plan::chain::Chain;
use crate::plan::records::Records;
use crate::task::context::TaskCx;
use crate::task::culprit::Op;
use crate::task::failure::TaskResult;
use std::sync::Arc;
use windrow_model::Code;

impl<R: Datum> Records<R> {
    /// The first `n` records in order, in one partition. The order is that of the inputs; after a shuffle it is that of the
    /// partitions, so which records come first depends on their number (unless the records are sorted: see `sort`). Every
    /// task stops after `n` records, and none is left out: for a file of many chunks each chunk is begun.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// fn first_errors(lines: &Records<String>) -> Records<String> {
    ///     lines.filter(|line| line.starts_with("error")).take(2)
    /// }
    /// # let lines = ["error 1", "fine", "error 2", "error 3"];
    /// # assert_eq!(windrow::testing::run(lines, |l| first_errors(&l)).unwrap(), ["error 1", "error 2"]);
    /// ```
    #[track_caller]
    pub fn take(&self, n: u64) -> Records<R> {
        self.first_of(Op::here("take"), n)
    }

    /// The first record, or none: `take(1)`.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// fn header(lines: &Records<String>) -> Records<String> {
    ///     lines.first()
    /// }
    /// # assert_eq!(windrow::testing::run(["a", "b"], |l| header(&l)).unwrap(), ["a"]);
    /// ```
    #[track_caller]
    pub fn first(&self) -> Records<R> {
        self.first_of(Op::here("first"), 1)
    }

    fn first_of(&self, op: Op, n: u64) -> Records<R> {
        self.flow.fingerprint(&[op.name, &n.to_string()]);
        gathered(&self.chained(op, false, &(), |before| Take { before, n }), op, Needs::Order, n)
    }
}

/// The first `n` records of a task, after which the task ends.
struct Take<R: Datum> {
    before: Arc<dyn Chain<R>>,
    n: u64,
}

impl<R: Datum> Chain<R> for Take<R> {
    fn run(&self, cx: &TaskCx<'_>, sink: &mut dyn Push<R>) -> TaskResult<()> {
        let mut left = self.n;
        if left == 0 {
            return Ok(());
        }
        let take = |r: R::Ref<'_>| {
            if left > 0 {
                left -= 1;
                sink.push(r);
                if left == 0 {
                    cx.end_early();
                }
            }
        };
        match self.before.run(cx, &mut PushFn::<R, _>::new(take)) {
            // A loop of the engine has ended early. Had the attempt been revoked, the context would have the error.
            Err(e) if left == 0 && e.failure.code == Code::StaleAttempt => Ok(()),
            result => result,
        }
    }
}
