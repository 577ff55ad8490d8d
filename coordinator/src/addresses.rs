//! Where the workers of the present sessions are, for other workers that fetch from them, with a number for each change.
//!
//! A session remembers the numbers that it has got. So an assignment costs one comparison while no address changes, however
//! many workers there are.

use std::collections::BTreeMap;
use windrow_model::{NodeInfo, WorkerId};
use windrow_proto::v1;

#[derive(Default)]
pub(crate) struct Addresses {
    changes: u64,
    of: BTreeMap<WorkerId, Address>,
}

/// The address of a worker.
#[derive(Clone)]
pub(crate) struct Address {
    /// The number of the change that made it.
    pub change: u64,
    pub peer: v1::Peer,
}

impl Addresses {
    /// A worker registers.
    pub(crate) fn learn(&mut self, node: &NodeInfo) {
        let NodeInfo { worker, address, home, .. } = node;
        let home = home.clone().map(Into::into);
        let peer = v1::Peer { worker: Some((*worker).into()), address: address.clone(), home };
        if self.of.get(worker).is_none_or(|known| known.peer != peer) {
            self.changes += 1;
            self.of.insert(*worker, Address { change: self.changes, peer });
        }
    }

    /// A worker is lost.
    pub(crate) fn forget(&mut self, worker: WorkerId) {
        self.of.remove(&worker);
    }

    pub(crate) fn get(&self, worker: WorkerId) -> Option<&Address> {
        self.of.get(&worker)
    }

    /// Number of changes so far.
    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    /// Number of workers with an address.
    pub(crate) fn len(&self) -> usize {
        self.of.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windrow_model::Incarnation;

    fn node(id: u8, address: &str) -> NodeInfo {
        NodeInfo {
            worker: WorkerId::from_bytes([id; 16]),
            incarnation: Incarnation(1),
            address: address.into(),
            host: "h".into(),
            slots: 1,
            memory_bytes: 1,
            version: "0".into(),
            home: None,
        }
    }

    #[test]
    fn only_another_address_is_a_change() {
        let mut addresses = Addresses::default();
        let mut learn = |id, address: &str| {
            addresses.learn(&node(id, address));
            (addresses.changes(), addresses.get(WorkerId::from_bytes([id; 16])).map(|a| a.change))
        };
        assert_eq!(learn(1, "a"), (1, Some(1)));
        assert_eq!(learn(2, "b"), (2, Some(2)));
        assert_eq!(learn(1, "a"), (2, Some(1)));
        assert_eq!(learn(1, "c"), (3, Some(3)));
        addresses.forget(WorkerId::from_bytes([1; 16]));
        addresses.learn(&node(1, "c"));
        assert_eq!(addresses.changes(), 4, "sessions that were looked at meanwhile do not have it");
    }
}
