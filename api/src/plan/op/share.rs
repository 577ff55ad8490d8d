//! `share`: computed once, read many times.

use crate::data::datum::Datum;
use crate::plan::edge_in::ReadRecords;
use crate::plan::edge_out::{Layout, edge_stages, reading, write_record};
use crate::plan::records::Records;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;
use windrow_model::{Order, Partitioner, Partitions};

impl<R: Datum> Records<R> {
    /// Materialises the collection on the workers' disks when it is first needed, so that several readers do not
    /// compute it again. Order and partitioning stay.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// fn twice(lines: &Records<String>) -> Records<String> {
    ///     let cleaned = lines.map(|l, out| out.push(l.trim())).share();
    ///     cleaned.union(&cleaned.filter(|l| l.is_empty()))
    /// }
    /// ```
    #[track_caller]
    pub fn share(&self) -> Records<R> {
        let at = Location::caller();
        let branches = self.branches.iter().map(|branch| {
            let (partitions, partitioner) = branch.lies_in().unwrap_or((Partitions::Auto, Partitioner::InputPart));
            let one = Records::new(&self.flow, vec![branch.clone()], None);
            let layout = |_: &_| Layout { partitions, partitioner, order: Order::Arrival };
            let ports = edge_stages(&one, "share", at, layout, write_record::<R>).in_order();
            let chain = ReadRecords { most: u64::MAX, types: PhantomData::<fn() -> R> };
            reading(vec![ports], partitions, "shared", false, vec![], Arc::new(chain))
        });
        Records::new(&self.flow, branches.collect(), self.keyed)
    }
}
