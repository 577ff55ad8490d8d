//! `combine_by`: folds the values of a key by two functions.

use crate::combiner::Combiner;
use crate::data::arena::Arena;
use crate::data::datum::owned::Owned;
use crate::data::datum::{Datum, Key, Reader};
use crate::data::decode_error::DecodeError;
use crate::plan::records::Pairs;
use crate::task::culprit::Op;
use std::marker::PhantomData;

impl<K: Datum, V: Datum> Pairs<K, V> {
    /// Folds all values of each key: `create` makes an accumulator of one value, `merge` adds another accumulator of the
    /// same key. An accumulator is a record type: a number, a string, a tuple, or a serde type in `Serde`. Values are folded
    /// on both sides of the shuffle, in any grouping and any order, so `merge` must be associative and commutative. The
    /// result is in key order and stays partitioned by key.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// /// The shortest and the longest value of each key.
    /// fn extremes(pairs: &Pairs<String, String>) -> Pairs<String, (String, String)> {
    ///     pairs.combine_by(
    ///         |v| (v.to_string(), v.to_string()),
    ///         |acc, other| {
    ///             if (other.0.len(), &other.0) < (acc.0.len(), &acc.0) { acc.0 = other.0 }
    ///             if (other.1.len(), &other.1) > (acc.1.len(), &acc.1) { acc.1 = other.1 }
    ///         },
    ///     )
    /// }
    /// # let got = windrow::testing::run(["bb", "a", "ccc"], |l| extremes(&l.map(|l, out| out.emit("k", l)))).unwrap();
    /// # assert_eq!(got, [("k".to_string(), ("a".to_string(), "ccc".to_string()))]);
    /// ```
    #[track_caller]
    pub fn combine_by<A: Datum>(
        &self,
        create: impl Fn(V::Ref<'_>) -> A + Send + Sync + 'static,
        merge: impl Fn(&mut A, A) + Send + Sync + 'static,
    ) -> Pairs<K, A>
    where
        K: Key,
    {
        self.combine_as(Op::here("combine_by"), ByFunctions { create, merge, types: PhantomData::<fn(V) -> A> })
    }
}

/// A combiner from functions.
struct ByFunctions<V, A, C, M> {
    create: C,
    merge: M,
    types: PhantomData<fn(V) -> A>,
}

impl<V: Datum, A: Datum, C, M> Combiner<V> for ByFunctions<V, A, C, M>
where
    C: Fn(V::Ref<'_>) -> A + Send + Sync + 'static,
    M: Fn(&mut A, A) + Send + Sync + 'static,
{
    type Acc = A;
    type Out = Owned<A>;
    #[inline]
    fn create(&self, value: V::Ref<'_>) -> A {
        (self.create)(value)
    }
    #[inline]
    fn merge(&self, into: &mut A, other: A) {
        (self.merge)(into, other)
    }
    fn finish(&self, acc: A) -> Owned<A> {
        Owned(acc)
    }
    fn encode(&self, acc: &A, out: &mut Vec<u8>) {
        acc.lend(|acc| A::encode::<true>(acc, out))
    }
    fn decode(&self, bytes: &[u8]) -> Result<A, DecodeError> {
        owned(bytes)
    }
    fn heap_bytes(&self, acc: &A) -> usize {
        heap_bytes(acc)
    }
}

/// Decodes an owned value.
pub(super) fn owned<D: Datum>(bytes: &[u8]) -> Result<D, DecodeError> {
    let arena = Arena::new();
    Ok(D::to_owned(D::decode::<true>(&mut Reader::new(bytes, &arena))?))
}

/// The memory of a value outside of itself, in bytes: that of its encoding, unless it holds only numbers.
pub(super) fn heap_bytes<D: Datum>(value: &D) -> usize {
    if !D::BORROWS {
        return 0;
    }
    value.lend(|r| D::with_bytes(r, &mut Vec::new(), |bytes| bytes.len()))
}
