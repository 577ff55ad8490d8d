//! Before its first task, every worker is asked whether it sees a job's staging folders and inputs.
//!
//! A job passes when everybody has answered yes or has gone. A worker that joins later is not asked here: it compares
//! the nonce in the job's setup by itself.

use crate::split::SplitJob;
use std::collections::BTreeMap;
use windrow_model::{Code, Failure, JobId, Time, WorkerId};
use windrow_proto::convert::path_to_bytes;
use windrow_proto::v1;

/// A worker whose file system does not answer for so long does not share it.
const ANSWER_MS_MAX: u64 = 30_000;

struct Request {
    job: JobId,
    worker: WorkerId,
    until: Time,
}

#[derive(Default)]
pub(crate) struct StagingChecks {
    open: BTreeMap<u64, Request>,
    last: u64,
}

impl StagingChecks {
    /// The questions that `worker` is asked about a job: one for each staging folder. A job that only collects has none:
    /// whether its inputs are there shows when its tasks open them.
    pub fn ask(&mut self, now: Time, job: JobId, worker: WorkerId, split: &SplitJob) -> Vec<v1::CheckStaging> {
        let mut inputs: Vec<Vec<u8>> = split.probes.iter().map(|p| path_to_bytes(p)).collect();
        let mut questions = Vec::new();
        for staged in &split.staging {
            let (folder, nonce) = (path_to_bytes(&staged.staging.folder), staged.nonce.clone());
            self.last += 1;
            self.open.insert(self.last, Request { job, worker, until: now.plus_ms(ANSWER_MS_MAX) });
            // Inputs are looked at once, with the first folder.
            let inputs = std::mem::take(&mut inputs);
            questions.push(v1::CheckStaging { request: self.last, folder, nonce, inputs });
        }
        questions
    }

    /// An answer came: the job that it is about. `None` for one that nobody waits for any more.
    pub fn answered(&mut self, request: u64, worker: WorkerId) -> Option<JobId> {
        if self.open.get(&request).is_none_or(|r| r.worker != worker) {
            return None;
        }
        self.open.remove(&request).map(|r| r.job)
    }

    /// A worker has gone: nobody waits for its answers. The jobs that did.
    pub fn worker_gone(&mut self, worker: WorkerId) -> Vec<JobId> {
        self.open.extract_if(.., |_, r| r.worker == worker).map(|(_, r)| r.job).collect()
    }

    /// The job is over.
    pub fn forget(&mut self, job: JobId) {
        self.open.retain(|_, r| r.job != job);
    }

    /// Whether everybody has answered.
    pub fn is_done(&self, job: JobId) -> bool {
        self.open.values().all(|r| r.job != job)
    }

    /// When the first answer is overdue.
    pub fn next_deadline(&self) -> Option<Time> {
        self.open.values().map(|r| r.until).min()
    }

    /// A job that waited too long for some worker.
    pub fn pop_overdue(&mut self, now: Time) -> Option<(JobId, Failure)> {
        let late = self.open.values().find(|r| r.until <= now)?;
        let (job, worker) = (late.job, late.worker);
        self.forget(job);
        let what = format!("{worker} has not answered for {ANSWER_MS_MAX} ms whether it sees the job's files");
        Some((job, Failure::new(Code::OutputNotShared, what)))
    }
}
