//! Attempts that end without a charge.
//!
//! A task gets another attempt without a charge only for a [`Cause`], and every cause has a bound (`ledger.rs`). The
//! journal records the counts, so that they survive a restart of the driver. `suspects.rs` isolates tasks that lose
//! their workers.

use crate::action::Action;
use crate::ledger::{Cause, Happening, Loss};
use crate::note::Why;
use crate::planted::{self, Planted};
use crate::state::State;
use windrow_model::{AttemptId, Failure, Incarnation, StageId, TaskId, WorkerId};

impl State {
    /// Counts an attempt that ended without a charge. `Err`: the bound is reached, and the job fails with this failure.
    pub(crate) fn count_uncharged(
        &mut self,
        worker: WorkerId,
        attempt: AttemptId,
        cause: Cause,
        what: &str,
    ) -> Result<(), Failure> {
        let host = self.workers.get(worker).map(|w| w.info.host.clone()).unwrap_or_default();
        let suspect_after = self.config.suspect_after;
        let Some(task) = self.task_mut(attempt.task) else { return Ok(()) };
        let happening = Happening { worker, host, number: attempt.number, cause, what: what.to_string() };
        task.why = Why::Uncharged(cause);
        let ledger = task.ledger.get_or_insert_default();
        if matches!(cause, Cause::WorkerLost | Cause::LostAlone) {
            if !ledger.lose(Loss { worker, attempt, alone: cause == Cause::LostAlone }) {
                return Ok(());
            }
            let (s, t) = (attempt.task.stage.0 as usize, attempt.task.index as usize);
            if let Some(job) = self.jobs.get_mut(&attempt.task.job) {
                job.losses.entry(worker).or_default().insert((s, t));
            }
        }
        let Some(ledger) = self.task_mut(attempt.task).and_then(|t| t.ledger.as_mut()) else { return Ok(()) };
        let count = ledger.add(happening);
        ledger.suspect |= ledger.count(Cause::WorkerLost) >= suspect_after;
        let exceeded = count >= cause.most() && !planted::has(Planted::NoBound);
        let failure = exceeded.then(|| {
            let message = format!("attempts ended {count} times without a charge: {}; {what}", ledger.story());
            Failure::new(cause.code(), message)
        });
        self.note_counts(attempt.task);
        failure.map_or(Ok(()), Err)
    }

    /// Records the counts of this task in the journal.
    pub(crate) fn note_counts(&mut self, id: TaskId) {
        let tally = self.task(id).and_then(|t| t.ledger.as_ref()).map(|l| l.tally()).unwrap_or_default();
        self.out.push(Action::Uncharged { task: id, tally });
    }

    /// Records the counts if there are any.
    pub(crate) fn note_counts_if_any(&mut self, id: TaskId) {
        if self.task(id).is_some_and(|t| t.ledger.is_some()) {
            self.note_counts(id);
        }
    }

    /// Clears the counts of a done task, except those against its outputs.
    pub(crate) fn settle_ledger(&mut self, id: TaskId) {
        let Some(task) = self.task_mut(id) else { return };
        if let Some(ledger) = &mut task.ledger {
            if !ledger.settle() {
                task.ledger = None;
            }
            self.note_counts(id);
        }
    }

    /// Handles the return of a worker in the incarnation in which it was lost: only the connection was lost, so its
    /// tasks are not at fault. Charges for that loss are taken back, too.
    pub(crate) fn pardon(&mut self, worker: WorkerId, incarnation: Incarnation) {
        let suspect_after = self.config.suspect_after;
        let mut pardoned: Vec<(TaskId, u32)> = Vec::new();
        for (id, job) in &mut self.jobs {
            let Some(losses) = job.losses.remove(&worker) else { continue };
            for (s, t) in losses {
                let Some(ledger) = job.stages[s].tasks[t].ledger.as_mut() else { continue };
                let forgiven = ledger.forgive(worker, incarnation);
                if !forgiven.is_empty() {
                    let task = TaskId { job: *id, stage: StageId(s as u32), index: t as u32 };
                    let charges = forgiven.iter().filter(|loss| loss.alone).count() as u32;
                    pardoned.push((task, charges + ledger.rebalance(suspect_after)));
                }
            }
        }
        for (id, charges) in pardoned {
            self.uncharge(id, charges);
            self.reconsider(id);
        }
    }
}
