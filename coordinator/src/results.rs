//! The collected results that are kept, and until when. Pure; the bytes are in `result_files.rs` and the journal.
//!
//! A result is kept for the configured time from the end of its job, also over restarts. While a coordinator runs, this is monotonic
//! time. Only a start reads the machine's clock, to find how much of the time has passed: a clock that was set forward may end it, a
//! clock that was set back makes it begin anew at most. If all results together would exceed their limit, results that a client has
//! read completely are removed before their time. If that is not enough, the job that needs space fails with `COLLECT_TOO_LARGE`.

use crate::journal::KeptResult;
use std::collections::BTreeMap;
use windrow_model::{Code, Failure, JobId, Time, total};
use windrow_scheduler::{Collected, CollectedBlob};

/// The present time, by the clock of the machine and by the monotonic one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    pub unix_ms: u64,
    pub clock: Time,
}

/// The kept results, and the bytes that running jobs have stored.
#[derive(Debug)]
pub(crate) struct Results {
    kept: BTreeMap<JobId, KeptResult>,
    /// When each of them expires.
    until: BTreeMap<JobId, Time>,
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
    /// Starts with the results in the journal.
    pub(crate) fn new(kept: Vec<(JobId, KeptResult)>, bytes_max: u64, kept_ms: u64, now: Now) -> Results {
        // An end in the future is of a clock that was put back since: its time begins now.
        let left = |ended_unix_ms| kept_ms - now.unix_ms.saturating_sub(ended_unix_ms).min(kept_ms);
        let until = kept.iter().map(|(job, result)| (*job, now.clock.plus_ms(left(result.ended_unix_ms)))).collect();
        let kept_bytes = total(kept.iter().map(|(_, result)| bytes(&result.collected)));
        Results {
            kept: kept.into_iter().collect(),
            until,
            kept_bytes,
            running: BTreeMap::new(),
            running_bytes: 0,
            bytes_max,
            kept_ms,
        }
    }

    /// Reserves `bytes` for a running job. Returns the jobs whose results are removed for that.
    pub(crate) fn reserve(&mut self, job: JobId, bytes: u64) -> Result<Vec<JobId>, Failure> {
        let mut gone = Vec::new();
        while total([self.kept_bytes, self.running_bytes, bytes]) > self.bytes_max {
            let fetched = self.kept.iter().filter(|(_, result)| result.fetched);
            let Some(oldest) = fetched.min_by_key(|(_, result)| result.ended_unix_ms).map(|(id, _)| *id) else {
                let (all, max) = (total([self.kept_bytes, self.running_bytes]), self.bytes_max);
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
    pub(crate) fn keep(&mut self, job: JobId, result: KeptResult, now: Time) {
        self.release(job);
        self.until.insert(job, now.plus_ms(self.kept_ms));
        self.kept_bytes = total([self.kept_bytes, bytes(&result.collected)]);
        self.kept.insert(job, result);
    }

    /// The job ends without a result: releases the bytes that it has stored.
    pub(crate) fn release(&mut self, job: JobId) {
        self.running_bytes -= self.running.remove(&job).unwrap_or_default();
    }

    /// The result of a job.
    pub(crate) fn get(&self, job: JobId) -> Option<&KeptResult> {
        self.kept.get(&job)
    }

    /// A client has read all of it. Returns the result to record, if that was not known.
    pub(crate) fn fetched(&mut self, job: JobId) -> Option<KeptResult> {
        let result = self.kept.get_mut(&job).filter(|result| !result.fetched)?;
        result.fetched = true;
        Some(result.clone())
    }

    /// When the next result expires.
    pub(crate) fn next_expiry(&self) -> Option<Time> {
        self.until.values().min().copied()
    }

    /// Removes expired results, and returns their jobs.
    pub(crate) fn expire(&mut self, now: Time) -> Vec<JobId> {
        let gone: Vec<JobId> = self.until.iter().filter(|(_, until)| **until <= now).map(|(id, _)| *id).collect();
        gone.iter().for_each(|job| self.remove(*job));
        gone
    }

    /// Removes the result of this job.
    pub(crate) fn remove(&mut self, job: JobId) {
        self.until.remove(&job);
        if let Some(result) = self.kept.remove(&job) {
            self.kept_bytes = self.kept_bytes.saturating_sub(bytes(&result.collected));
        }
    }
}

fn bytes(collected: &Collected) -> u64 {
    total(collected.iter().flat_map(|(_, blobs)| blobs).map(CollectedBlob::length))
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
        let mut results = Results::new(
            vec![(id(1), result(40, 1)), (id(2), result(40, 2))],
            100,
            1_000,
            Now { unix_ms: 2, clock: Time(0) },
        );
        let e = results.reserve(id(3), 21).unwrap_err();
        assert_eq!(e.code, Code::CollectTooLarge);
        assert_eq!(results.reserve(id(3), 20), Ok(vec![]));
        assert!(results.fetched(id(2)).is_some_and(|result| result.fetched));
        assert_eq!(results.fetched(id(2)), None, "once");
        assert_eq!(results.reserve(id(3), 10), Ok(vec![id(2)]));
        assert!(results.get(id(1)).is_some() && results.get(id(2)).is_none());
        results.keep(id(3), result(30, 3), Time(3));
        assert_eq!(results.reserve(id(4), 31).unwrap_err().code, Code::CollectTooLarge);
        results.reserve(id(4), 30).unwrap();
        results.release(id(4));
        assert_eq!((results.kept_bytes, results.running_bytes), (70, 0));
    }

    #[test]
    fn results_go_when_their_time_is_over() {
        let kept = vec![(id(1), result(40, 5)), (id(2), result(40, 9))];
        let mut results = Results::new(kept, 100, 1_000, Now { unix_ms: 105, clock: Time(50) });
        assert_eq!(results.next_expiry(), Some(Time(950)));
        assert_eq!(results.expire(Time(949)), []);
        assert_eq!(results.expire(Time(950)), [id(1)]);
        assert_eq!(results.kept_bytes, 40);
        results.keep(id(3), result(10, 0), Time(951));
        assert_eq!(results.expire(Time(1_950)), [id(2)]);
        assert_eq!(results.expire(Time(1_951)), [id(3)]);
        assert_eq!((results.kept_bytes, results.next_expiry()), (0, None));
    }

    /// A day back, and a day forward, while a coordinator runs and while it does not.
    #[test]
    fn clock_jumps_keep_results_for_their_time() {
        const DAY: u64 = 24 * 3_600_000;
        let (kept_ms, ended) = (DAY, 100 * DAY);
        let start =
            |unix_ms| Results::new(vec![(id(1), result(1, ended))], 100, kept_ms, Now { unix_ms, clock: Time(0) });
        let goes_after = |mut results: Results| {
            let at = results.next_expiry().unwrap();
            let earlier = at.0.checked_sub(1).map(|before| results.expire(Time(before)));
            assert!(earlier.is_none_or(|gone| gone.is_empty()) && results.expire(at) == [id(1)]);
            at.0
        };
        assert_eq!(goes_after(start(ended + DAY / 2)), DAY / 2);
        assert_eq!(goes_after(start(ended - DAY)), DAY, "a clock that was put back: no longer than its whole time");
        assert_eq!(goes_after(start(ended + 2 * DAY)), 0, "a restart believes the clock");
        // Within one epoch only the monotonic clock counts, whatever end time the job had.
        for ended in [0, ended, u64::MAX] {
            let mut results = start(100 * DAY);
            results.remove(id(1));
            results.keep(id(1), result(1, ended), Time(7));
            assert_eq!(goes_after(results), 7 + DAY);
        }
    }
}
