//! `distinct`: every record once.

use crate::combiner::Combiner;
use crate::data::datum::{Datum, Key};
use crate::data::decode_error::DecodeError;
use crate::plan::records::Records;
use crate::task::culprit::Op;

/// The accumulator is empty: the key is all there is.
struct Once;
impl Combiner<()> for Once {
    type Acc = ();
    type Out = ();
    #[inline]
    fn create(&self, _: ()) {}
    #[inline]
    fn merge(&self, _: &mut (), _: ()) {}
    fn finish(&self, _: ()) {}
    fn encode(&self, _: &(), _: &mut Vec<u8>) {}
    fn decode(&self, _: &[u8]) -> Result<(), DecodeError> {
        Ok(())
    }
}

impl<K: Datum> Records<K> {
    /// Every record once, in order within each partition.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// fn unique(lines: &Records<String>) -> Records<String> {
    ///     lines.distinct()
    /// }
    /// # assert_eq!(windrow::testing::run(["b", "a", "b"], |l| unique(&l)).unwrap(), ["a", "b"]);
    /// ```
    #[track_caller]
    pub fn distinct(&self) -> Records<K>
    where
        K: Key,
    {
        let pairs = self.step::<(K, ()), _>(Op::here("distinct"), false, |_, r, sink| sink.push((r, ())));
        pairs.combine(Once).keys()
    }
}
