//! Remembers the number of keys in the tables of a stage, so that the next table starts with the right size.
//!
//! Tasks of a stage are alike. A table that starts small grows by doubling: half of its memory is zeroed in vain, and
//! every key moves several times. The number is only an estimate: a table that starts too small grows, one that starts
//! too large has unused slots within its budget.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use windrow_format::block::Identity;

/// Most stages that are remembered; more than a process runs at a time.
const STAGES_MAX: usize = 64;

/// Job, stage and output.
type Stage = ([u8; 16], u32, u32);

static KEYS: Mutex<BTreeMap<Stage, usize>> = Mutex::new(BTreeMap::new());

fn stage(identity: &Identity) -> Stage {
    (identity.job, identity.stage, identity.output)
}

/// Number of keys in an earlier table of the same stage and output; 0 if there was none.
pub(crate) fn keys(identity: &Identity) -> usize {
    KEYS.lock().unwrap_or_else(PoisonError::into_inner).get(&stage(identity)).copied().unwrap_or(0)
}

/// Records the number of keys in a table of this stage and output.
pub(crate) fn note(identity: &Identity, keys: usize) {
    let mut known = KEYS.lock().unwrap_or_else(PoisonError::into_inner);
    if known.len() >= STAGES_MAX {
        known.clear();
    }
    known.insert(stage(identity), keys);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_is_per_stage_and_bounded() {
        let of = |n: u32| Identity { job: [9; 16], stage: n, ..Identity::default() };
        note(&of(1), 10);
        note(&Identity { output: 1, ..of(1) }, 20);
        assert_eq!((keys(&of(1)), keys(&of(2))), (10, 0));
        // Another task of the stage reads the same entry.
        assert_eq!(keys(&Identity { task: 7, partition: 3, ..of(1) }), 10);
        (0..1000).for_each(|n| note(&of(n), 1));
        assert!(KEYS.lock().unwrap().len() <= STAGES_MAX);
    }
}
