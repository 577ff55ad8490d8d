//! Values that have a family already: owned ones, and encodings of records.

use super::{Datum, IntoDatum, Reader};
use crate::data::arena::Arena;
use std::marker::PhantomData;

/// An owned value of a family, which can be emitted whatever the family is.
pub struct Owned<D>(pub(crate) D);

impl<D: Datum> IntoDatum for Owned<D> {
    type Datum = D;
    #[inline]
    fn with<X>(self, f: impl FnOnce(D::Ref<'_>) -> X) -> X {
        self.0.lend(f)
    }
}

/// The encoding of a record that this process has made or received.
pub struct Encoded<D> {
    pub(crate) bytes: Box<[u8]>,
    pub(crate) types: PhantomData<fn() -> D>,
}

impl<D: Datum> IntoDatum for Encoded<D> {
    type Datum = D;
    /// # Panics
    /// The bytes are not an encoding of the family, which checksums of shuffled data exclude.
    fn with<X>(self, f: impl FnOnce(D::Ref<'_>) -> X) -> X {
        let arena = Arena::new();
        match D::decode::<true>(&mut Reader::new(&self.bytes, &arena)) {
            Ok(r) => f(r),
            Err(e) => panic!("a record does not decode: {e}"),
        }
    }
}
