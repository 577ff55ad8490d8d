//! `map` and its relatives: one record in, any number out, fused with the previous operations.

use crate::data::datum::{Datum, IntoDatum};
use crate::data::emitter::Emitter;
use crate::error::Outcome;
use crate::plan::chain::call_in_step;
use crate::plan::records::{Pairs, Records};
use crate::task::culprit::Op;

impl<R: Datum> Records<R> {
    /// Calls `f` on each record with an emitter; it may emit any number of records, borrowed or owned. The emitted type
    /// is that of the result. `f` returns `()` or `windrow::Result<()>`; an error fails the record.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// fn ones(lines: &Records<String>) -> Pairs<String, u64> {
    ///     lines.map(|line, out| for word in words(line) { out.emit(word, 1u64) })
    /// }
    /// # let got = windrow::testing::run(["a b a"], |lines| ones(&lines));
    /// # assert_eq!(got.unwrap(), [("a".to_string(), 1), ("b".to_string(), 1), ("a".to_string(), 1)]);
    /// ```
    #[track_caller]
    pub fn map<O: Datum, X: Outcome>(
        &self,
        f: impl Fn(R::Ref<'_>, &mut Emitter<'_, O>) -> X + Send + Sync + 'static,
    ) -> Records<O> {
        self.step(Op::here("map"), false, move |op, r, sink| call_in_step(op, sink, |out| f(r, out)))
    }

    /// Calls `f` on each record and emits the items of its iterator. They cannot borrow from the record; `map` with
    /// `out.extend(…)` can.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// fn lengths(lines: &Records<String>) -> Records<u64> {
    ///     lines.flat_map(|line| line.split(' ').map(str::len).collect::<Vec<_>>())
    /// }
    /// # assert_eq!(windrow::testing::run(["a bcd"], |l| lengths(&l)).unwrap(), [1, 3]);
    /// ```
    #[track_caller]
    pub fn flat_map<I>(
        &self,
        f: impl Fn(R::Ref<'_>) -> I + Send + Sync + 'static,
    ) -> Records<<I::Item as IntoDatum>::Datum>
    where
        I: IntoIterator<Item: IntoDatum>,
    {
        self.step(Op::here("flat_map"), false, move |_, r, sink| {
            for item in f(r) {
                item.with(|r| sink.push(r))
            }
        })
    }

    /// Pairs each record with a key computed from it.
    #[track_caller]
    pub fn key_by<K: IntoDatum>(&self, f: impl Fn(R::Ref<'_>) -> K + Send + Sync + 'static) -> Pairs<K::Datum, R> {
        self.step(Op::here("key_by"), false, move |_, r, sink| {
            f(r).with(|k| sink.push((<K::Datum as Datum>::shorten(k), R::shorten(r))))
        })
    }
}

impl<K: Datum, V: Datum> Pairs<K, V> {
    /// Replaces each value; keys and their partitioning stay.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// fn halves(counts: &Pairs<String, u64>) -> Pairs<String, f64> {
    ///     counts.map_values(|n| n as f64 / 2.0)
    /// }
    /// ```
    #[track_caller]
    pub fn map_values<T: IntoDatum>(&self, f: impl Fn(V::Ref<'_>) -> T + Send + Sync + 'static) -> Pairs<K, T::Datum> {
        self.step(Op::here("map_values"), true, move |_, (k, v), sink| {
            f(v).with(|t| sink.push((K::shorten(k), <T::Datum as Datum>::shorten(t))))
        })
    }

    /// Only the keys.
    #[track_caller]
    pub fn keys(&self) -> Records<K> {
        self.step(Op::here("keys"), false, |_, (k, _), sink| sink.push(k))
    }

    /// Only the values.
    #[track_caller]
    pub fn values(&self) -> Records<V> {
        self.step(Op::here("values"), false, |_, (_, v), sink| sink.push(v))
    }
}
