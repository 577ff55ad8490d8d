//! Results of `collect` that are kept: those of this life by the scheduler, those of earlier ones here, all of them in the
//! journal. The oldest are forgotten when they are too many bytes.

use std::collections::{BTreeMap, VecDeque};
use windrow_model::JobId;
use windrow_scheduler::{Collected, CollectedBlob};

/// Bytes of results in the journal.
const BYTES_MAX: u64 = 64 << 20;

/// Which jobs' results the journal has, and those of earlier lives.
#[derive(Debug, Default)]
pub(crate) struct Results {
    /// Oldest first, with their bytes.
    recorded: VecDeque<(JobId, u64)>,
    bytes: u64,
    earlier: BTreeMap<JobId, Collected>,
}

impl Results {
    /// What the journal has, by job id, which is the order of submission.
    pub fn new(earlier: Vec<(JobId, Collected)>) -> Results {
        let mut results = Results::default();
        for (job, collected) in earlier {
            results.bytes += bytes(&collected);
            results.recorded.push_back((job, bytes(&collected)));
            results.earlier.insert(job, collected);
        }
        results
    }

    /// The results of a job are recorded; those of these jobs are to be forgotten for them.
    pub fn add(&mut self, job: JobId, collected: &Collected) -> Vec<JobId> {
        self.bytes += bytes(collected);
        self.recorded.push_back((job, bytes(collected)));
        self.earlier.insert(job, collected.clone());
        let mut forgotten = Vec::new();
        while self.bytes > BYTES_MAX
            && let Some((oldest, bytes)) = self.recorded.pop_front()
        {
            self.bytes -= bytes;
            self.earlier.remove(&oldest);
            forgotten.push(oldest);
        }
        forgotten
    }

    /// Results of a job of an earlier life.
    pub fn get(&self, job: JobId) -> Option<&Collected> {
        self.earlier.get(&job)
    }
}

fn bytes(collected: &Collected) -> u64 {
    collected.iter().flat_map(|(_, blobs)| blobs).map(CollectedBlob::length).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten_when_there_is_too_much() {
        let id = |n: u8| JobId::from_bytes([n; 16]);
        let of = |bytes: usize| vec![("n".to_string(), vec![CollectedBlob::Inline(vec![0; bytes])])];
        let mut results = Results::new(vec![(id(1), of(10)), (id(2), of(20))]);
        assert!(results.get(id(2)).is_some() && results.get(id(9)).is_none());
        assert_eq!(results.add(id(3), &of(30)), []);
        assert_eq!(results.add(id(4), &of(BYTES_MAX as usize - 40)), [id(1), id(2)]);
        assert!(results.get(id(1)).is_none());
        assert_eq!(results.add(id(5), &of(BYTES_MAX as usize + 1)), [id(3), id(4), id(5)]);
        assert_eq!(results.bytes, 0);
    }
}
