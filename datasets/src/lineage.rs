//! The lives of a journal, and whether what a worker has seen is a part of them. Pure.
//!
//! Each start of a coordinator is a life: an epoch with a random nonce, which began with so many recorded changes of datasets
//! (the *revision*). A worker keeps the newest life and revision that it has seen. If they are not in the journal's own
//! lives, the journal is an old copy: of its datasets it knows less than there are, and nothing may be deleted on its word.
//!
//! `windrow coordinator restore` marks the next life as *restored*: it stands in for every life after the one that the copy was
//! made in, and admits workers that have seen those.

use crate::planted::{self, Planted};
use std::collections::BTreeMap;
use std::ops::Bound;
use windrow_model::{Epoch, Seen};

/// One life of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    pub nonce: u64,
    /// Changes of datasets that were recorded when it began.
    pub revision: u64,
    /// It is the first one after a restore.
    pub restored: bool,
}

/// Every life that the journal remembers, the present one last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lineage(pub BTreeMap<Epoch, Life>);

/// Why a journal is not the one that a worker has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behind {
    /// The worker has seen a later life, or more changes than this journal has of that life.
    Older,
    /// The life that the worker has seen was of another copy of this journal.
    Copied,
}

impl Lineage {
    /// Judges what a worker has seen, against a journal that has recorded `revision` changes now.
    pub(crate) fn judge(&self, seen: Seen, revision: u64) -> Result<(), Behind> {
        let Some((first, _)) = self.0.first_key_value() else { return Err(Behind::Older) };
        // Lives from before the oldest that is remembered were never told to any worker, or are long past.
        if seen.epoch < *first || self.is_replaced(seen.epoch) {
            return Ok(());
        }
        let Some(life) = self.0.get(&seen.epoch) else {
            return if planted::has(Planted::LaterLifeAdmitted) { Ok(()) } else { Err(Behind::Older) };
        };
        if life.nonce != seen.nonce && !planted::has(Planted::CopyAdmitted) {
            return Err(Behind::Copied);
        }
        let next = self.0.range((Bound::Excluded(seen.epoch), Bound::Unbounded)).next();
        let end = next.map_or(revision, |(_, next)| next.revision);
        if seen.revision <= end || planted::has(Planted::MoreChangesAdmitted) { Ok(()) } else { Err(Behind::Older) }
    }

    /// Whether a restored life stands in for this one, or for what followed in it.
    fn is_replaced(&self, epoch: Epoch) -> bool {
        let mut before: Option<Epoch> = None;
        for (number, life) in &self.0 {
            if life.restored && epoch < *number && before.is_none_or(|copied_in| copied_in <= epoch) {
                return true;
            }
            before = Some(*number);
        }
        false
    }

    /// Whether the present life is the first one after a restore.
    pub fn is_restored(&self) -> bool {
        self.0.last_key_value().is_some_and(|(_, life)| life.restored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seen(epoch: u64, revision: u64) -> Seen {
        Seen { epoch: Epoch(epoch), nonce: epoch * 10, revision }
    }
    fn life(revision: u64) -> Life {
        Life { nonce: 0, revision, restored: false }
    }
    fn lineage(lives: &[(u64, Life)]) -> Lineage {
        Lineage(lives.iter().map(|(epoch, life)| (Epoch(*epoch), Life { nonce: epoch * 10, ..*life })).collect())
    }

    #[test]
    fn older_copy_of_a_journal_is_known_by_epoch_and_revision() {
        let journal = lineage(&[(3, life(5)), (4, life(7))]);
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
    fn restored_life_admits_what_it_replaces_and_nothing_else() {
        let restored = Life { restored: true, ..life(2) };
        let journal = lineage(&[(1, life(0)), (2, life(1)), (100, restored), (101, life(3))]);
        assert_eq!(journal.judge(seen(1, 2), 4), Err(Behind::Older));
        assert_eq!(journal.judge(seen(2, 50), 4), Ok(()));
        assert_eq!(journal.judge(seen(60, 50), 4), Ok(()));
        assert_eq!(journal.judge(seen(100, 3), 4), Ok(()));
        assert_eq!(journal.judge(seen(100, 4), 4), Err(Behind::Older));
        assert_eq!(journal.judge(seen(102, 0), 4), Err(Behind::Older));
        assert!(!journal.is_restored());
        // A journal that had no lives before its restore, as those of earlier releases.
        assert_eq!(lineage(&[(100, restored)]).judge(seen(7, 1), 2), Ok(()));
    }

    proptest! {
        /// Histories of one journal: what a worker saw at any time is never behind later, and always is for a copy from before.
        #[test]
        fn what_was_seen_is_behind_no_later_state_and_every_earlier_one(
            changes in prop::collection::vec(0u64..3, 1..8), copy_at in 0usize..8, see_at in 0usize..8,
        ) {
            let lives: Vec<(u64, Life)> = changes.iter().scan(0, |revision, more| {
                let begins = *revision;
                *revision += more;
                Some(begins)
            }).zip(1u64..).map(|(begins, epoch)| (epoch, life(begins))).collect();
            let end_of = |i: usize| lives[i].1.revision + changes[i];
            let (copy_at, see_at) = (copy_at % lives.len(), see_at % lives.len());
            let worker = seen(lives[see_at].0, end_of(see_at));
            let whole = lineage(&lives);
            prop_assert_eq!(whole.judge(worker, end_of(lives.len() - 1)), Ok(()));
            // A copy of the journal as it was when life `copy_at` began.
            let copy = lineage(&lives[..=copy_at]);
            let is_behind = see_at > copy_at || see_at == copy_at && changes[copy_at] > 0;
            prop_assert_eq!(copy.judge(worker, lives[copy_at].1.revision).is_err(), is_behind);
        }
    }
}
