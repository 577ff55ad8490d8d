//! The output side of a record function.

use crate::data::datum::{Datum, IntoDatum};
use std::marker::PhantomData;

/// Receives records of one family: one virtual call per record between fused operations.
pub(crate) trait Push<R: Datum> {
    fn push(&mut self, r: R::Ref<'_>);
}

/// A closure as receiver.
pub(crate) struct PushFn<R, F>(F, PhantomData<fn(R)>);
impl<R: Datum, F: FnMut(R::Ref<'_>)> PushFn<R, F> {
    pub(crate) fn new(f: F) -> Self {
        PushFn(f, PhantomData)
    }
}
impl<R: Datum, F: FnMut(R::Ref<'_>)> Push<R> for PushFn<R, F> {
    #[inline]
    fn push(&mut self, r: R::Ref<'_>) {
        (self.0)(r)
    }
}

/// Receives the results of a record function. An emitted record is copied at once, so it may borrow from the input
/// record, a buffer or locals; nothing is allocated per record.
pub struct Emitter<'e, O: Datum> {
    sink: &'e mut dyn Push<O>,
}

impl<'e, O: Datum> Emitter<'e, O> {
    pub(crate) fn new(sink: &'e mut dyn Push<O>) -> Self {
        Emitter { sink }
    }
    /// Emits a pair.
    #[inline]
    pub fn emit<K: IntoDatum, V: IntoDatum>(&mut self, key: K, value: V)
    where
        (K, V): IntoDatum<Datum = O>,
    {
        (key, value).with(|r| self.sink.push(r))
    }
    /// Emits one record.
    #[inline]
    pub fn push<T: IntoDatum<Datum = O>>(&mut self, record: T) {
        record.with(|r| self.sink.push(r))
    }
    /// Emits every record of an iterator.
    #[inline]
    pub fn extend<T: IntoDatum<Datum = O>>(&mut self, records: impl IntoIterator<Item = T>) {
        for record in records {
            self.push(record)
        }
    }
    /// Emits a record of the output's family in its borrowed form, as record functions get it.
    #[inline]
    pub fn forward(&mut self, record: O::Ref<'_>) {
        self.sink.push(record)
    }
}
