//! `union`: the records of both collections.

use crate::data::datum::Datum;
use crate::plan::records::Records;

impl<R: Datum> Records<R> {
    /// The records of this collection, then those of the other. Costs nothing by itself: the next shuffle reads both.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// fn both(a: &Records<String>, b: &Records<String>) -> Records<String> {
    ///     a.union(b)
    /// }
    /// ```
    pub fn union(&self, other: &Records<R>) -> Records<R> {
        let branches = self.branches.iter().chain(other.branches.iter()).cloned().collect();
        let keyed = self.keyed.filter(|p| other.keyed == Some(*p));
        Records::new(&self.flow, branches, keyed)
    }
}
