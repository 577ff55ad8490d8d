//! The changes of a job's phase, one function for each. A change that does not fit the present phase has no effect and gives
//! `None`: messages may come late.

use super::commit::{CommitStep, CommitWork, Committing, FolderCommit, Sealing, TryState};
use super::phase::{Awaited, End, EndStep, Ending, JobPhase, Publishing, Running, Straggler, Wait};
use super::prepared::{DatasetOutput, EarlierCommit, Outputs, Prepared};
use super::{Job, Jobs};
use crate::commit::Commit;
use crate::mailbox::Answer;
use crate::split::{SplitJob, StagedSink};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use windrow_model::{AttemptId, Dataset, DatasetChunk, Digest, Failure, JobId, JobState, Time, WorkerId};
use windrow_scheduler::{Collected, StageChunks};
use windrow_store::Steps;

/// What the journal has of a job of an earlier epoch.
pub(crate) struct Restoring {
    pub tries: u32,
    pub spec_bytes: usize,
    /// How its inputs were cut is known.
    pub is_split: bool,
    pub staging: Vec<StagedSink>,
    pub earlier: Option<EarlierCommit>,
}

/// When the planning of a job begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SplitStart {
    /// Now.
    Now,
    /// When the submit is durable, which is on its way to the journal.
    WithSubmit,
    /// When the number of tries is durable.
    WithTry,
}

/// What an ended job leaves behind.
pub(crate) struct Left {
    pub outputs: Outputs,
    /// Its result was stored when its commit began.
    pub is_stored: bool,
}

/// A job whose end is durable.
pub(crate) struct Recorded {
    /// Staging folders to remove.
    pub staging: Vec<StagedSink>,
    /// Calls to answer.
    pub waiting: Vec<Answer<Result<(), Failure>>>,
    /// A thread that has not returned. The job stays in the table until it does.
    pub straggler: Option<Straggler>,
}

/// The next phase, and the answer to the caller if that is another one.
type Next<T> = (JobPhase, Option<T>);

fn to<T>(phase: JobPhase, answer: T) -> Next<T> {
    (phase, Some(answer))
}

fn stay<T>(phase: JobPhase) -> Next<T> {
    (phase, None)
}

impl Jobs {
    fn insert(&mut self, id: JobId, job: Job) {
        self.index.add(id, &job.phase);
        self.active += 1;
        self.spec_bytes += job.spec_bytes;
        self.table.insert(id, job);
    }

    /// The only place where a phase changes.
    fn change<T>(&mut self, id: JobId, next: impl FnOnce(JobPhase, &mut u32) -> Next<T>) -> Option<T> {
        let job = self.table.get_mut(&id)?;
        let was_active = job.phase.is_active();
        self.index.remove(id, &job.phase);
        let before = std::mem::replace(&mut job.phase, JobPhase::Waiting(Wait::Plan { is_new: false }));
        let (phase, out) = next(before, &mut job.tries);
        job.phase = phase;
        self.index.add(id, &job.phase);
        if was_active && !job.phase.is_active() {
            self.active -= 1;
            self.spec_bytes -= job.spec_bytes;
        }
        out
    }

    /// A client submits a job that is not in the table. `tries`: of earlier epochs, which ended before the submit was durable.
    pub fn submit(&mut self, id: JobId, tries: u32, spec_bytes: usize) {
        self.insert(id, Job { phase: JobPhase::Waiting(Wait::Plan { is_new: true }), tries, spec_bytes });
    }

    /// A job of an earlier epoch continues.
    pub fn restore(&mut self, id: JobId, job: Restoring) {
        let Restoring { tries, spec_bytes, is_split, staging, earlier } = job;
        let prepared = Prepared { staging, outputs: Outputs::new() };
        let phase = match is_split {
            true => JobPhase::Running(Running { prepared, earlier, ..Running::default() }),
            false => JobPhase::Waiting(Wait::Plan { is_new: false }),
        };
        self.insert(id, Job { phase, tries, spec_bytes });
    }

    /// The job cannot be planned before something has happened to datasets.
    pub fn wait_for_datasets(&mut self, id: JobId) {
        self.change(id, |phase, _| match phase {
            JobPhase::Waiting(Wait::Plan { .. } | Wait::Datasets) => to(JobPhase::Waiting(Wait::Datasets), ()),
            other => stay(other),
        });
    }

    /// A try of planning begins, with the datasets that the job reads and the outputs that are datasets. Gives the number of tries
    /// to record, and when the thread may start.
    pub fn begin_try(
        &mut self,
        id: JobId,
        datasets: BTreeMap<String, Dataset>,
        outputs: Outputs,
    ) -> Option<(u32, SplitStart)> {
        self.change(id, |phase, tries| {
            let start = match phase {
                JobPhase::Waiting(Wait::Plan { is_new: true }) if *tries == 0 => SplitStart::Now,
                JobPhase::Waiting(Wait::Plan { is_new: true }) => SplitStart::WithSubmit,
                JobPhase::Waiting(Wait::Plan { is_new: false } | Wait::Datasets) => SplitStart::WithTry,
                other => return stay(other),
            };
            *tries += 1;
            let awaited = if start == SplitStart::WithTry { Awaited::Try } else { Awaited::Submit };
            to(JobPhase::Waiting(Wait::Record { awaited, datasets, outputs }), (*tries, start))
        })
    }

    /// The record that the job waits for is durable, or need not be awaited: the thread starts. Gives the datasets that the job
    /// reads, and what cancels the thread.
    pub fn begin_split(&mut self, id: JobId, durable: Awaited) -> Option<(BTreeMap<String, Dataset>, Arc<Steps>)> {
        self.change(id, |phase, _| match phase {
            JobPhase::Waiting(Wait::Record { awaited, datasets, outputs }) if awaited == durable => {
                let steps = Arc::new(Steps::default());
                to(JobPhase::Splitting { steps: steps.clone(), outputs }, (datasets, steps))
            }
            other => stay(other),
        })
    }

    /// The thread has cut the inputs and staged the outputs: the try has ended.
    pub fn check(&mut self, id: JobId, split: SplitJob) -> Option<()> {
        self.change(id, |phase, tries| match phase {
            JobPhase::Splitting { outputs, .. } => {
                *tries = 0;
                let SplitJob { input_bytes, stages, staging, probes: _ } = split;
                let prepared = Prepared { staging, outputs };
                to(JobPhase::Checking { prepared, input_bytes, stages }, ())
            }
            other => stay(other),
        })
    }

    /// The workers have answered: the job runs. Gives the bytes and the chunks of its inputs.
    pub fn run(&mut self, id: JobId) -> Option<(u64, Vec<StageChunks>)> {
        self.change(id, |phase, _| match phase {
            JobPhase::Checking { prepared, input_bytes, stages } => {
                let running = Running { prepared, ..Running::default() };
                to(JobPhase::Running(running), (input_bytes, stages))
            }
            other => stay(other),
        })
    }

    /// The outputs of a restored job that are datasets.
    pub fn set_outputs(&mut self, id: JobId, outputs: Outputs) {
        if let Some(prepared) = self.open_prepared(id) {
            prepared.outputs = outputs;
        }
    }

    /// Keeps a chunk that an attempt has left for an output. False if it is kept already, or comes too late.
    pub fn keep_chunk(&mut self, sink: u32, attempt: AttemptId, chunk: DatasetChunk) -> bool {
        let prepared = self.open_prepared(attempt.task.job);
        let output: Option<&mut DatasetOutput> = prepared.and_then(|prepared| prepared.outputs.get_mut(&sink));
        output.is_some_and(|output| output.chunks.insert(attempt, chunk).is_none())
    }

    fn open_prepared(&mut self, id: JobId) -> Option<&mut Prepared> {
        match &mut self.table.get_mut(&id)?.phase {
            JobPhase::Running(running) => Some(&mut running.prepared),
            JobPhase::Sealing(sealing) => Some(&mut sealing.prepared),
            _ => None,
        }
    }

    /// Bytes of collected blobs that the running job has in memory.
    pub fn inline_bytes(&mut self, id: JobId) -> Option<&mut usize> {
        match &mut self.table.get_mut(&id)?.phase {
            JobPhase::Running(running) => Some(&mut running.inline_bytes),
            _ => None,
        }
    }

    /// The chunks of an attempt are being copied.
    pub fn publish(&mut self, attempt: AttemptId, worker: WorkerId, digests: Vec<Digest>) {
        self.change(attempt.task.job, |phase, _| match phase {
            JobPhase::Running(mut running) => {
                running.publishing.insert(attempt, Publishing { worker, digests });
                to(JobPhase::Running(running), ())
            }
            other => stay(other),
        });
    }

    /// Takes the attempts of all jobs whose chunks have their copies, in the order of their ids.
    pub fn take_copied(&mut self, is_copied: impl Fn(&[Digest]) -> bool) -> Vec<(AttemptId, WorkerId)> {
        let mut copied = Vec::new();
        for id in self.index.copying.iter().copied().collect::<Vec<_>>() {
            let done = |publishing: &Publishing| is_copied(&publishing.digests);
            let any = match &self.table[&id].phase {
                JobPhase::Running(running) => running.publishing.values().any(done),
                _ => false,
            };
            if any {
                self.change(id, |phase, _| match phase {
                    JobPhase::Running(mut running) => {
                        running.publishing.retain(|attempt, publishing| {
                            let is_done = done(publishing);
                            if is_done {
                                copied.push((*attempt, publishing.worker));
                            }
                            !is_done
                        });
                        to(JobPhase::Running(running), ())
                    }
                    other => stay(other),
                });
            }
        }
        copied
    }

    /// Every task is done. `collected` is being stored.
    pub fn seal(&mut self, id: JobId, commit: Commit, collected: Collected) -> Option<()> {
        self.change(id, |phase, _| match phase {
            JobPhase::Running(Running { prepared, earlier, .. }) => {
                let sealing = Sealing { prepared, commit, collected, is_stored: false, earlier };
                to(JobPhase::Sealing(sealing), ())
            }
            other => stay(other),
        })
    }

    /// The blobs of the result that were being stored: of a job that seals, or of one that ends without a commit.
    pub fn storing(&mut self, id: JobId) -> Option<&mut Collected> {
        match &mut self.table.get_mut(&id)?.phase {
            JobPhase::Sealing(sealing) if !sealing.is_stored => Some(&mut sealing.collected),
            JobPhase::Ending(Ending { step: EndStep::Storing(end), .. }) => Some(&mut end.collected),
            _ => None,
        }
    }

    /// The result of a job that seals is stored. Gives the result, and the number of tries if this begins one: the commit.
    pub fn begin_commit(&mut self, id: JobId) -> Option<(Collected, Option<u32>)> {
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
    pub fn sealed(&mut self, id: JobId) {
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

    /// Its chunks are there: the commit of its folders begins. Gives the reason if an operator has to order the first try.
    pub fn commit_folders(&mut self, id: JobId) -> Option<Option<String>> {
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
                step: CommitStep::Folders(mut one),
            }) => {
                let was_counted = one.state.is_counted();
                let out = change(&mut one);
                // A try that counts is one that may end the coordinator.
                let counted = match (was_counted, one.state.is_counted()) {
                    (false, true) => Some(*tries + 1),
                    (true, false) => Some(tries.saturating_sub(1)),
                    _ => None,
                };
                *tries = counted.unwrap_or(*tries);
                let step = CommitStep::Folders(one);
                let phase = JobPhase::Committing(Committing { prepared, collected, sealed_before, step });
                (phase, out.map(|out| (out, counted)))
            }
            other => stay(other),
        })
    }

    /// A commit that waits is tried again. Gives the number of tries to record. `None` if a thread works on it.
    pub fn retry_commit(&mut self, id: JobId) -> Option<Option<u32>> {
        let begun = self.change_try(id, |one| match one.state.has_thread() {
            true => None,
            false => {
                one.state = TryState::Runs { waits: true };
                Some(())
            }
        });
        begun.map(|((), tries)| tries)
    }

    /// What the thread of the present try needs.
    pub fn commit_work(&self, id: JobId) -> Option<CommitWork> {
        let Some(JobPhase::Committing(committing)) = self.phase(id) else { return None };
        let commit = committing.folders()?.commit.clone();
        let staging = committing.prepared.staging.clone();
        Some(CommitWork { staging, commit, sealed_before: committing.sealed_before })
    }

    /// The thread of a commit does not return in time. Gives whether the commit has not waited before, and the number of tries to
    /// record.
    pub fn commit_hangs(&mut self, id: JobId) -> Option<(bool, Option<u32>)> {
        self.change_try(id, |one| {
            let was = std::mem::replace(&mut one.state, TryState::Hangs);
            Some(!was.waits())
        })
    }

    /// A try of a commit has ended without success: the next one comes after a pause. Gives the same as `commit_hangs`.
    pub fn pause_commit(&mut self, id: JobId, now: Time) -> Option<(bool, Option<u32>)> {
        self.change_try(id, |one| {
            let was = one.state;
            one.pause(now);
            Some(!was.waits())
        })
    }

    /// The staging folders of a job that commits are known now. Without any, nothing of them is removed at its end.
    pub fn found_staging(&mut self, id: JobId, staging: Vec<StagedSink>) {
        if let Some(JobPhase::Committing(committing)) = self.table.get_mut(&id).map(|job| &mut job.phase) {
            committing.prepared.staging = staging;
        }
    }

    /// The folders are visible.
    pub fn commit_datasets(&mut self, id: JobId) {
        self.change(id, |phase, _| match phase {
            JobPhase::Committing(committing @ Committing { step: CommitStep::Folders(_), .. }) => {
                to(JobPhase::Committing(Committing { step: CommitStep::Datasets, ..committing }), ())
            }
            other => stay(other),
        });
    }

    /// The scheduler has ended the job, with this result if none was stored before.
    pub fn end(&mut self, id: JobId, end: End) -> Option<Left> {
        self.change(id, |phase, _| {
            let (mut straggler, mut stored) = (None, None);
            let Prepared { staging, outputs } = match phase {
                JobPhase::Waiting(Wait::Record { outputs, .. }) => Prepared { staging: Vec::new(), outputs },
                JobPhase::Waiting(_) => Prepared::default(),
                JobPhase::Splitting { steps, outputs } => {
                    steps.cancel();
                    straggler = Some(Straggler::Plan);
                    Prepared { staging: Vec::new(), outputs }
                }
                JobPhase::Checking { prepared, .. } => prepared,
                JobPhase::Running(Running { prepared, earlier, .. })
                | JobPhase::Sealing(Sealing { prepared, earlier, is_stored: false, .. }) => {
                    stored = earlier.map(|earlier| earlier.collected).filter(|collected| !collected.is_empty());
                    prepared
                }
                JobPhase::Sealing(sealing) => {
                    stored = Some(sealing.collected);
                    sealing.prepared
                }
                JobPhase::Committing(committing) => {
                    let has_thread = committing.folders().is_some_and(|folders| folders.state.has_thread());
                    straggler = has_thread.then_some(Straggler::Commit);
                    stored = Some(committing.collected);
                    committing.prepared
                }
                other @ (JobPhase::Ending(_) | JobPhase::Ended(_)) => return stay(other),
            };
            let is_stored = stored.is_some();
            let step = EndStep::Storing(End { collected: stored.unwrap_or(end.collected), ..end });
            let ending = Ending { staging, step, straggler, waiting: Vec::new() };
            to(JobPhase::Ending(ending), Left { outputs, is_stored })
        })
    }

    /// The result of a job that ends is stored: its end is given to the journal.
    pub fn record_end(&mut self, id: JobId) -> Option<End> {
        self.change(id, |phase, _| match phase {
            JobPhase::Ending(Ending { staging, step: EndStep::Storing(end), straggler, waiting }) => {
                let ending = Ending { staging, step: EndStep::Recording, straggler, waiting };
                to(JobPhase::Ending(ending), end)
            }
            other => stay(other),
        })
    }

    /// The result of a job that ends cannot be stored: the job fails. False if the job does not end.
    pub fn fail_end(&mut self, id: JobId, failure: &Failure) -> bool {
        match self.table.get_mut(&id).map(|job| &mut job.phase) {
            Some(JobPhase::Ending(Ending { step: EndStep::Storing(end), .. })) => {
                (end.status.state, end.status.error) = (JobState::Failed, Some(failure.clone()));
                true
            }
            _ => false,
        }
    }

    /// A call is answered when the end is durable. Gives it back if the job does not end.
    pub fn await_end(&mut self, id: JobId, answer: Answer<Result<(), Failure>>) -> Option<Answer<Result<(), Failure>>> {
        match self.table.get_mut(&id).map(|job| &mut job.phase) {
            Some(JobPhase::Ending(ending)) => {
                ending.waiting.push(answer);
                None
            }
            _ => Some(answer),
        }
    }

    /// The end is durable.
    pub fn end_recorded(&mut self, id: JobId) -> Option<Recorded> {
        let job = self.table.remove(&id)?;
        match job.phase {
            JobPhase::Ending(Ending { staging, step: EndStep::Recording, straggler, waiting }) => {
                if let Some(straggler) = straggler {
                    self.table.insert(id, Job { phase: JobPhase::Ended(straggler), ..job });
                }
                Some(Recorded { staging, waiting, straggler })
            }
            phase => {
                self.table.insert(id, Job { phase, ..job });
                None
            }
        }
    }

    /// What the thread of a job works on that has ended, if it has one.
    pub fn straggler(&self, id: JobId) -> Option<Straggler> {
        match self.phase(id)? {
            JobPhase::Ending(ending) => ending.straggler,
            JobPhase::Ended(straggler) => Some(*straggler),
            _ => None,
        }
    }

    /// The thread of an ended job has returned, and has left these staging folders. Gives them back if the end is durable: then
    /// the job is forgotten, and they are removed at once.
    pub fn returned(&mut self, id: JobId, staging: Vec<StagedSink>) -> Option<Vec<StagedSink>> {
        match self.table.get_mut(&id).map(|job| &mut job.phase) {
            Some(JobPhase::Ending(ending)) => {
                ending.straggler = None;
                ending.staging.extend(staging);
                None
            }
            Some(JobPhase::Ended(_)) | None => {
                self.table.remove(&id);
                Some(staging)
            }
            Some(_) => None,
        }
    }
}
