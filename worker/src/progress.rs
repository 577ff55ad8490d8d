//! Which attempts are here and how far they are: sent to the coordinator with each beat.
//!
//! The node sets which attempts are here, and the supervisors of executors report their progress. It comes from crumbs
//! (`windrow_format::crumbs`): a mark that changes with every record, block and group, and the record that a thread is
//! at. With the chunk that the attempt reads, the record gives its progress; of an attempt that reads segments, the number of records
//! does (`windrow_format::crumbs::Now::permille`). The progress beyond a chunk's end on disk is unknown, as within compressed files.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use windrow_format::crumbs::Now;
use windrow_model::{AttemptId, Chunk};

/// How far an attempt is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Thousandths of its input; 0 if unknown.
    pub permille: u32,
    /// Changes whenever the attempt makes progress; 0 if unknown.
    pub mark: u64,
    /// Records that it has read.
    pub records: u64,
}

/// An attempt that is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Here {
    pub attempt: AttemptId,
    /// Queued: not given to an executor yet.
    pub waits: bool,
    pub pace: Pace,
}

#[derive(Debug, Default)]
struct Shared {
    here: Vec<(AttemptId, bool)>,
    known: HashMap<AttemptId, Pace>,
}

/// All attempts that run here or are queued. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress(Arc<Mutex<Shared>>);

impl Progress {
    /// Replaces the attempts that run here or are queued; the flag says whether one is queued. Reports of other
    /// attempts are already on their way.
    pub(crate) fn set_here(&self, here: impl Iterator<Item = (AttemptId, bool)>) {
        let mut shared = self.lock();
        shared.here.clear();
        shared.here.extend(here);
    }

    /// Everything known now.
    pub(crate) fn list(&self) -> Vec<Here> {
        let shared = self.lock();
        let pace = |attempt| shared.known.get(attempt).copied().unwrap_or_default();
        let here = shared.here.iter();
        here.map(|(attempt, waits)| Here { attempt: *attempt, waits: *waits, pace: pace(attempt) }).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The positions of one executor's threads. Dropping it forgets its progress.
#[derive(Debug)]
pub(crate) struct Watch {
    all: Progress,
    /// The tasks that it was given, with the chunk that each reads, if it reads one.
    given: HashMap<AttemptId, Option<Chunk>>,
}

impl Watch {
    /// Without any attempt.
    pub(crate) fn new(all: Progress) -> Self {
        Watch { all, given: HashMap::new() }
    }

    /// The attempt runs from now on.
    pub(crate) fn begin(&mut self, attempt: AttemptId, chunk: Option<Chunk>) {
        self.given.insert(attempt, chunk);
    }

    /// The attempt has ended.
    pub(crate) fn end(&mut self, attempt: AttemptId) {
        if self.given.remove(&attempt).is_some() {
            self.all.lock().known.remove(&attempt);
        }
    }

    /// Takes the current positions of the threads.
    pub(crate) fn look(&mut self, threads: &[Now]) {
        let mut all = self.all.lock();
        for thread in threads {
            let Some(chunk) = self.given.get(&thread.attempt) else { continue };
            let pace = Pace { permille: thread.permille(chunk.as_ref()), mark: thread.step(), records: thread.records };
            all.known.insert(thread.attempt, pace);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.all.lock().known.retain(|a, _| !self.given.contains_key(a));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windrow_format::crumbs::Place;
    use windrow_model::{FileIdentity, FileRange};
    use windrow_sim::samples::attempt;

    fn chunk() -> Chunk {
        let range = |path: &str, offset, length| FileRange {
            path: path.into(),
            offset,
            length,
            identity: FileIdentity::default(),
            content: None,
            local: None,
            as_is: false,
        };
        Chunk { ranges: vec![range("/a", 100, 300), range("/b", 0, 100)], ..Chunk::default() }
    }

    fn at(file: &str, offset: u64) -> Now {
        let place = Some(Place { file: file.into(), offset, file_bytes: 1_000 });
        Now { place, ..reader(offset, 0) }
    }

    /// A thread that has read some of 200 records of other tasks.
    fn reader(offset: u64, records: u64) -> Now {
        Now { attempt: attempt(1, 0), mark: (offset, records), place: None, records, records_all: 200 }
    }

    fn listed(all: &Progress) -> Vec<u32> {
        all.list().iter().map(|here| here.pace.permille).collect()
    }

    #[test]
    fn progress_is_the_offset_in_the_chunk() {
        let all = Progress::default();
        let mut watch = Watch::new(all.clone());
        watch.begin(attempt(1, 0), Some(chunk()));
        all.set_here([(attempt(1, 0), false)].into_iter());
        for (file, offset, expected) in [("/a", 100, 0), ("/a", 200, 250), ("/b", 50, 875)] {
            watch.look(&[at(file, offset)]);
            assert_eq!(listed(&all), [expected]);
        }
        // Beyond the end: the position counts decompressed bytes.
        watch.look(&[at("/b", 100)]);
        assert_eq!(listed(&all), [0]);
        watch.look(&[at("/a", 200)]);
        watch.end(attempt(1, 0));
        assert_eq!(listed(&all), [0], "it is over");
        watch.look(&[at("/a", 200)]);
        assert_eq!(listed(&all), [0], "it is over");
        all.set_here(std::iter::empty());
        assert_eq!(all.list(), []);
    }

    #[test]
    fn beats_carry_queued_attempts_and_reader_progress() {
        let all = Progress::default();
        let mut watch = Watch::new(all.clone());
        watch.begin(attempt(1, 0), None);
        all.set_here([(attempt(1, 0), false), (attempt(1, 1), true)].into_iter());
        assert_eq!(
            all.list().iter().map(|here| (here.waits, here.pace.mark)).collect::<Vec<_>>(),
            [(false, 0), (true, 0)]
        );
        let mut marks = Vec::new();
        for (steps, permille) in [((5, 1), 5), ((5, 1), 5), ((5, 2), 10), ((6, 2), 10)] {
            watch.look(&[reader(steps.0, steps.1)]);
            let pace = all.list()[0].pace;
            assert_eq!((pace.permille, pace.records), (permille, steps.1));
            marks.push(pace.mark);
        }
        assert!(
            marks[0] == marks[1] && marks[1] != marks[2] && marks[2] != marks[3] && !marks.contains(&0),
            "{marks:?}"
        );
    }

    #[test]
    fn progress_of_a_gone_executor_is_forgotten() {
        let all = Progress::default();
        all.set_here((0..2).map(|n| (attempt(1, n), false)));
        let mut watches = [Watch::new(all.clone()), Watch::new(all.clone())];
        for (n, watch) in watches.iter_mut().enumerate() {
            watch.begin(attempt(1, n as u32), Some(chunk()));
            watch.look(&[Now { attempt: attempt(1, n as u32), ..at("/a", 200) }]);
        }
        let [first, second] = watches;
        drop(first);
        assert_eq!(listed(&all), [0, 250]);
        drop(second);
        assert_eq!(listed(&all), [0, 0]);
    }
}
