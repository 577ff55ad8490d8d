//! Commits under way: each is one thread on storage that may not answer.
//!
//! ```text
//! try ──▶ done ──▶ datasets are recorded, the job is done
//!  ▲ ├──▶ failed: the outputs are not there, and will not be
//!  │ ├──▶ away: the file system is not there ──▶ waits, tried again after a pause
//!  │ └──▶ slow: the thread has not returned  ──▶ waits until it returns, however long that takes
//!  └──── an operator's decision, or the end of the pause
//! ```
//! A job whose outputs cannot be seen is never reported as failed, since they may be whole: it stays `committing` and says what it
//! waits for. The way out is an operator's: `windrow job commit ID --give-up`. At most one thread works on a commit: a second one
//! could find that the first has moved its staging folder. The claims of a job that was given up stay until its thread returns.
//! The number of threads that hang on one mount is bounded by `StorageCalls`.

use crate::commit::{Commit, CommitError, commit_job};
use crate::commit_try::{CommitTried, Committing};
use crate::driver::Driver;
use crate::earlier_staging::stage_names;
use crate::mailbox::{Answer, Message};
use crate::split::StagedSink;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use windrow_model::dataset::dataset_name;
use windrow_model::{Code, Failure, JobId, JobSpec, Time};
use windrow_net::Backoff;
use windrow_scheduler::Event;
use windrow_store::StoreError;

/// Pauses between tries of a commit whose file system is away.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What the thread needs.
struct Work {
    job: JobId,
    name: String,
    sinks: Vec<windrow_model::SinkSpec>,
    staging: Vec<StagedSink>,
    commit: Arc<Commit>,
    /// Its commit began in an earlier life: outputs that are not there may be on a mount that is not.
    sealed_before: bool,
}

impl Work {
    fn folders(&self) -> impl Iterator<Item = &Path> {
        self.sinks.iter().filter(|sink| dataset_name(&sink.path).is_none()).map(|sink| Path::new(&sink.path))
    }

    fn run(self) -> CommitTried {
        let mut found = None;
        if self.staging.is_empty() && self.folders().next().is_some() {
            match stage_names(self.job, &self.sinks) {
                Ok(staging) => found = Some(staging),
                Err(e) => return CommitTried::Ended { staging: None, result: Err(CommitError::Away(e.into())) },
            }
        }
        let staging = found.as_ref().unwrap_or(&self.staging);
        let result = commit_job(&self.name, &self.sinks, staging, &self.commit, self.sealed_before);
        CommitTried::Ended { staging: found, result }
    }
}

impl Driver {
    /// Makes outputs visible that are folders.
    pub fn start_commit(&mut self, job: JobId, commit: Commit) {
        let Some(active) = self.active.get_mut(&job) else { return };
        let held = active.commit_held.take();
        let committing = Committing {
            commit: Arc::new(commit),
            runs: false,
            waits: held.is_some(),
            counted: held.is_none(),
            backoff: Backoff::new(PAUSE_MIN, PAUSE_MAX),
            next: None,
        };
        self.commits.insert(job, committing);
        match held {
            Some(reason) => self.step(Event::CommitWaits { job, reason: Some(reason) }),
            None => self.try_commit(job),
        }
    }

    /// Commits that are to be tried again now.
    pub fn retry_commits(&mut self, now: Time) {
        let due = self.commits.iter().filter(|(_, c)| c.next.is_some_and(|at| at <= now));
        for job in due.map(|(job, _)| *job).collect::<Vec<_>>() {
            self.try_commit(job);
        }
    }

    /// When the next of them is.
    pub fn next_commit(&self) -> Option<Time> {
        self.commits.values().filter_map(|c| c.next).min()
    }

    /// Whether the journal counts a try of this job's commit, or of anything else that may end the coordinator.
    pub fn is_try_counted(&self, job: JobId) -> bool {
        self.commits.get(&job).is_none_or(|c| c.counted)
    }

    fn try_commit(&mut self, job: JobId) {
        self.count_try(job, true);
        let (Some(spec), Some(active)) = (self.scheduler.spec(job), self.active.get(&job)) else { return };
        let JobSpec { name, plan, .. } = spec;
        let Some(committing) = self.commits.get_mut(&job) else { return };
        (committing.runs, committing.next) = (true, None);
        let work = Work {
            job,
            name: name.clone(),
            sinks: plan.sinks.clone(),
            staging: active.staging.clone(),
            commit: committing.commit.clone(),
            sealed_before: active.sealed_before,
        };
        let (mailbox, storage) = (self.mailbox.clone(), self.storage.clone());
        tokio::spawn(async move {
            let path = work.folders().next().map_or(PathBuf::from("/"), Path::to_path_buf);
            let begun = Arc::new(AtomicBool::new(false));
            let (begins, tells) = (begun.clone(), mailbox.clone());
            // The thread itself tells how it ends: that may be long after it was waited for.
            let run = move |_: &_| {
                begins.store(true, Ordering::Relaxed);
                let tried = catch_unwind(AssertUnwindSafe(|| work.run())).unwrap_or_else(|_| {
                    let bug = Failure::new(Code::Internal, "committing the job panicked");
                    CommitTried::Ended { staging: None, result: Err(CommitError::Failed(bug)) }
                });
                tells.blocking_send(Message::CommitTried { job, tried });
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
    pub fn commit_tried(&mut self, job: JobId, tried: CommitTried) {
        if let CommitTried::Ended { result, .. } = &tried
            && self.given_up.remove(&job)
        {
            tracing::warn!(%job, visible = result.is_ok(), "the commit of a job that was given up has ended");
            return self.claims.release(job);
        }
        let Some(committing) = self.commits.get_mut(&job).filter(|c| c.runs) else { return };
        match tried {
            CommitTried::Slow(failure) => self.commit_waits(job, &failure),
            CommitTried::NotBegun(failure) => {
                committing.runs = false;
                self.try_later(job, &failure);
            }
            CommitTried::Ended { staging, result } => {
                committing.runs = false;
                if let Some(staging) = staging {
                    self.found_staging(job, staging);
                }
                match result {
                    Ok(()) => {
                        self.commits.remove(&job);
                        self.step(Event::CommitWaits { job, reason: None });
                        self.record_outputs(job);
                    }
                    Err(CommitError::Failed(failure)) => {
                        self.commits.remove(&job);
                        self.step(Event::CommitFailed { job, failure });
                    }
                    Err(CommitError::Away(failure)) => self.try_later(job, &failure),
                }
            }
        }
    }

    /// Where the outputs of a restored job really lie is known now.
    fn found_staging(&mut self, job: JobId, staging: Vec<StagedSink>) {
        for staged in &staging {
            // The path as it was given is claimed already, and is the same unless there is a link in it.
            if self.claims.claim(&staged.staging.output, job).is_err() {
                tracing::debug!(%job, "an output is claimed already");
            }
        }
        if let Some(active) = self.active.get_mut(&job) {
            active.staging = staging;
        }
    }

    fn try_later(&mut self, job: JobId, failure: &Failure) {
        let now = self.clock.now();
        if let Some(committing) = self.commits.get_mut(&job) {
            committing.next = Some(now.plus_ms(committing.backoff.next_delay().as_millis() as u64));
        }
        self.commit_waits(job, failure);
    }

    /// The coordinator has not ended of this try, and the status says why it takes so long.
    fn commit_waits(&mut self, job: JobId, failure: &Failure) {
        self.count_try(job, false);
        let Some(committing) = self.commits.get_mut(&job) else { return };
        if !std::mem::replace(&mut committing.waits, true) {
            tracing::warn!(%job, "the commit waits for its file system: {failure}");
        }
        let reason = format!("the commit waits for its file system: {}", failure.message);
        self.step(Event::CommitWaits { job, reason: Some(reason) });
    }

    /// A try that counts is one that may end the coordinator.
    fn count_try(&mut self, job: JobId, counts: bool) {
        let (Some(committing), Some(active)) = (self.commits.get_mut(&job), self.active.get_mut(&job)) else { return };
        if std::mem::replace(&mut committing.counted, counts) != counts {
            active.tries = if counts { active.tries + 1 } else { active.tries.saturating_sub(1) };
            self.journal.note(crate::journal::Record::Tries(job, active.tries));
        }
    }

    /// An operator has a commit that waits tried again, or ends its job.
    pub fn decide_commit(&mut self, job: JobId, give_up: bool, answer: Answer<Result<(), Failure>>) {
        let (runs, waits) = match self.commits.get(&job) {
            Some(committing) => (committing.runs, committing.waits),
            None => (false, false),
        };
        if !waits {
            let refused = self.status(job).and_then(|status| {
                let what = format!("{job} is {}, and has no commit that waits", status.state.as_str());
                Err(Failure::new(Code::BadRequest, what))
            });
            return drop(answer.send(refused));
        }
        if !give_up {
            // A thread that hangs cannot be told to hurry.
            if !runs {
                self.try_commit(job);
            }
            return drop(answer.send(Ok(())));
        }
        tracing::warn!(%job, "an operator gives up the commit");
        self.commits.remove(&job);
        if runs {
            self.given_up.insert(job);
        }
        // It may be the output by now: nothing of it is deleted.
        self.active.get_mut(&job).into_iter().for_each(|active| active.staging.clear());
        let what = "an operator has given up the commit: the outputs may be there, each as a whole or not at all, or appear later; \
                    what was staged stays beside them";
        self.step(Event::CommitGivenUp { job, failure: Failure::new(Code::Cancelled, what) });
        match self.ending.contains(&job) {
            true => self.cancels.entry(job).or_default().push(answer),
            false => drop(answer.send(Ok(()))),
        }
    }
}
