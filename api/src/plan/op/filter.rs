//! `filter`: keeps some records.

use crate::data::datum::Datum;
use crate::plan::records::Records;
use crate::task::culprit::Op;

impl<R: Datum> Records<R> {
    /// Keeps the records for which `f` is true.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// fn long(lines: &Records<String>) -> Records<String> {
    ///     lines.filter(|line| line.len() > 3)
    /// }
    /// # assert_eq!(windrow::testing::run(["abc", "abcd"], |l| long(&l)).unwrap(), ["abcd"]);
    /// ```
    #[track_caller]
    pub fn filter(&self, f: impl Fn(R::Ref<'_>) -> bool + Send + Sync + 'static) -> Records<R> {
        self.step(Op::here("filter"), true, move |_, r, sink| {
            if f(r) {
                sink.push(r)
            }
        })
    }
}
