//! How far the attempts are that run here: written by those who watch executors, told to the coordinator with each beat.
//!
//! What is known comes from crumbs (`windrow_format::crumbs`): the record that a thread is at, and from the chunk that its
//! attempt reads. Of attempts that read segments nothing is known, nor beyond the end of what the chunk has on disk, as
//! within compressed files.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use windrow_format::crumbs::Now;
use windrow_model::{AttemptId, Chunk};

/// Thousandths of their input, by attempt. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Mutex<HashMap<AttemptId, u32>>>);

impl Progress {
    /// All that is known now.
    pub fn list(&self) -> Vec<(AttemptId, u32)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(a, n)| (*a, *n)).collect()
    }
}

/// What one executor's threads are at. When it goes, what it knew is forgotten.
#[derive(Debug)]
pub struct Watch {
    all: Progress,
    chunks: HashMap<AttemptId, Chunk>,
}

impl Watch {
    /// Nothing has been seen yet.
    pub fn new(all: Progress) -> Self {
        Watch { all, chunks: HashMap::new() }
    }

    /// The attempt reads this from now on.
    pub fn begin(&mut self, attempt: AttemptId, chunk: Chunk) {
        self.chunks.insert(attempt, chunk);
    }

    /// It is over.
    pub fn end(&mut self, attempt: AttemptId) {
        if self.chunks.remove(&attempt).is_some() {
            self.all.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&attempt);
        }
    }

    /// Takes in where the threads are now.
    pub fn look(&mut self, threads: &[Now]) {
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads {
            let permille = self.chunks.get(&thread.attempt).and_then(|chunk| permille(chunk, thread));
            match permille {
                Some(permille) => drop(all.insert(thread.attempt, permille)),
                None => drop(all.remove(&thread.attempt)),
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.all.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|a, _| !self.chunks.contains_key(a));
    }
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

    #[test]
    fn the_place_in_a_chunk_is_its_progress() {
        let all = Progress::default();
        let mut watch = Watch::new(all.clone());
        watch.begin(attempt(1, 0), chunk());
        for (file, offset, expected) in [("/a", 100, 0), ("/a", 200, 250), ("/b", 50, 875)] {
            watch.look(&[at(file, offset)]);
            assert_eq!(all.list(), [(attempt(1, 0), expected)]);
        }
        // Beyond the end: it counts bytes that are not those of the file.
        watch.look(&[at("/b", 100)]);
        assert_eq!(all.list(), []);
        watch.look(&[at("/a", 100)]);
        watch.end(attempt(1, 0));
        assert_eq!(all.list(), []);
        watch.look(&[at("/a", 100)]);
        assert_eq!(all.list(), [], "it is over");
    }

    #[test]
    fn an_executor_that_goes_takes_what_was_known_of_it_along() {
        let all = Progress::default();
        let mut watches = [Watch::new(all.clone()), Watch::new(all.clone())];
        for (n, watch) in watches.iter_mut().enumerate() {
            watch.begin(attempt(1, n as u32), chunk());
            watch.look(&[Now { attempt: attempt(1, n as u32), ..at("/a", 200) }]);
        }
        let [first, second] = watches;
        drop(first);
        assert_eq!(all.list(), [(attempt(1, 1), 250)]);
        drop(second);
        assert_eq!(all.list(), []);
    }
}
