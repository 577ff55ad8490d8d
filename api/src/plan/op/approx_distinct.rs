//! `approx_distinct`: about how many different records there are.

use crate::combiner::ApproxDistinct;
use crate::data::datum::Datum;
use crate::plan::records::Records;
use crate::task::culprit::Op;

impl<R: Datum> Records<R> {
    /// About how many different records there are: one number, as by the combiner `ApproxDistinct`, and 0 if there are none.
    /// Nothing is shuffled except 16 KiB for each task. `distinct().count()` is exact, and shuffles every record.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// fn vocabulary(lines: &Records<String>) -> Records<u64> {
    ///     lines.map(|line, out| out.extend(words(line))).approx_distinct()
    /// }
    /// # assert_eq!(windrow::testing::run(["to be", "or not to be"], |l| vocabulary(&l)).unwrap(), [4]);
    /// # assert_eq!(windrow::testing::run([""; 0], |l| vocabulary(&l)).unwrap(), [0]);
    /// ```
    #[track_caller]
    pub fn approx_distinct(&self) -> Records<u64> {
        self.fold_all(Op::here("approx_distinct"), ApproxDistinct, Some(|_| 0))
    }
}
