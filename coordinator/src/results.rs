//! Which jobs' collected results are kept, and until when: pure bookkeeping; the bytes are in `result_files.rs` and the journal.
//!
//! A result is kept for the time that the configuration says from the end of its job, also over restarts, whatever other jobs
//! collect. Only a result that a client has read as a whole gives way before: to the result of another job, if all results
//! together would take more than their limit. If that is not enough, the other job fails with `COLLECT_TOO_LARGE` while it runs.

use crate::journal::KeptResult;
use std::collections::BTreeMap;
use windrow_model::{Code, Failure, JobId};
use windrow_scheduler::{Collected, CollectedBlob};

/// What is kept, and what the files of running jobs have.
#[derive(Debug)]
pub(crate) struct Results {
    kept: BTreeMap<JobId, KeptResult>,
    kept_bytes: u64,
    /// Bytes that running jobs have stored.
    running: BTreeMap<JobId, u64>,
    running_bytes: u64,
    /// Bytes of all results together.
    bytes_max: u64,
    /// How long a result is kept.
    kept_ms: u64,
}

impl Results {
    /// With what the journal has.
    pub fn new(kept: Vec<(JobId, KeptResult)>, bytes_max: u64, kept_ms: u64) -> Results {
        let kept_bytes = kept.iter().map(|(_, result)| bytes(&result.collected)).sum();
        Results {
            kept: kept.into_iter().collect(),
            kept_bytes,
            running: BTreeMap::new(),
            running_bytes: 0,
            bytes_max,
            kept_ms,
        }
    }

    /// Reserves `bytes` for a running job. Gives the results that give way to them.
    pub fn reserve(&mut self, job: JobId, bytes: u64) -> Result<Vec<JobId>, Failure> {
        let mut gone = Vec::new();
        while self.kept_bytes + self.running_bytes + bytes > self.bytes_max {
            let fetched = self.kept.iter().filter(|(_, result)| result.fetched);
            let Some(oldest) = fetched.min_by_key(|(_, result)| result.ended_unix_ms).map(|(id, _)| *id) else {
                let (all, max) = (self.kept_bytes + self.running_bytes, self.bytes_max);
                let what = format!(
                    "the results of jobs take {all} of {max} bytes until clients have read them or {} s have passed; \
                     {bytes} bytes of this job do not fit",
                    self.kept_ms / 1000
                );
                return Err(Failure::new(Code::CollectTooLarge, what));
            };
            self.remove(oldest);
            gone.push(oldest);
        }
        *self.running.entry(job).or_default() += bytes;
        self.running_bytes += bytes;
        Ok(gone)
    }

    /// The job is done, and this is its result.
    pub fn keep(&mut self, job: JobId, result: KeptResult) {
        self.release(job);
        self.kept_bytes += bytes(&result.collected);
        self.kept.insert(job, result);
    }

    /// The job has no result: what it has stored is of no use.
    pub fn release(&mut self, job: JobId) {
        self.running_bytes -= self.running.remove(&job).unwrap_or_default();
    }

    /// The result of a job.
    pub fn get(&self, job: JobId) -> Option<&KeptResult> {
        self.kept.get(&job)
    }

    /// A client has read all of it. Answers with what is to be recorded, if that is news.
    pub fn fetched(&mut self, job: JobId) -> Option<KeptResult> {
        let result = self.kept.get_mut(&job).filter(|result| !result.fetched)?;
        result.fetched = true;
        Some(result.clone())
    }

    /// When the next result goes.
    pub fn next_expiry_unix_ms(&self) -> Option<u64> {
        self.kept.values().map(|result| result.ended_unix_ms).min().map(|ended| ended.saturating_add(self.kept_ms))
    }

    /// Removes those whose time is over.
    pub fn expire(&mut self, now_unix_ms: u64) -> Vec<JobId> {
        let over = |result: &KeptResult| result.ended_unix_ms.saturating_add(self.kept_ms) <= now_unix_ms;
        let gone: Vec<JobId> = self.kept.iter().filter(|(_, result)| over(result)).map(|(id, _)| *id).collect();
        gone.iter().for_each(|job| self.remove(*job));
        gone
    }

    /// The result of this job goes.
    pub fn remove(&mut self, job: JobId) {
        if let Some(result) = self.kept.remove(&job) {
            self.kept_bytes -= bytes(&result.collected);
        }
    }
}

fn bytes(collected: &Collected) -> u64 {
    collected.iter().flat_map(|(_, blobs)| blobs).map(CollectedBlob::length).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> JobId {
        JobId::from_bytes([n; 16])
    }
    fn result(bytes: usize, ended_unix_ms: u64) -> KeptResult {
        let collected = vec![("n".to_string(), vec![CollectedBlob::Inline(vec![0; bytes])])];
        KeptResult { collected, ended_unix_ms, fetched: false }
    }

    #[test]
    fn results_give_way_only_after_they_were_read() {
        let mut results = Results::new(vec![(id(1), result(40, 1)), (id(2), result(40, 2))], 100, 1_000);
        let e = results.reserve(id(3), 21).unwrap_err();
        assert_eq!(e.code, Code::CollectTooLarge);
        assert_eq!(results.reserve(id(3), 20), Ok(vec![]));
        assert!(results.fetched(id(2)).is_some_and(|result| result.fetched));
        assert_eq!(results.fetched(id(2)), None, "once");
        assert_eq!(results.reserve(id(3), 10), Ok(vec![id(2)]));
        assert!(results.get(id(1)).is_some() && results.get(id(2)).is_none());
        results.keep(id(3), result(30, 3));
        assert_eq!(results.reserve(id(4), 31).unwrap_err().code, Code::CollectTooLarge);
        results.reserve(id(4), 30).unwrap();
        results.release(id(4));
        assert_eq!((results.kept_bytes, results.running_bytes), (70, 0));
    }

    #[test]
    fn results_go_when_their_time_is_over() {
        let mut results = Results::new(vec![(id(1), result(40, 5)), (id(2), result(40, 9))], 100, 1_000);
        assert_eq!(results.next_expiry_unix_ms(), Some(1_005));
        assert_eq!(results.expire(1_004), []);
        assert_eq!(results.expire(1_005), [id(1)]);
        assert_eq!(results.kept_bytes, 40);
    }
}
