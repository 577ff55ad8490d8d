//! `reduce_by`: folds the values of a key by a function of two of them.

use super::combine_by::{heap_bytes, owned};
use crate::combiner::Combiner;
use crate::data::datum::{Datum, IntoDatum, Key};
use crate::data::decode_error::DecodeError;
use crate::plan::records::Pairs;
use crate::task::culprit::Op;
use std::marker::PhantomData;

impl<K: Datum, V: Datum> Pairs<K, V> {
    /// Folds all values of each key by a function that makes one value of two. Values are folded on both sides of the
    /// shuffle, in any grouping and any order, so `f` must be associative and commutative. The result is in key order and
    /// stays partitioned by key. `combine` with `Sum`, `Min` or `Max` is faster than the same by a function.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// /// All flags of each name.
    /// fn flags(pairs: &Pairs<String, u64>) -> Pairs<String, u64> {
    ///     pairs.reduce_by(|a, b| a | b)
    /// }
    /// # let got = windrow::testing::run(["1", "4"], |l| flags(&l.map(|l, out| { out.emit("k", l.parse::<u64>()?); Ok(()) })));
    /// # assert_eq!(got.unwrap(), [("k".to_string(), 5)]);
    /// ```
    #[track_caller]
    pub fn reduce_by(&self, f: impl Fn(V, V) -> V + Send + Sync + 'static) -> Pairs<K, V>
    where
        K: Key,
    {
        self.combine_as(Op::here("reduce_by"), ByFunction { f, types: PhantomData::<fn(V)> })
    }
}

/// A combiner from a function of two values.
struct ByFunction<V, F> {
    f: F,
    types: PhantomData<fn(V)>,
}

/// The value of a key; absent only while the function makes a new one of two.
struct Value<V>(Option<V>);

impl<V: Datum> IntoDatum for Value<V> {
    type Datum = V;
    /// # Panics
    /// The function has panicked before, which has ended the task.
    fn with<X>(self, f: impl FnOnce(V::Ref<'_>) -> X) -> X {
        match self.0 {
            Some(value) => value.lend(f),
            None => panic!("a value is missing after a panic"),
        }
    }
}

impl<V: Datum, F: Fn(V, V) -> V + Send + Sync + 'static> Combiner<V> for ByFunction<V, F> {
    type Acc = Value<V>;
    type Out = Value<V>;
    #[inline]
    fn create(&self, value: V::Ref<'_>) -> Value<V> {
        Value(Some(V::to_owned(value)))
    }
    #[inline]
    fn merge(&self, into: &mut Value<V>, other: Value<V>) {
        into.0 = match (into.0.take(), other.0) {
            (Some(a), Some(b)) => Some((self.f)(a, b)),
            (a, b) => a.or(b),
        }
    }
    fn finish(&self, acc: Value<V>) -> Value<V> {
        acc
    }
    fn encode(&self, acc: &Value<V>, out: &mut Vec<u8>) {
        if let Some(value) = &acc.0 {
            value.lend(|r| V::encode::<true>(r, out))
        }
    }
    fn decode(&self, bytes: &[u8]) -> Result<Value<V>, DecodeError> {
        Ok(Value(Some(owned(bytes)?)))
    }
    #[inline]
    fn encode_value(&self, value: V::Ref<'_>, out: &mut Vec<u8>) {
        V::encode::<true>(value, out)
    }
    fn heap_bytes(&self, acc: &Value<V>) -> usize {
        acc.0.as_ref().map_or(0, heap_bytes)
    }
}
