//! Who needs records in an order, found out while the plan is made.
//!
//! Sorting is done by whoever reads an edge, and only if what it makes of the records depends on their order: a part file does, a
//! `combine` does not. A join that feeds a combine can look keys up instead of merging, and so can the one before it. So each edge
//! has a demand, and an operation passes on the demand that is made on its result, unless it takes records in any order itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use windrow_model::Port;

/// Whether the order of an edge's pairs matters to a reader of it.
pub(crate) struct Demand {
    ordered: AtomicBool,
    /// Of the edges that the pairs are made from.
    upstream: Vec<Arc<Demand>>,
}

impl Demand {
    pub fn new(upstream: Vec<Arc<Demand>>) -> Arc<Demand> {
        Arc::new(Demand { ordered: AtomicBool::new(false), upstream })
    }

    /// Says that the order matters, here and in all that this is made from.
    pub fn need_order(&self) {
        if !self.ordered.swap(true, Relaxed) {
            self.upstream.iter().for_each(|d| d.need_order());
        }
    }

    /// Asked when tasks run: the plan is complete by then.
    pub fn is_ordered(&self) -> bool {
        self.ordered.load(Relaxed)
    }
}

/// An edge's ports, for readers that say what they need.
#[derive(Clone)]
pub(crate) struct Shuffled {
    ports: Vec<Port>,
    demand: Arc<Demand>,
}

impl Shuffled {
    pub fn new(ports: Vec<Port>, demand: Arc<Demand>) -> Self {
        Shuffled { ports, demand }
    }

    /// For a reader that depends on the order of keys, or of the values of one.
    pub fn in_order(self) -> Vec<Port> {
        self.demand.need_order();
        self.ports
    }

    /// For a reader whose result is ordered only if its input is: it passes the demand on.
    pub fn on_demand(self) -> (Vec<Port>, Arc<Demand>) {
        (self.ports, self.demand)
    }
}
