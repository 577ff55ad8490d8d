//! Tracks which readers need their records in order, while the plan is built.
//!
//! The reader of an edge sorts, and only if its result depends on the order of the records: a part file does, a
//! `combine` does not. A join that feeds a combine can look keys up instead of merging, and so can a join before it. So
//! each edge has a demand, and an operation passes the demand on its result to its inputs, unless it accepts records in
//! any order itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use windrow_model::Port;

/// Whether the order of an edge's pairs matters to one of its readers.
pub(crate) struct Demand {
    ordered: AtomicBool,
    /// The demands of the edges that the pairs are made from.
    upstream: Vec<Arc<Demand>>,
}

impl Demand {
    pub(crate) fn new(upstream: Vec<Arc<Demand>>) -> Arc<Demand> {
        Arc::new(Demand { ordered: AtomicBool::new(false), upstream })
    }

    /// Records that the order matters, for this edge and all edges upstream.
    pub(crate) fn need_order(&self) {
        if !self.ordered.swap(true, Relaxed) {
            self.upstream.iter().for_each(|d| d.need_order());
        }
    }

    /// Whether the order matters. Final when tasks run, because the plan is complete by then.
    pub(crate) fn is_ordered(&self) -> bool {
        self.ordered.load(Relaxed)
    }
}

/// An edge's ports, for readers that declare their demand.
#[derive(Clone)]
pub(crate) struct Shuffled {
    ports: Vec<Port>,
    demand: Arc<Demand>,
}

impl Shuffled {
    pub(crate) fn new(ports: Vec<Port>, demand: Arc<Demand>) -> Self {
        Shuffled { ports, demand }
    }

    /// For a reader that depends on the order of keys, or of the values of one key.
    pub(crate) fn in_order(self) -> Vec<Port> {
        self.demand.need_order();
        self.ports
    }

    /// For a reader whose result is ordered only if its input is: it passes the demand on.
    pub(crate) fn on_demand(self) -> (Vec<Port>, Arc<Demand>) {
        (self.ports, self.demand)
    }
}
