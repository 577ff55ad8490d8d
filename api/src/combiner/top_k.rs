//! The largest values of a key.

use super::fold::{Combiner, part};
use crate::data::arena::Arena;
use crate::data::datum::serde::Serde;
use crate::data::datum::{IntoDatum, Key, Reader};
use crate::data::decode_error::DecodeError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Keeps the `k` largest values of each key, largest first, in the order of the value type's encoding. Equal values are
/// kept individually. The result is a `Serde<Vec<V>>`.
///
/// ```
/// use windrow::prelude::*;
/// fn best(scores: &Pairs<String, u64>) -> Pairs<String, Serde<Vec<u64>>> {
///     scores.combine(TopK(3))
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct TopK(pub usize);

/// Encoded values with the smallest on top, which is dropped first.
type Heap = BinaryHeap<Reverse<Box<[u8]>>>;

impl<V> Combiner<V> for TopK
where
    V: Key + Serialize + DeserializeOwned,
    Serde<Vec<V>>: IntoDatum,
{
    type Acc = Heap;
    type Out = Serde<Vec<V>>;

    fn create(&self, value: V::Ref<'_>) -> Heap {
        let mut heap = Heap::with_capacity(1);
        if self.0 > 0 {
            heap.push(Reverse(crate::data::datum::encoded::<V>(value).into_boxed_slice()));
        }
        heap
    }
    fn merge(&self, into: &mut Heap, other: Heap) {
        for value in other {
            if into.len() < self.0 {
                into.push(value);
            } else if into.peek().is_some_and(|least| value.0 > least.0) {
                into.pop();
                into.push(value);
            }
        }
    }
    fn finish(&self, acc: Heap) -> Serde<Vec<V>> {
        let arena = Arena::new();
        let decode = |Reverse(bytes): Reverse<Box<[u8]>>| match V::decode::<true>(&mut Reader::new(&bytes, &arena)) {
            Ok(v) => V::to_owned(v),
            Err(e) => panic!("a value that was encoded here does not decode: {e}"),
        };
        Serde(acc.into_sorted_vec().into_iter().map(decode).collect())
    }
    fn encode(&self, acc: &Heap, out: &mut Vec<u8>) {
        // In order, so that equal accumulators have equal bytes.
        let mut values: Vec<&[u8]> = acc.iter().map(|Reverse(v)| &**v).collect();
        values.sort_unstable();
        for value in values {
            out.extend_from_slice(&(value.len() as u32).to_le_bytes());
            out.extend_from_slice(value);
        }
    }
    fn decode(&self, mut bytes: &[u8]) -> Result<Heap, DecodeError> {
        let mut heap = Heap::new();
        while !bytes.is_empty() {
            let (value, rest) = part(bytes)?;
            heap.push(Reverse(value.into()));
            bytes = rest;
        }
        Ok(heap)
    }
    fn heap_bytes(&self, acc: &Heap) -> usize {
        acc.capacity() * size_of::<Box<[u8]>>() + acc.iter().map(|Reverse(v)| v.len() + 16).sum::<usize>()
    }
}
