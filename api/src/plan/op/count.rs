//! `count`: the number of records.

use super::gather::{Needs, gathered};
use crate::data::datum::Datum;
use crate::data::emitter::{Push, PushFn};
use crate::plan::chain::Chain;
use crate::plan::records::Records;
use crate::task::context::TaskCx;
use crate::task::culprit::Op;
use crate::task::failure::TaskResult;
use std::sync::Arc;

impl<R: Datum> Records<R> {
    /// The number of records: one record, which is 0 if there are none. Every task counts its own, so only one number for
    /// each task is shuffled. To count the values of each key, use `combine(Count)`.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// fn long_lines(lines: &Records<String>) -> Records<u64> {
    ///     lines.filter(|line| line.len() > 3).count()
    /// }
    /// # assert_eq!(windrow::testing::run(["abcd", "a", "abcde"], |l| long_lines(&l)).unwrap(), [2]);
    /// # assert_eq!(windrow::testing::run(["a"], |l| long_lines(&l)).unwrap(), [0]);
    /// ```
    #[track_caller]
    pub fn count(&self) -> Records<u64> {
        let op = Op::here("count");
        let counts = self.chained(op, false, &(), |before| CountRecords { before });
        gathered(&counts, op, Needs::Records, u64::MAX).chained(op, false, &(), |before| AddUp { before })
    }
}

/// Replaces the records of a task by their number.
struct CountRecords<R: Datum> {
    before: Arc<dyn Chain<R>>,
}

impl<R: Datum> Chain<u64> for CountRecords<R> {
    fn run(&self, cx: &TaskCx<'_>, sink: &mut dyn Push<u64>) -> TaskResult<()> {
        let mut count = 0u64;
        self.before.run(cx, &mut PushFn::<R, _>::new(|_| count += 1))?;
        sink.push(count);
        Ok(())
    }
}

/// Replaces the numbers of a task by their sum.
struct AddUp {
    before: Arc<dyn Chain<u64>>,
}

impl Chain<u64> for AddUp {
    fn run(&self, cx: &TaskCx<'_>, sink: &mut dyn Push<u64>) -> TaskResult<()> {
        let mut sum = 0u64;
        self.before.run(cx, &mut PushFn::<u64, _>::new(|count| sum += count))?;
        sink.push(sum);
        Ok(())
    }
}
