//! `inspect`: looks at records.

use crate::data::datum::Datum;
use crate::plan::records::Records;
use crate::task::culprit::Op;

impl<R: Datum> Records<R> {
    /// Calls `f` on each record and passes the record on: for counters, and for output while a job is written. A record may
    /// be seen more than once, as by any record function.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// fn counted(flow: &Flow, lines: &Records<String>) -> Records<String> {
    ///     let empty = flow.counter("empty lines");
    ///     lines.inspect(move |line| if line.is_empty() { empty.add(1) })
    /// }
    /// # let got = windrow::testing::run(["a", "b"], |l| l.inspect(|line| eprintln!("{line}")));
    /// # assert_eq!(got.unwrap(), ["a", "b"]);
    /// ```
    #[track_caller]
    pub fn inspect(&self, f: impl Fn(R::Ref<'_>) + Send + Sync + 'static) -> Records<R> {
        self.step(Op::here("inspect"), true, move |_, r, sink| {
            f(R::shorten(r));
            sink.push(r)
        })
    }
}
