//! Deletion of files and folders in the background, a few at a time: a job may leave a million entries, and a disk has one head.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::Semaphore;
use windrow_model::Escape;
use windrow_store::remove_tree;

/// Trees that are deleted at the same time, each on a thread of its own.
const AT_ONCE_MAX: usize = 2;

/// The deletions of one worker.
#[derive(Clone, Debug)]
pub(crate) struct Deletions(Arc<Semaphore>);

impl Default for Deletions {
    fn default() -> Self {
        Deletions(Arc::new(Semaphore::new(AT_ONCE_MAX)))
    }
}

impl Deletions {
    /// Deletes files, and folders with their content; completes when that is done. Failures are logged, and the sweep of the next
    /// start deletes the rest.
    pub(crate) async fn remove(&self, paths: Vec<PathBuf>) {
        // The semaphore is never closed.
        let Ok(_turn) = self.0.acquire().await else { return };
        let remove = move || {
            for path in paths {
                match remove_tree(&path) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => {
                        tracing::warn!("cannot delete {}: {e}", path.escaped());
                    }
                    _ => {}
                }
            }
        };
        if let Err(e) = tokio::task::spawn_blocking(remove).await {
            tracing::error!("deleting files of a job panicked: {e}");
        }
    }
}
