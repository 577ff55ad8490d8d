//! Commits under way: each is one thread on storage that may not answer.
//!
//! ```text
//! try ──▶ done ──▶ datasets are recorded, the job is done
//!  ▲ ├──▶ failed: the outputs are not there, and will not be
//!  │ ├──▶ away: the file system is not there ──▶ waits, tried again after a pause
//!  │ └──▶ slow: the thread has not returned  ──▶ waits until it returns, however long that takes
//!  └──── an operator's decision, or the end of the pause
//! ```
//! A job whose outputs cannot be read is never reported as failed, since they may be whole: it stays `committing`, and its status
//! gives the reason. An operator can end it: `windrow job commit ID --give-up`. At most one thread works on a commit: a second one
//! could find that the first has moved its staging. The claims of a job that was given up stay until its thread returns.
//! `StorageCalls` bounds the number of threads that hang on one mount.

use crate::commit::{CommitError, CommitTried, commit_job};
use crate::driver::Driver;
use crate::earlier_staging::{stage_names, staged};
use crate::jobs::{CommitWork, LateThread, TryState};
use crate::mailbox::{Answer, Message};
use crate::staged_outputs::StagedSink;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use windrow_model::{Code, Failure, JobId, JobSpec, Time};
use windrow_scheduler::Event;
use windrow_store::{Outputs, StoreError};

/// The work of a thread.
struct Work {
    job: JobId,
    name: String,
    sinks: Vec<windrow_model::SinkSpec>,
    work: CommitWork,
}

impl Work {
    /// The name of an output that is staged.
    fn first_staged(&self) -> Option<&Path> {
        staged(&self.sinks).next().map(|(_, sink)| sink.path.as_ref())
    }

    fn run(mut self, outputs: &Outputs) -> CommitTried {
        let mut found = None;
        if self.work.staging.sinks.is_empty() && self.first_staged().is_some() {
            match stage_names(self.job, &self.sinks, outputs) {
                Ok(staging) => found = Some(staging),
                Err(e) => return CommitTried::Ended { staging: None, result: Err(CommitError::Away(e.into())) },
            }
        }
        self.work.staging.sinks.extend(found.iter().flatten().cloned());
        let CommitWork { staging, commit, sealed_before } = &self.work;
        let result = commit_job(&self.name, &self.sinks, staging, commit, *sealed_before, outputs);
        CommitTried::Ended { staging: found, result }
    }
}

impl Driver {
    /// Starts the commit of the outputs that are folders. They become visible.
    pub(crate) fn start_commit(&mut self, job: JobId) {
        match self.jobs.commit_folders(job) {
            Some(Some(reason)) => self.step(Event::CommitWaits { job, reason: Some(reason) }),
            Some(None) => self.try_commit(job),
            None => {}
        }
    }

    /// Starts the next try of each commit whose pause has ended.
    pub(crate) fn retry_commits(&mut self, now: Time) {
        for job in self.jobs.commits_due(now) {
            self.retry_commit(job);
        }
    }

    fn retry_commit(&mut self, job: JobId) {
        if let Some(tries) = self.jobs.retry_commit(job) {
            self.note_tries(job, tries);
            self.try_commit(job);
        }
    }

    fn try_commit(&mut self, job: JobId) {
        let (Some(spec), Some(work)) = (self.scheduler.spec(job), self.jobs.commit_work(job)) else { return };
        let JobSpec { name, plan, .. } = spec;
        let work = Work { job, name: name.clone(), sinks: plan.sinks.clone(), work };
        let (mailbox, storage) = (self.mailbox.clone(), self.storage.clone());
        tokio::spawn(async move {
            let path = work.first_staged().map_or(PathBuf::from("/"), Path::to_path_buf);
            let outputs = storage.outputs().clone();
            let begun = Arc::new(AtomicBool::new(false));
            let (begins, reports) = (begun.clone(), mailbox.clone());
            // The thread itself reports its end, which may come after the deadline of the wait.
            let run = move |_: &_| {
                begins.store(true, Ordering::Relaxed);
                let tried = catch_unwind(AssertUnwindSafe(|| work.run(&outputs))).unwrap_or_else(|_| {
                    let bug = Failure::new(Code::Internal, "committing the job panicked");
                    CommitTried::Ended { staging: None, result: Err(CommitError::Failed(bug)) }
                });
                reports.blocking_send(Message::CommitTried { job, tried });
                Ok::<_, StoreError>(())
            };
            if let Err(e) = storage.run(&path, run).await {
                let tried = match begun.load(Ordering::Relaxed) {
                    true => CommitTried::Slow(e.into()),
                    false => CommitTried::NotBegun(e.into()),
                };
                mailbox.send(Message::CommitTried { job, tried }).await;
            }
        });
    }

    /// A try of a commit has ended, or does not end.
    pub(crate) fn commit_tried(&mut self, job: JobId, tried: CommitTried) {
        if self.jobs.late_thread(job) == Some(LateThread::Commit) {
            if let CommitTried::Ended { result, .. } = tried {
                tracing::warn!(%job, visible = result.is_ok(), "the commit of a job that was given up has ended");
                self.thread_returned(job, Vec::new());
            }
            return;
        }
        if !self.jobs.commit_try(job).is_some_and(TryState::has_thread) {
            return;
        }
        match tried {
            CommitTried::Slow(failure) => {
                let hangs = self.jobs.commit_hangs(job);
                self.commit_waits(job, hangs, &failure);
            }
            CommitTried::NotBegun(failure) => self.try_later(job, &failure),
            CommitTried::Ended { staging, result } => {
                if let Some(staging) = staging {
                    self.found_staging(job, staging);
                }
                match result {
                    Ok(()) => {
                        self.jobs.commit_datasets(job);
                        self.step(Event::CommitWaits { job, reason: None });
                        self.record_outputs(job);
                    }
                    Err(CommitError::Failed(failure)) => {
                        self.step(Event::CommitFailed { job, failure });
                        self.thread_returned(job, Vec::new());
                    }
                    Err(CommitError::Away(failure)) => self.try_later(job, &failure),
                }
            }
        }
    }

    /// The places of the outputs of a restored job are known now.
    fn found_staging(&mut self, job: JobId, staging: Vec<StagedSink>) {
        for staged in &staging {
            // The path as it was given is claimed already, and is the same unless there is a link in it.
            if self.claims.claim(&staged.staging.output, job).is_err() {
                tracing::debug!(%job, "an output is claimed already");
            }
        }
        self.jobs.found_staging(job, staging);
    }

    fn try_later(&mut self, job: JobId, failure: &Failure) {
        let paused = self.jobs.pause_commit(job, self.clock.now());
        self.commit_waits(job, paused, failure);
    }

    /// A try has not crashed the coordinator, so it does not count any more. The status gets the reason of the delay. `waits`: whether
    /// the commit did not wait before, and the number of tries to record.
    fn commit_waits(&mut self, job: JobId, waits: Option<(bool, Option<u32>)>, failure: &Failure) {
        let Some((is_news, tries)) = waits else { return };
        self.note_tries(job, tries);
        if is_news {
            tracing::warn!(%job, "the commit waits for its file system: {failure}");
        }
        let reason = format!("the commit waits for its file system: {}", failure.message);
        self.step(Event::CommitWaits { job, reason: Some(reason) });
    }

    /// An operator orders a new try of a commit that waits, or gives the commit up, which ends its job.
    pub(crate) fn decide_commit(&mut self, job: JobId, give_up: bool, answer: Answer<Result<(), Failure>>) {
        if !self.jobs.commit_try(job).is_some_and(TryState::waits) {
            let refused = self.status(job).and_then(|status| {
                let what = format!("{job} is {}, and has no commit that waits", status.state.as_str());
                Err(Failure::new(Code::BadRequest, what))
            });
            return drop(answer.send(refused));
        }
        if !give_up {
            // Without effect while a thread works on it or hangs.
            self.retry_commit(job);
            return drop(answer.send(Ok(())));
        }
        tracing::warn!(%job, "an operator gives up the commit");
        // A staging may have become the output by now, so none is deleted.
        self.jobs.found_staging(job, Vec::new());
        let what = "an operator has given up the commit: the outputs may be there, each as a whole or not at all, or appear later; \
                    what was staged stays beside them";
        self.step(Event::CommitGivenUp { job, failure: Failure::new(Code::Cancelled, what) });
        self.answer_at_end(job, answer);
    }
}
