//! Which attempts are here and how far they are: told to the coordinator with each beat.
//!
//! The node says which ones run or will, those who watch executors say how they get on. What is known comes from crumbs
//! (`windrow_format::crumbs`): a mark that changes with every record, block and group, and the record that a thread is at. With
//! the chunk that the attempt reads, the record says how far it is. Of attempts that read segments that is not known, nor
//! beyond the end of what the chunk has on disk, as within compressed files.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use windrow_format::crumbs::Now;
use windrow_model::{AttemptId, Chunk};

/// How an attempt gets on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// Thousandths of its input; 0 if that is not known.
    pub permille: u32,
    /// Changes whenever it gets on; 0 if that is not known.
    pub mark: u64,
}

/// An attempt that is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Here {
    pub attempt: AttemptId,
    /// It has not been given to an executor.
    pub waits: bool,
    pub pace: Pace,
}

#[derive(Debug, Default)]
struct Shared {
    here: Vec<(AttemptId, bool)>,
    known: HashMap<AttemptId, Pace>,
}

/// All attempts that run here or will. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Mutex<Shared>>);

impl Progress {
    /// These run here or will, and no others: attempt, and whether it waits. What was said of others before is on its way
    /// already.
    pub fn set_here(&self, here: impl Iterator<Item = (AttemptId, bool)>) {
        let mut shared = self.lock();
        shared.here.clear();
        shared.here.extend(here);
    }

    /// All that is known now.
    pub fn list(&self) -> Vec<Here> {
        let shared = self.lock();
        let pace = |attempt| shared.known.get(attempt).copied().unwrap_or_default();
        let here = shared.here.iter();
        here.map(|(attempt, waits)| Here { attempt: *attempt, waits: *waits, pace: pace(attempt) }).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one executor's threads are at. When it goes, what it knew is forgotten.
#[derive(Debug)]
pub struct Watch {
    all: Progress,
    /// What it was given, with the chunk that it reads, if it reads one.
    given: HashMap<AttemptId, Option<Chunk>>,
}

impl Watch {
    /// Nothing has been seen yet.
    pub fn new(all: Progress) -> Self {
        Watch { all, given: HashMap::new() }
    }

    /// The attempt runs from now on.
    pub fn begin(&mut self, attempt: AttemptId, chunk: Option<Chunk>) {
        self.given.insert(attempt, chunk);
    }

    /// It is over.
    pub fn end(&mut self, attempt: AttemptId) {
        if self.given.remove(&attempt).is_some() {
            self.all.lock().known.remove(&attempt);
        }
    }

    /// Takes in where the threads are now.
    pub fn look(&mut self, threads: &[Now]) {
        let mut all = self.all.lock();
        for thread in threads {
            let Some(chunk) = self.given.get(&thread.attempt) else { continue };
            let permille = chunk.as_ref().and_then(|chunk| permille(chunk, thread)).unwrap_or(0);
            all.known.insert(thread.attempt, Pace { permille, mark: mark(thread) });
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.all.lock().known.retain(|a, _| !self.given.contains_key(a));
    }
}

/// One number for a place and a number of steps. That two in a row are the same by chance costs nothing: the next differs.
fn mark(thread: &Now) -> u64 {
    let (offset, steps) = thread.mark;
    (offset.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ steps).max(1)
}

fn permille(chunk: &Chunk, thread: &Now) -> Option<u32> {
    let place = thread.place.as_ref()?;
    let mut before = 0u64;
    for range in &chunk.ranges {
        if range.file() == place.file && (range.offset..range.offset + range.length).contains(&place.offset) {
            let done = u128::from(before + (place.offset - range.offset));
            return u32::try_from(done * 1_000 / u128::from(chunk.length().max(1))).ok();
        }
        before += range.length;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::attempt;
    use windrow_format::crumbs::Place;
    use windrow_model::{FileIdentity, FileRange};

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
        Now { attempt: attempt(1, 0), mark: (offset, 0), place }
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
        // Beyond the end: it counts bytes that are not those of the file.
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
        for steps in [(5, 1), (5, 1), (5, 2), (6, 2)] {
            watch.look(&[Now { attempt: attempt(1, 0), mark: steps, place: None }]);
            marks.push(all.list()[0].pace.mark);
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
