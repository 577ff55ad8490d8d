//! Caches which input files this worker has seen unchanged since the job was split.
//!
//! A look at a file may take as long as its file system likes, so it runs on a blocking thread, and once instead of for
//! each of the thousands of chunks of one file. Executors check again when they open a file, and report a file that has
//! changed since.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use windrow_model::{FileIdentity, FileRange};

/// The cache is cleared at this number of files.
const FILES_MAX: usize = 16 << 10;

/// Paths, and the identity of each file when it was last looked at.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<HashMap<PathBuf, FileIdentity>>);

impl Seen {
    /// Adds a file that was found to be the one that was split.
    pub(crate) fn add(&self, range: &FileRange) {
        let mut files = self.files();
        if files.len() >= FILES_MAX {
            files.clear();
        }
        files.insert(range.path.clone(), range.identity);
    }

    /// Whether it was seen with this identity.
    pub(crate) fn has(&self, range: &FileRange) -> bool {
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
