//! The operations that a combining edge needs of its accumulators.

use crate::error::Result;

/// Folds values of equal keys. Merging must be associative and commutative, because the engine decides the order.
pub trait Accumulate: Send + Sync {
    /// The folded value of one key, stored in place beside the key.
    type Acc: Send + 'static;
    /// Merges `other` into `into`.
    fn merge(&self, into: &mut Self::Acc, other: Self::Acc);
    /// Appends the stored form of an accumulator to `out`.
    fn encode(&self, acc: &Self::Acc, out: &mut Vec<u8>);
    /// Decodes the stored form that [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// The bytes are not a stored form of this type.
    fn decode(&self, bytes: &[u8]) -> Result<Self::Acc>;
    /// Merges the stored form of an accumulator into `into`.
    ///
    /// # Errors
    /// As [`decode`](Self::decode); `into` is unchanged then.
    #[inline(always)]
    fn merge_encoded(&self, into: &mut Self::Acc, bytes: &[u8]) -> Result<()> {
        self.merge(into, self.decode(bytes)?);
        Ok(())
    }
    /// Bytes that the accumulator owns outside of itself. They count against the memory budget.
    fn heap_bytes(&self, _: &Self::Acc) -> usize {
        0
    }
}
