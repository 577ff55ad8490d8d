//! Collections of records, on which the operations are defined.

use crate::data::datum::Datum;
use crate::data::emitter::Push;
use crate::plan::chain::{Branch, Chain, Step};
use crate::plan::flow::Flow;
use crate::task::context::OpInTask;
use crate::task::culprit::Op;
use std::marker::PhantomData;
use std::sync::Arc;
use windrow_model::Partitions;

/// A distributed collection of records, as a plan: nothing is computed before the job runs. Cheap to clone.
///
/// Operations that look at one record at a time (`map`, `filter`, …) are fused into the loop that reads the input;
/// operations on keys (`combine`, `reduce`, `join`, `sort`, …) shuffle. A collection that is used twice is computed
/// twice unless it is `share`d; the same collection shuffled in the same way is shuffled once.
pub struct Records<R: Datum> {
    pub(crate) flow: Flow,
    pub(crate) branches: Arc<Vec<Branch<R>>>,
    /// Set if the records are partitioned by the hash of their keys, into this number of partitions.
    pub(crate) keyed: Option<Partitions>,
    /// Whether the records ascend by key, from the first to the last partition.
    pub(crate) sorted: bool,
    pub(crate) node: u64,
}

/// Records that have a key.
pub type Pairs<K, V> = Records<(K, V)>;

impl<R: Datum> Clone for Records<R> {
    fn clone(&self) -> Self {
        let (flow, branches) = (self.flow.clone(), self.branches.clone());
        Records { flow, branches, keyed: self.keyed, sorted: self.sorted, node: self.node }
    }
}

impl<R: Datum> Records<R> {
    pub(crate) fn new(flow: &Flow, branches: Vec<Branch<R>>, keyed: Option<Partitions>) -> Self {
        Records { flow: flow.clone(), branches: Arc::new(branches), keyed, sorted: false, node: flow.node() }
    }

    /// Marks the records as sorted.
    pub(crate) fn in_order_of_keys(self) -> Self {
        Records { sorted: true, ..self }
    }

    /// The number of partitions for an operation by key: those in which the records lie by key already; those of the files
    /// of records that they are made from, so that the result lies beside them again; or the default.
    pub(crate) fn partitions_by_key(&self) -> Partitions {
        let beside_files = || {
            let (partitions, _) = self.branches[0].lies_in()?;
            let is_of_files = |b: &Branch<R>| b.lies_in().is_some_and(|(of, _)| of == partitions);
            (self.flow.reads_files_of(partitions) && self.branches.iter().all(is_of_files)).then_some(partitions)
        };
        self.keyed.or_else(beside_files).unwrap_or(Partitions::Auto)
    }

    /// Adds a fused operation to every branch.
    pub(crate) fn step<O: Datum, F>(&self, op: Op, keeps_keys: bool, f: F) -> Records<O>
    where
        F: Fn(&OpInTask<'_, '_>, R::Ref<'_>, &mut dyn Push<O>) + Send + Sync + 'static,
    {
        let f = Arc::new(f);
        let branches = self.branches.iter().map(|b| {
            let step = Step { before: b.chain.clone(), f: f.clone(), op, types: PhantomData::<fn(R) -> O> };
            self.flow.calling(&*f, b.then(op.name, Arc::new(step)))
        });
        Records::new(&self.flow, branches.collect(), self.keyed.filter(|_| keeps_keys))
    }

    /// Adds an operation that is a chain of its own, and calls this code of the user, to every branch. Its records have no
    /// places.
    pub(crate) fn chained<O: Datum, C: Chain<O> + 'static, F: ?Sized>(
        &self,
        op: Op,
        keeps_keys: bool,
        code: &F,
        make: impl Fn(Arc<dyn Chain<R>>) -> C,
    ) -> Records<O> {
        let then = |b: &Branch<R>| self.flow.calling(code, b.then(op.name, Arc::new(make(b.chain.clone()))));
        let branches = self.branches.iter().map(|b| Branch { has_places: false, ..then(b) });
        Records::new(&self.flow, branches.collect(), self.keyed.filter(|_| keeps_keys))
    }
}
