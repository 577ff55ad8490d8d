//! Before its first task, every worker is asked whether it sees a job's stagings and inputs.
//!
//! A worker that does not is left out of the job, with its reason; the job fails only if no worker that was asked sees them.
//! A worker that does not answer is waited for, but not long once another one has said yes: its answer may come later, and
//! then it takes part. A worker that joins later is not asked here: it compares the nonce in the job's setup by itself, and
//! is left out at its first attempt.

use crate::split::SplitJob;
use std::collections::{BTreeMap, BTreeSet};
use windrow_model::{Code, Failure, JobId, Time, WorkerId};
use windrow_proto::convert::path_to_bytes;
use windrow_proto::v1;

/// Milliseconds for an answer; a worker without one counts as not seeing the files.
const ANSWER_MS_MAX: u64 = 30_000;
/// Milliseconds for an answer once another worker has answered that it sees everything.
const PATIENCE_MS: u64 = 5_000;

struct Request {
    job: JobId,
    worker: WorkerId,
    asked: Time,
    /// The job continues without the answer.
    late: bool,
}

/// The workers' answers about one job.
#[derive(Default)]
struct Answers {
    /// The workers that see everything.
    sees: BTreeSet<WorkerId>,
    blind: BTreeMap<WorkerId, Failure>,
    planned: bool,
}

/// What an answer means for the job that it is about.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    /// The job may be ready.
    Counted(JobId),
    /// The job runs already, and the worker takes part from now on.
    TakenIn(JobId),
    /// The job runs without the worker; this is the reason.
    LeftOut(JobId, Failure),
}

/// The outcome of the questions about a job.
#[derive(Debug, PartialEq)]
pub(crate) enum Checked {
    /// These workers are left out.
    Passed(Vec<(WorkerId, Failure)>),
    /// No worker sees the files.
    Failed(Failure),
}

#[derive(Default)]
pub(crate) struct StagingChecks {
    open: BTreeMap<u64, Request>,
    jobs: BTreeMap<JobId, Answers>,
    last: u64,
}

impl StagingChecks {
    /// The questions that `worker` is asked about a job: one for each staging. A job that only collects has none:
    /// whether its inputs are there shows when its tasks open them.
    pub(crate) fn ask(&mut self, now: Time, job: JobId, worker: WorkerId, split: &SplitJob) -> Vec<v1::CheckStaging> {
        let mut inputs: Vec<Vec<u8>> = split.probes.iter().map(|p| path_to_bytes(p)).collect();
        let mut questions = Vec::new();
        for staged in &split.staging {
            let (folder, nonce) = (path_to_bytes(&staged.staging.area), staged.nonce.clone());
            self.last += 1;
            self.open.insert(self.last, Request { job, worker, asked: now, late: false });
            // Inputs are looked at once, with the first folder.
            let inputs = std::mem::take(&mut inputs);
            questions.push(v1::CheckStaging { request: self.last, folder, nonce, inputs });
        }
        self.jobs.entry(job).or_default();
        questions
    }

    /// An answer came. `None` for one that is not awaited any more, or that settles nothing yet.
    pub(crate) fn answered(&mut self, request: u64, worker: WorkerId, failure: Option<Failure>) -> Option<Answer> {
        let Request { job, late, .. } = match self.open.get(&request).is_some_and(|r| r.worker == worker) {
            true => self.open.remove(&request)?,
            false => return None,
        };
        let answers = self.jobs.entry(job).or_default();
        if let Some(failure) = failure {
            answers.blind.insert(worker, failure.clone());
            // One folder that it does not see is enough.
            self.open.retain(|_, r| r.job != job || r.worker != worker);
            return Some(if late { Answer::LeftOut(job, failure) } else { Answer::Counted(job) });
        }
        if self.open.values().any(|r| r.job == job && r.worker == worker) {
            return None;
        }
        answers.blind.remove(&worker);
        answers.sees.insert(worker);
        Some(if late { Answer::TakenIn(job) } else { Answer::Counted(job) })
    }

    /// A worker has gone: its answers are not awaited. The jobs for which they were.
    pub(crate) fn worker_gone(&mut self, worker: WorkerId) -> Vec<JobId> {
        self.open.extract_if(.., |_, r| r.worker == worker).filter(|(_, r)| !r.late).map(|(_, r)| r.job).collect()
    }

    /// The job is over.
    pub(crate) fn forget(&mut self, job: JobId) {
        self.open.retain(|_, r| r.job != job);
        self.jobs.remove(&job);
    }

    /// Returns once, when no answer is awaited: whether the job may be planned, and the workers that are left out.
    pub(crate) fn take_checked(&mut self, job: JobId) -> Option<Checked> {
        if self.open.values().any(|r| r.job == job && !r.late) {
            return None;
        }
        let answers = self.jobs.entry(job).or_default();
        if std::mem::replace(&mut answers.planned, true) {
            return None;
        }
        let blind = &answers.blind;
        match blind.first_key_value().filter(|_| answers.sees.is_empty()) {
            Some((worker, failure)) => {
                let others =
                    if blind.len() > 1 { format!(" (so say all {} workers)", blind.len()) } else { String::new() };
                let message = format!("{worker}: {}{others}", failure.message);
                Some(Checked::Failed(Failure { message, ..failure.clone() }))
            }
            None => Some(Checked::Passed(blind.iter().map(|(w, f)| (*w, f.clone())).collect())),
        }
    }

    /// When the first answer is overdue.
    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.open.values().filter(|r| !r.late).map(|r| self.until(r)).min()
    }

    fn until(&self, request: &Request) -> Time {
        let seen = self.jobs.get(&request.job).is_some_and(|answers| !answers.sees.is_empty());
        request.asked.plus_ms(if seen { PATIENCE_MS } else { ANSWER_MS_MAX })
    }

    /// A job that has waited too long for a worker: it continues without that one.
    pub(crate) fn pop_overdue(&mut self, now: Time) -> Option<JobId> {
        let late = self.open.values().find(|r| !r.late && self.until(r) <= now)?;
        let (job, worker, ms) = (late.job, late.worker, now.since_ms(late.asked));
        self.open.values_mut().filter(|r| r.job == job && r.worker == worker).for_each(|r| r.late = true);
        let what = format!("it has not answered for {ms} ms whether it sees the job's files");
        self.jobs.entry(job).or_default().blind.insert(worker, Failure::new(Code::OutputNotShared, what));
        Some(job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::staged_outputs::StagedSink;
    use windrow_store::Staging;

    fn job() -> JobId {
        JobId::from_bytes([1; 16])
    }

    fn worker(n: u8) -> WorkerId {
        WorkerId::from_bytes([n; 16])
    }

    /// Asks workers 1 to `workers` about a job with `sinks` outputs: the numbers of the questions by worker.
    fn asked(checks: &mut StagingChecks, workers: u8, sinks: u32) -> Vec<Vec<u64>> {
        let staged = |sink: u32| {
            let [output, area] = ["out", ".out"].map(|name| format!("/{name}{sink}").into());
            let staging = Staging { output, area, job: job() };
            StagedSink { sink, staging, nonce: String::new() }
        };
        let staging = (0..sinks).map(staged).collect();
        let split = SplitJob { input_bytes: 0, stages: vec![], staging, probes: vec![] };
        let ask = |n| checks.ask(Time(0), job(), worker(n), &split).into_iter().map(|q| q.request).collect();
        (1..=workers).map(ask).collect()
    }

    fn blind() -> Option<Failure> {
        Some(Failure::new(Code::InputNotShared, "/in is not on this worker"))
    }

    #[test]
    fn worker_that_does_not_see_the_files_is_left_out() {
        let mut checks = StagingChecks::default();
        let asked = asked(&mut checks, 2, 2);
        assert_eq!(checks.answered(asked[0][0], worker(1), blind()), Some(Answer::Counted(job())));
        assert_eq!(checks.answered(asked[0][1], worker(1), None), None, "one folder is enough");
        assert_eq!(checks.take_checked(job()), None);
        assert_eq!(checks.answered(asked[1][0], worker(2), None), None, "it was asked about two");
        assert_eq!(checks.answered(asked[1][1], worker(2), None), Some(Answer::Counted(job())));
        assert_eq!(checks.take_checked(job()), Some(Checked::Passed(vec![(worker(1), blind().unwrap())])));
        assert_eq!(checks.take_checked(job()), None, "once");
    }

    #[test]
    fn job_fails_if_every_worker_that_answers_does_not_see_them() {
        let mut checks = StagingChecks::default();
        let asked = asked(&mut checks, 3, 1);
        checks.answered(asked[0][0], worker(1), blind());
        checks.answered(asked[1][0], worker(2), blind());
        assert_eq!(checks.worker_gone(worker(3)), [job()]);
        let Some(Checked::Failed(failure)) = checks.take_checked(job()) else { panic!("it passed") };
        assert_eq!(failure.code, Code::InputNotShared);
        assert!(failure.message.contains("all 2 workers"), "{failure}");
    }

    #[test]
    fn silent_worker_delays_a_job_briefly_and_may_join_later() {
        let mut checks = StagingChecks::default();
        let asked = asked(&mut checks, 2, 1);
        assert_eq!(checks.next_deadline(), Some(Time(ANSWER_MS_MAX)));
        checks.answered(asked[0][0], worker(1), None);
        assert_eq!(checks.next_deadline(), Some(Time(PATIENCE_MS)));
        assert_eq!(checks.pop_overdue(Time(PATIENCE_MS - 1)), None);
        assert_eq!(checks.pop_overdue(Time(PATIENCE_MS)), Some(job()));
        let Some(Checked::Passed(left_out)) = checks.take_checked(job()) else { panic!("it failed") };
        assert_eq!(left_out.iter().map(|(w, _)| *w).collect::<Vec<_>>(), [worker(2)]);
        assert_eq!(checks.next_deadline(), None);
        assert_eq!(checks.answered(asked[1][0], worker(2), None), Some(Answer::TakenIn(job())));
    }
}
