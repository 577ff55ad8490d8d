//! How many keys the tables of a stage have held, so that the next one begins with the right size.
//!
//! Tasks of a stage are alike. A table that begins small grows by doubling: half of its memory is zeroed for nothing, and
//! every key moves several times. It is only a guess: a table that was guessed too small grows, one that was guessed too
//! large has slots that it does not need, within its budget.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use windrow_format::block::Identity;

/// Stages that are remembered; more than a process has at a time.
const STAGES_MAX: usize = 64;

/// Job, stage and output.
type Stage = ([u8; 16], u32, u32);

static KEYS: Mutex<BTreeMap<Stage, usize>> = Mutex::new(BTreeMap::new());

fn stage(identity: &Identity) -> Stage {
    (identity.job, identity.stage, identity.output)
}

/// Keys that an earlier table of the same stage and output held; 0 if there was none.
pub fn keys(identity: &Identity) -> usize {
    KEYS.lock().unwrap_or_else(PoisonError::into_inner).get(&stage(identity)).copied().unwrap_or(0)
}

/// A table of this stage and output has held so many.
pub fn note(identity: &Identity, keys: usize) {
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
    fn each_stage_has_its_own_and_few_are_kept() {
        let of = |n: u32| Identity { job: [9; 16], stage: n, ..Identity::default() };
        note(&of(1), 10);
        note(&Identity { output: 1, ..of(1) }, 20);
        assert_eq!((keys(&of(1)), keys(&of(2))), (10, 0));
        // Another task of the stage knows it, too.
        assert_eq!(keys(&Identity { task: 7, partition: 3, ..of(1) }), 10);
        (0..1000).for_each(|n| note(&of(n), 1));
        assert!(KEYS.lock().unwrap().len() <= STAGES_MAX);
    }
}
