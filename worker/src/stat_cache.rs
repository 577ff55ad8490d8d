//! Input files that this worker has seen as they were when the job was split.
//!
//! Looking at a file may take as long as its file system likes, so it is done on a blocking thread, and not again for each
//! of the thousands of chunks of one file. Executors look once more when they open it: a file that has changed since is told
//! by them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use windrow_model::{FileIdentity, FileRange};

/// More files than this are forgotten, all at once.
const FILES_MAX: usize = 16 << 10;

/// Paths, and what each led to when it was looked at last.
#[derive(Debug, Default)]
pub struct Seen(Mutex<HashMap<PathBuf, FileIdentity>>);

impl Seen {
    /// The file was found to be the one that was split.
    pub fn add(&self, range: &FileRange) {
        let mut files = self.files();
        if files.len() >= FILES_MAX {
            files.clear();
        }
        files.insert(range.path.clone(), range.identity);
    }

    /// It was seen, and as that one.
    pub fn has(&self, range: &FileRange) -> bool {
        self.files().get(&range.path) == Some(&range.identity)
    }

    fn files(&self) -> MutexGuard<'_, HashMap<PathBuf, FileIdentity>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_cache_is_exact_and_bounded() {
        let seen = Seen::default();
        let range = |n: usize, length| FileRange {
            path: format!("/{n}").into(),
            offset: 0,
            length: 1,
            identity: FileIdentity { length, ..FileIdentity::default() },
            content: None,
            local: None,
            as_is: false,
        };
        assert!(!seen.has(&range(0, 7)));
        seen.add(&range(0, 7));
        assert!(seen.has(&range(0, 7)));
        assert!(!seen.has(&range(0, 8)), "another file under the same name");
        (1..=FILES_MAX).for_each(|n| seen.add(&range(n, 7)));
        assert!(!seen.has(&range(0, 7)) && seen.has(&range(FILES_MAX, 7)));
        assert!(seen.files().len() <= FILES_MAX);
    }
}
