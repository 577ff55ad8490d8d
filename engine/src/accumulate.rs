//! What a combining edge needs to know of its accumulators.

use crate::error::Result;

/// How values of equal keys become one. Merging is associative and commutative: the engine decides the order.
pub trait Accumulate: Send + Sync {
    /// The folded value of one key. Kept in place beside the key.
    type Acc: Send + 'static;
    /// Adds `other` to `into`.
    fn merge(&self, into: &mut Self::Acc, other: Self::Acc);
    /// Appends the stored form.
    fn encode(&self, acc: &Self::Acc, out: &mut Vec<u8>);
    /// Reads what [`encode`](Self::encode) wrote.
    fn decode(&self, bytes: &[u8]) -> Result<Self::Acc>;
    /// Bytes that the accumulator owns outside of itself; counted against the budget.
    fn heap_bytes(&self, _: &Self::Acc) -> usize {
        0
    }
}
