//! From the last task of a job to the end of its commit.

use super::{stay, to};
use crate::commit::Commit;
use crate::jobs::Jobs;
use crate::jobs::commit::{CommitStep, CommitWork, Committing, FolderCommit, Sealing, TryState};
use crate::jobs::phase::{EndStep, Ending, JobPhase, Running};
use crate::staged_outputs::StagedSink;
use std::collections::BTreeSet;
use windrow_model::{AttemptId, JobId, Time};
use windrow_scheduler::Collected;

impl Jobs {
    /// Bytes of collected blobs that the running job has in memory.
    pub(crate) fn inline_bytes(&mut self, id: JobId) -> Option<&mut usize> {
        match &mut self.table.get_mut(&id)?.phase {
            JobPhase::Running(running) => Some(&mut running.inline_bytes),
            _ => None,
        }
    }

    /// Every task is done. `collected` is being stored.
    pub(crate) fn seal(&mut self, id: JobId, commit: Commit, collected: Collected) -> Option<()> {
        self.change(id, |phase, _| match phase {
            JobPhase::Running(Running { prepared, earlier, .. }) => {
                let sealing = Sealing { prepared, commit, collected, is_stored: false, earlier };
                to(JobPhase::Sealing(sealing), ())
            }
            other => stay(other),
        })
    }

    /// The blobs of the result that were being stored: of a job that seals, or of one that ends without a commit.
    pub(crate) fn storing(&mut self, id: JobId) -> Option<&mut Collected> {
        match &mut self.table.get_mut(&id)?.phase {
            JobPhase::Sealing(sealing) if !sealing.is_stored => Some(&mut sealing.collected),
            JobPhase::Ending(Ending { step: EndStep::Storing(end), .. }) => Some(&mut end.collected),
            _ => None,
        }
    }

    /// The result of a job that seals is stored. Returns the result, and the number of tries if this begins one: the commit.
    pub(crate) fn begin_commit(&mut self, id: JobId) -> Option<(Collected, Option<u32>)> {
        self.change(id, |phase, tries| match phase {
            JobPhase::Sealing(sealing) if !sealing.is_stored => {
                let is_held = sealing.earlier.as_ref().is_some_and(|earlier| earlier.held.is_some());
                let counted = (!is_held).then(|| {
                    *tries += 1;
                    *tries
                });
                let collected = sealing.collected.clone();
                to(JobPhase::Sealing(Sealing { is_stored: true, ..sealing }), (collected, counted))
            }
            other => stay(other),
        })
    }

    /// The beginning of the commit is durable. Its datasets get the chunks of the attempts that have won.
    pub(crate) fn sealed(&mut self, id: JobId) {
        self.change(id, |phase, _| match phase {
            JobPhase::Sealing(Sealing { mut prepared, commit, collected, is_stored: true, earlier }) => {
                for (sink, output) in &mut prepared.outputs {
                    let own = commit.parts.iter().filter(|p| p.part.sink == *sink);
                    let won: BTreeSet<AttemptId> = own.map(|p| p.attempt).collect();
                    output.chunks.retain(|attempt, _| won.contains(attempt));
                }
                let sealed_before = earlier.is_some();
                let step = CommitStep::Chunks { commit, held: earlier.and_then(|earlier| earlier.held) };
                to(JobPhase::Committing(Committing { prepared, collected, sealed_before, step }), ())
            }
            other => stay(other),
        });
    }

    /// Every chunk of the outputs has a holder: the commit of its folders begins. Returns the reason if an operator has to order the
    /// first try.
    pub(crate) fn commit_folders(&mut self, id: JobId) -> Option<Option<String>> {
        self.change(id, |phase, _| match phase {
            JobPhase::Committing(Committing {
                prepared,
                collected,
                sealed_before,
                step: CommitStep::Chunks { commit, held },
            }) => {
                let state = if held.is_some() { TryState::Held } else { TryState::Runs { waits: false } };
                let step = CommitStep::Folders(FolderCommit::new(commit, state));
                to(JobPhase::Committing(Committing { prepared, collected, sealed_before, step }), held)
            }
            other => stay(other),
        })
    }

    fn change_try<T>(
        &mut self,
        id: JobId,
        change: impl FnOnce(&mut FolderCommit) -> Option<T>,
    ) -> Option<(T, Option<u32>)> {
        self.change(id, |phase, tries| match phase {
            JobPhase::Committing(Committing {
                prepared,
                collected,
                sealed_before,
                step: CommitStep::Folders(mut folders),
            }) => {
                let was_counted = folders.state.is_counted();
                let out = change(&mut folders);
                // A running try counts, since it may crash the coordinator.
                let counted = match (was_counted, folders.state.is_counted()) {
                    (false, true) => Some(*tries + 1),
                    (true, false) => Some(tries.saturating_sub(1)),
                    _ => None,
                };
                *tries = counted.unwrap_or(*tries);
                let step = CommitStep::Folders(folders);
                let phase = JobPhase::Committing(Committing { prepared, collected, sealed_before, step });
                (phase, out.map(|out| (out, counted)))
            }
            other => stay(other),
        })
    }

    /// A commit that waits is tried again. Returns the number of tries to record. `None` if a thread works on it.
    pub(crate) fn retry_commit(&mut self, id: JobId) -> Option<Option<u32>> {
        let begun = self.change_try(id, |folders| match folders.state.has_thread() {
            true => None,
            false => {
                folders.state = TryState::Runs { waits: true };
                Some(())
            }
        });
        begun.map(|((), tries)| tries)
    }

    /// What the thread of the present try needs.
    pub(crate) fn commit_work(&self, id: JobId) -> Option<CommitWork> {
        let Some(JobPhase::Committing(committing)) = self.phase(id) else { return None };
        let commit = committing.folders()?.commit.clone();
        let staging = committing.prepared.staging.clone();
        Some(CommitWork { staging, commit, sealed_before: committing.sealed_before })
    }

    /// The thread of a commit does not return in time. Returns whether the commit has not waited before, and the number of tries to
    /// record.
    pub(crate) fn commit_hangs(&mut self, id: JobId) -> Option<(bool, Option<u32>)> {
        self.change_try(id, |folders| {
            let was = std::mem::replace(&mut folders.state, TryState::Hangs);
            Some(!was.waits())
        })
    }

    /// A try of a commit has ended without success: the next one comes after a pause. Returns the same as `commit_hangs`.
    pub(crate) fn pause_commit(&mut self, id: JobId, now: Time) -> Option<(bool, Option<u32>)> {
        self.change_try(id, |folders| {
            let was = folders.state;
            folders.pause(now);
            Some(!was.waits())
        })
    }

    /// The stagings of a job that commits are known now. Without any, nothing of them is removed at its end.
    pub(crate) fn found_staging(&mut self, id: JobId, staging: Vec<StagedSink>) {
        if let Some(JobPhase::Committing(committing)) = self.table.get_mut(&id).map(|job| &mut job.phase) {
            committing.prepared.staging.sinks = staging;
        }
    }

    /// The folders are visible.
    pub(crate) fn commit_datasets(&mut self, id: JobId) {
        self.change(id, |phase, _| match phase {
            JobPhase::Committing(committing @ Committing { step: CommitStep::Folders(_), .. }) => {
                to(JobPhase::Committing(Committing { step: CommitStep::Datasets, ..committing }), ())
            }
            other => stay(other),
        });
    }
}
