//! Follows the scheduler's notes: each attempt begins once and ends once, and what has no end by the notes is known to the
//! scheduler.

use super::Cluster;
use std::collections::BTreeMap;
use windrow_model::{AttemptId, JobId, WorkerId};
use windrow_scheduler::{Action, Note};

/// A note, and when it was made.
#[derive(Clone, Debug)]
pub struct Noted {
    /// Milliseconds of the cluster's clock.
    pub ms: u64,
    pub epoch: u64,
    pub job: JobId,
    pub note: Note,
}

/// The attempts that have not ended by the notes of this epoch.
#[derive(Default)]
pub(super) struct Begun(BTreeMap<AttemptId, WorkerId>);

impl Cluster {
    /// A new scheduler knows no attempts.
    pub(super) fn forget_begun(&mut self) {
        self.begun.0.clear();
    }

    /// Takes the notes of a step, and holds them against its actions.
    pub(super) fn take_notes(&mut self, actions: &[Action]) {
        let mut assigned = 0;
        for (job, note) in self.scheduler.take_notes() {
            let open = &mut self.begun.0;
            match &note {
                Note::Assigned { worker, attempt, why, .. } => {
                    assigned += u64::from(*why != windrow_scheduler::Why::Rejoined);
                    let before = open.insert(*attempt, *worker);
                    assert_eq!(before, None, "{attempt} begins a second time");
                }
                Note::Started { attempt } | Note::Granted { attempt } => {
                    assert!(open.contains_key(attempt), "{attempt} goes on after its end: {note:?}");
                }
                Note::Done { worker, attempt, .. }
                | Note::Failed { worker, attempt, .. }
                | Note::Stopped { worker, attempt, .. } => {
                    assert_eq!(open.remove(attempt), Some(*worker), "{attempt} ends without a beginning: {note:?}");
                }
                Note::Ended { .. } => open.retain(|attempt, _| attempt.task.job != job),
                _ => {}
            }
            self.noted.push(Noted { ms: self.now.0, epoch: self.epoch, job, note });
        }
        let sent = actions.iter().filter(|action| matches!(action, Action::Assign { .. })).count() as u64;
        // A worker may return with the attempt of a backup.
        assert!(assigned >= sent, "{sent} attempts are assigned, {assigned} by the notes");
    }

    /// Every attempt without an end is one of the scheduler's.
    pub(super) fn check_begun(&self) {
        for (attempt, worker) in &self.begun.0 {
            let known = self.scheduler.is_running(*worker, *attempt) || self.scheduler.is_publishing(*worker, *attempt);
            assert!(known, "{attempt} on {worker} has ended without a note");
        }
    }
}
