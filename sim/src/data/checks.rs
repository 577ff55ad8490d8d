//! The promises about chunks on disks that the simulation asserts.

use super::World;
use super::journal::Record;
use std::collections::BTreeSet;
use windrow_datasets::Verdict;
use windrow_model::*;

impl World {
    /// A record becomes durable just before the coordinator dies, so no client hears of it.
    pub(super) fn write_last(&mut self, record: Record) {
        let (epoch, nonce) =
            self.coordinator.as_ref().map_or((0, 0), |coordinator| (coordinator.epoch, coordinator.nonce));
        self.apply_record(record, epoch, nonce);
    }

    /// A worker is admitted if and only if its folder is of this cluster and the journal has been in the state that it has seen.
    pub(super) fn check_verdict(&self, id: WorkerId, folder: Folder, verdict: &Verdict) {
        let Some(cluster) = folder.cluster else { return };
        let seen = folder.seen;
        let point = (seen.epoch.0, seen.nonce, seen.revision);
        let state = self.states.get(&point).copied();
        let is_ours = Some(cluster) == self.journal.cluster;
        let knows = state.is_none_or(|state| self.journal.history.contains(&state));
        match verdict {
            Verdict::Admitted => {
                assert!(is_ours, "{id} of {cluster} is admitted");
                assert!(knows, "{id} has seen {point:?} and is admitted by a journal that was never there");
            }
            Verdict::Refused { failure, above, .. } => {
                let is_right = if is_ours { !knows || self.is_above(seen) } else { true };
                assert!(is_right || above.is_some(), "{id} has seen {point:?} and is refused: {failure}");
            }
        }
    }

    /// A restored journal has not reached an epoch yet that a worker has seen.
    fn is_above(&self, seen: Seen) -> bool {
        seen.epoch.0 >= self.journal.epoch && self.journal.lineage.is_restored()
    }

    /// A worker accepts an order to delete: the order's journal is not behind what the worker has seen.
    pub(super) fn check_obeys(&self, id: WorkerId) {
        let seen = self.nodes[&id].disk.seen;
        let state = self.states.get(&(seen.epoch.0, seen.nonce, seen.revision));
        let knows = state.is_none_or(|state| self.journal.history.contains(state));
        assert!(knows, "{id} has seen {seen:?} and obeys a journal that was never there");
    }

    /// A dataset is acknowledged: each of its chunks was on a disk.
    pub(super) fn check_acknowledged(&self, dataset: &Dataset) {
        let missing = dataset.chunks.iter().find(|chunk| !self.stored_ever.contains(&chunk.digest));
        assert!(missing.is_none(), "{} is acknowledged, and {missing:?} was on no disk", dataset.name);
    }

    /// A job fails for a chunk: no registered worker has it.
    pub(super) fn check_lacks(&self, digest: Digest) {
        let has = |id: &WorkerId| {
            let node = &self.nodes[id];
            node.session.is_some() && node.is_registered && !node.is_busy() && node.disk.has(digest)
        };
        let found = self.ids.iter().find(|id| has(id));
        assert!(found.is_none(), "a job fails for {digest}, which {found:?} has");
    }

    /// Whether no message, record or copy is pending and every chunk has all possible copies.
    pub(super) fn is_settled(&self) -> bool {
        self.unsettled().is_empty()
    }

    pub(super) fn unsettled(&self) -> String {
        let Some(coordinator) = &self.coordinator else { return "the coordinator is down".into() };
        let absent = self.ids.iter().find(|id| !self.nodes[id].is_registered);
        let busy = self.ids.iter().find(|id| self.nodes[id].is_busy());
        if absent.is_some()
            || busy.is_some()
            || !coordinator.unwritten.is_empty()
            || coordinator.table.inventory_pending()
        {
            return format!("absent: {absent:?}, busy: {busy:?}, records: {}", coordinator.unwritten.len());
        }
        let short = |digest: &Digest| self.on_disks(*digest) > 0 && coordinator.table.missing(*digest) > 0;
        match self.journal.references().into_iter().find(short) {
            Some(digest) => format!("{digest} has {} copies", coordinator.table.copies(digest)),
            None => String::new(),
        }
    }

    fn on_disks(&self, digest: Digest) -> usize {
        self.nodes.values().filter(|node| node.disk.has(digest)).count()
    }

    /// The table's holders are those of the disks, and it has found every chunk that a disk has.
    pub(super) fn check_copies(&self) {
        let coordinator = self.coordinator.as_ref().expect("it is up");
        for digest in self.journal.references() {
            let holders: BTreeSet<WorkerId> = coordinator.table.holders(digest).collect();
            let disks = self.ids.iter().filter(|id| self.nodes[id].disk.chunks.get(&digest) == Some(&true));
            let disks: BTreeSet<WorkerId> = disks.copied().collect();
            assert_eq!(holders, disks, "holders of {digest} in the table, and on disks");
            assert!(!holders.is_empty() || self.on_disks(digest) == 0, "{digest} is on a disk and is not found");
        }
        for (name, dataset) in &self.journal.datasets {
            assert!(
                coordinator.table.get(name).is_ok_and(|known| known == dataset),
                "{name} is as it was acknowledged"
            );
        }
    }

    /// Expired orphans are in the trash.
    pub(super) fn check_orphans_went(&mut self) {
        let coordinator = self.coordinator.as_ref().expect("it is up");
        let left =
            coordinator.table.orphans(coordinator.time(self.now)).into_iter().find(|orphan| !orphan.holders.is_empty());
        let is_frozen = !coordinator.open.is_empty();
        assert!(left.is_none() || is_frozen, "an orphan stays: {left:?}");
    }
}
