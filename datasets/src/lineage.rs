//! The epochs of a journal, and whether those that a worker has seen are among them. Pure.
//!
//! Each start of a coordinator begins an epoch: a number and a random nonce, and the number of recorded changes of datasets at its
//! beginning (the *revision*). A worker keeps the newest epoch and revision that it has seen. If the journal does not have them, it is
//! an old copy: it lacks datasets, so none of its deletions may be carried out.
//!
//! `windrow coordinator restore` marks the next epoch as *restored*. It is above every epoch that a copy of the journal has reached, and
//! by the operator's order it replaces all of them, on whichever copy: a worker that has seen one of them is admitted, also if this
//! journal has had the same epoch with another nonce, or fewer changes in it. The chunks that this journal does not know are orphans then.

use crate::planted::{self, Planted};
use std::collections::BTreeMap;
use std::ops::Bound;
use windrow_model::{Epoch, Seen};

/// One epoch of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochRecord {
    pub nonce: u64,
    /// Changes of datasets that were recorded when it began.
    pub revision: u64,
    /// It is the first one after a restore.
    pub restored: bool,
}

/// Every epoch that the journal remembers, the present one last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage(pub BTreeMap<Epoch, EpochRecord>);

/// Why a journal is not the one that a worker has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    /// The worker has seen a later epoch, or more changes than this journal has of that epoch.
    Older,
    /// The epoch that the worker has seen was of another copy of this journal.
    Copied,
}

impl Lineage {
    /// Judges what a worker has seen, against a journal that has recorded `revision` changes now.
    pub(crate) fn judge(&self, seen: Seen, revision: u64) -> Result<(), Behind> {
        let Some((first, _)) = self.0.first_key_value() else { return Err(Behind::Older) };
        // Epochs before the oldest one that is remembered are long past, or were never announced to a worker.
        if seen.epoch < *first || self.is_replaced(seen.epoch) {
            return Ok(());
        }
        let Some(record) = self.0.get(&seen.epoch) else {
            return if planted::has(Planted::LaterEpochAdmitted) { Ok(()) } else { Err(Behind::Older) };
        };
        if record.nonce != seen.nonce && !planted::has(Planted::CopyAdmitted) {
            return Err(Behind::Copied);
        }
        let next = self.0.range((Bound::Excluded(seen.epoch), Bound::Unbounded)).next();
        let end = next.map_or(revision, |(_, next)| next.revision);
        if seen.revision <= end || planted::has(Planted::MoreChangesAdmitted) { Ok(()) } else { Err(Behind::Older) }
    }

    /// Whether a restored epoch replaces this one.
    fn is_replaced(&self, epoch: Epoch) -> bool {
        let is_refused = planted::has(Planted::ForkRefused) && self.0.contains_key(&epoch);
        let mut later = self.0.range((Bound::Excluded(epoch), Bound::Unbounded));
        !is_refused && later.any(|(_, record)| record.restored)
    }

    /// Whether the present epoch is the first one after a restore.
    pub fn is_restored(&self) -> bool {
        self.0.last_key_value().is_some_and(|(_, record)| record.restored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seen(epoch: u64, revision: u64) -> Seen {
        Seen { epoch: Epoch(epoch), nonce: epoch * 10, revision }
    }
    fn began(revision: u64) -> EpochRecord {
        EpochRecord { nonce: 0, revision, restored: false }
    }
    fn lineage(epochs: &[(u64, EpochRecord)]) -> Lineage {
        Lineage(
            epochs
                .iter()
                .map(|(epoch, record)| (Epoch(*epoch), EpochRecord { nonce: epoch * 10, ..*record }))
                .collect(),
        )
    }

    #[test]
    fn older_copy_of_a_journal_is_known_by_epoch_and_revision() {
        let journal = lineage(&[(3, began(5)), (4, began(7))]);
        for (epoch, revision, verdict) in [
            (1, 99, Ok(())),
            (3, 7, Ok(())),
            (3, 8, Err(Behind::Older)),
            (4, 9, Ok(())),
            (4, 10, Err(Behind::Older)),
            (5, 0, Err(Behind::Older)),
        ] {
            assert_eq!(journal.judge(seen(epoch, revision), 9), verdict, "{epoch} {revision}");
        }
        let copy = Seen { nonce: 1, ..seen(4, 7) };
        assert_eq!(journal.judge(copy, 9), Err(Behind::Copied));
        assert_eq!(Lineage::default().judge(Seen::default(), 0), Err(Behind::Older));
    }

    #[test]
    fn restored_epoch_admits_what_it_replaces_and_no_other() {
        let restored = EpochRecord { restored: true, ..began(2) };
        let journal = lineage(&[(1, began(0)), (2, began(1)), (100, restored), (101, began(3))]);
        assert_eq!(journal.judge(seen(2, 50), 4), Ok(()));
        assert_eq!(journal.judge(seen(60, 50), 4), Ok(()));
        assert_eq!(journal.judge(seen(100, 3), 4), Ok(()));
        assert_eq!(journal.judge(seen(100, 4), 4), Err(Behind::Older));
        assert_eq!(journal.judge(seen(102, 0), 4), Err(Behind::Older));
        assert!(!journal.is_restored());
        // A journal without epochs before its restore, as those of earlier releases.
        assert_eq!(lineage(&[(100, restored)]).judge(seen(7, 1), 2), Ok(()));
    }

    /// Two copies of a journal ran in the same epochs before one of them was restored.
    #[test]
    fn restored_journal_admits_workers_of_every_earlier_copy() {
        let restored = EpochRecord { restored: true, ..began(2) };
        let epochs = [(1, began(0)), (2, began(1)), (3, began(2)), (100, restored)];
        let (before, after) = (lineage(&epochs[..3]), lineage(&epochs));
        // More changes in an epoch than this journal has had, another copy's epoch, and a later epoch.
        for (worker, behind) in [
            (seen(1, 2), Behind::Older),
            (Seen { nonce: 7, ..seen(2, 1) }, Behind::Copied),
            (Seen { nonce: 7, ..seen(3, 9) }, Behind::Copied),
            (seen(4, 2), Behind::Older),
        ] {
            assert_eq!(before.judge(worker, 2), Err(behind), "{worker:?}");
            assert_eq!(after.judge(worker, 2), Ok(()), "{worker:?}");
        }
        // Copies of the restored journal are distinguished as before.
        assert_eq!(after.judge(Seen { nonce: 7, ..seen(100, 2) }, 2), Err(Behind::Copied));
    }

    proptest! {
        /// Histories of one journal: it is never behind what a worker has seen, and an earlier copy always is.
        #[test]
        fn seen_state_is_behind_only_earlier_journals(
            changes in prop::collection::vec(0u64..3, 1..8), copy_at in 0usize..8, see_at in 0usize..8,
        ) {
            let epochs: Vec<(u64, EpochRecord)> = changes.iter().scan(0, |revision, more| {
                let begins = *revision;
                *revision += more;
                Some(begins)
            }).zip(1u64..).map(|(begins, epoch)| (epoch, began(begins))).collect();
            let end_of = |i: usize| epochs[i].1.revision + changes[i];
            let (copy_at, see_at) = (copy_at % epochs.len(), see_at % epochs.len());
            let worker = seen(epochs[see_at].0, end_of(see_at));
            let whole = lineage(&epochs);
            prop_assert_eq!(whole.judge(worker, end_of(epochs.len() - 1)), Ok(()));
            // A copy of the journal as it was when epoch `copy_at` began.
            let copy = lineage(&epochs[..=copy_at]);
            let is_behind = see_at > copy_at || see_at == copy_at && changes[copy_at] > 0;
            prop_assert_eq!(copy.judge(worker, epochs[copy_at].1.revision).is_err(), is_behind);
        }
    }
}
