//! The lists of wanted outputs that a holder has got from its peers.
//!
//! A holder keeps a bounded number of lists; a request that names another one is answered by `unknown`, and repeated with the
//! list.

use crate::wanted::WantedOutputs;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use windrow_model::{Digest, JobId, WorkerId};
use windrow_proto::{ConvertError, v1};

/// Most outputs of all lists that a holder keeps. A list of more is not kept longer than its request.
const KEPT_OUTPUTS_MAX: usize = 4_000_000;
/// Most lists that a holder keeps.
const KEPT_LISTS_MAX: usize = 1_024;

/// What a holder makes of a list.
pub(crate) trait Made: From<WantedOutputs> {
    /// Bytes of memory that [`Made::forget`] gives back.
    fn memory(&self) -> usize;
    /// Gives memory back; what was there is made again when it is needed.
    fn forget(&self);
}

/// The lists that a holder has got, each with what it has made of it (`T`).
#[derive(Debug)]
pub(crate) struct KnownLists<T>(Mutex<Lists<T>>);

#[derive(Debug)]
struct Lists<T> {
    known: HashMap<Digest, Known<T>>,
    /// Outputs of all lists.
    outputs: usize,
    /// Number of requests so far.
    requests: u64,
}

#[derive(Debug)]
struct Known<T> {
    value: Arc<T>,
    job: Option<JobId>,
    outputs: usize,
    /// Number of the request that used it last.
    used: u64,
}

impl<T> Default for KnownLists<T> {
    fn default() -> Self {
        KnownLists(Mutex::new(Lists { known: HashMap::new(), outputs: 0, requests: 0 }))
    }
}

impl<T: Made> KnownLists<T> {
    /// What was made of a list. `None` if it is not known and does not come with the request.
    ///
    /// # Errors
    /// `BAD_REQUEST` for a list that is not valid, or not of this name.
    pub(crate) fn get(&self, wanted: v1::WantedOutputs, holder: WorkerId) -> Result<Option<Arc<T>>, ConvertError> {
        let name: Digest = wanted.name.ok_or(ConvertError::Missing("wanted.name"))?.try_into()?;
        let known = self.lock().known(name);
        if known.is_some() || wanted.list.is_empty() {
            return Ok(known);
        }
        // Without the lock: a long list takes a while, and other requests need only their names.
        let read = WantedOutputs::read(wanted.list, holder)?;
        if read.name != name {
            return Err(ConvertError::Invalid { field: "wanted.name", what: "is not that of the list".into() });
        }
        Ok(Some(self.lock().insert(name, read)))
    }

    /// Gives memory back until all lists use at most `bytes_max` bytes, or only that of `used_now` is left. Those that were not
    /// used for longest are the first.
    pub(crate) fn bound_memory(&self, used_now: &Arc<T>, bytes_max: usize) {
        let lists = self.lock();
        let mut bytes: usize = lists.known.values().map(|known| known.value.memory()).sum();
        if bytes <= bytes_max {
            return;
        }
        let mut others: Vec<_> = lists.known.values().filter(|known| !Arc::ptr_eq(&known.value, used_now)).collect();
        others.sort_unstable_by_key(|known| known.used);
        for known in others {
            if bytes <= bytes_max {
                return;
            }
            bytes = bytes.saturating_sub(known.value.memory());
            known.value.forget();
        }
    }

    /// Forgets the lists of a job.
    pub(crate) fn forget_job(&self, job: JobId) {
        let mut lists = self.lock();
        lists.known.retain(|_, known| known.job != Some(job));
        lists.known.shrink_to_fit();
        lists.outputs = lists.known.values().map(|known| known.outputs).sum();
    }

    fn lock(&self) -> MutexGuard<'_, Lists<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Made> Lists<T> {
    /// A list that is known, for one more request.
    fn known(&mut self, name: Digest) -> Option<Arc<T>> {
        self.requests += 1;
        let known = self.known.get_mut(&name)?;
        known.used = self.requests;
        Some(known.value.clone())
    }

    /// Keeps a list, unless another request has brought it meanwhile.
    fn insert(&mut self, name: Digest, list: WantedOutputs) -> Arc<T> {
        if let Some(known) = self.known(name) {
            return known;
        }
        let (job, outputs) = (list.attempts.first().map(|attempt| attempt.task.job), list.attempts.len());
        let value = Arc::new(T::from(list));
        self.outputs += outputs;
        self.known.insert(name, Known { value: value.clone(), job, outputs, used: self.requests });
        while self.known.len() > KEPT_LISTS_MAX || self.outputs > KEPT_OUTPUTS_MAX {
            let Some(oldest) = self.known.iter().min_by_key(|(_, known)| known.used).map(|(name, _)| *name) else {
                break;
            };
            let forgotten = self.known.remove(&oldest);
            self.outputs -= forgotten.map_or(0, |known| known.outputs);
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;
    use std::sync::atomic::{AtomicBool, Ordering};
    use windrow_model::Code;
    use windrow_sim::samples::attempt;

    /// A list that uses a byte of memory for each output.
    #[derive(Debug)]
    struct Copied(WantedOutputs, AtomicBool);
    impl From<WantedOutputs> for Copied {
        fn from(wanted: WantedOutputs) -> Copied {
            Copied(wanted, AtomicBool::new(true))
        }
    }
    impl Made for Copied {
        fn memory(&self) -> usize {
            if self.1.load(Ordering::Relaxed) { self.0.attempts.len() } else { 0 }
        }
        fn forget(&self) {
            self.1.store(false, Ordering::Relaxed);
        }
    }

    fn holder() -> WorkerId {
        WorkerId::from_bytes([3; 16])
    }

    fn wanted(tasks: std::ops::Range<u32>) -> WantedOutputs {
        WantedOutputs::new(holder(), 1, 9, tasks.map(|n| attempt(1, n)).collect())
    }

    #[test]
    fn list_is_needed_once() {
        let (lists, wanted) = (KnownLists::<Copied>::default(), wanted(0..5));
        assert!(lists.get(wanted.wire(false), holder()).unwrap().is_none());
        assert_eq!(lists.get(wanted.wire(true), holder()).unwrap().unwrap().0, wanted);
        assert_eq!(lists.get(wanted.wire(false), holder()).unwrap().unwrap().0, wanted);
        lists.forget_job(attempt(1, 0).task.job);
        assert!(lists.get(wanted.wire(false), holder()).unwrap().is_none());
    }

    #[test]
    fn lists_kept_for_others_are_bounded() {
        let lists = KnownLists::<Copied>::default();
        for n in 0..2 * KEPT_LISTS_MAX as u32 {
            lists.get(wanted(n..n + 1).wire(true), holder()).unwrap().unwrap();
        }
        let first = lists.get(wanted(0..1).wire(false), holder()).unwrap();
        let last = wanted(2 * KEPT_LISTS_MAX as u32 - 1..2 * KEPT_LISTS_MAX as u32);
        assert!(first.is_none() && lists.get(last.wire(false), holder()).unwrap().is_some());
    }

    #[test]
    fn memory_of_lists_used_long_ago_is_given_back() {
        let lists = KnownLists::<Copied>::default();
        let get = |from| lists.get(wanted(from..from + 10).wire(true), holder()).unwrap().unwrap();
        let all: Vec<_> = [0, 20, 40].map(get).into();
        get(0);
        lists.bound_memory(&all[2], 30);
        assert_eq!(all.iter().map(|list| list.memory()).collect::<Vec<_>>(), [10, 10, 10]);
        lists.bound_memory(&all[2], 25);
        assert_eq!(all.iter().map(|list| list.memory()).collect::<Vec<_>>(), [10, 0, 10]);
        lists.bound_memory(&all[2], 0);
        assert_eq!(all.iter().map(|list| list.memory()).collect::<Vec<_>>(), [0, 0, 10]);
    }

    #[test]
    fn invalid_lists_are_refused() {
        let lists = KnownLists::<Copied>::default();
        let (some, other) = (wanted(0..3), wanted(1..4));
        let mixed = v1::WantedOutputs { name: some.wire(true).name, list: other.wire(true).list };
        let of_another = some.wire(true);
        let list = |change: fn(&mut v1::WantedList)| {
            let mut list = v1::WantedList::decode(&some.wire(true).list[..]).unwrap();
            change(&mut list);
            let list = list.encode_to_vec();
            v1::WantedOutputs { name: Some(Digest::of(&list).into()), list }
        };
        let bad = [
            (mixed, holder()),
            (of_another, WorkerId::from_bytes([4; 16])),
            (list(|l| l.task = vec![2, 1, 3]), holder()),
            (list(|l| l.number = vec![0]), holder()),
            (list(|l| l.origin = vec![0, 1, 0]), holder()),
            (list(|l| l.partitions = u32::MAX), holder()),
            (list(|l| l.job = None), holder()),
            (v1::WantedOutputs { name: Some(Digest::of(b"x").into()), list: b"x".to_vec() }, holder()),
            (v1::WantedOutputs { name: None, list: Vec::new() }, holder()),
        ];
        for (request, holder) in bad {
            let refused = lists.get(request, holder).map(|found| found.is_some()).map_err(|e| e.code());
            assert_eq!(refused, Err(Code::BadRequest));
        }
    }
}
