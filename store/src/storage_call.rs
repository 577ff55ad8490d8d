//! File system calls that may never return.
//!
//! A call on a dead network file system hangs, and neither a signal nor a deadline ends it. A daemon therefore runs
//! each such call on a thread that has no other call (`storage_threads.rs`). If the call makes no progress within its limit, the caller gets
//! `STORAGE_TIMEOUT`, which names the path, and the thread is abandoned: it ends when the call returns, if ever.
//! Abandoned threads are counted by the mount of their path. A mount with the maximum number of them is considered
//! dead: calls on it fail at once until one of its threads has returned. Mounts are determined from the text of the
//! path and the system's list, which touches no mount. Other storage than paths counts by scheme and bucket.

use crate::error::{Result, StoreError};
use crate::mount::mount_of;
use crate::outputs::{Output, Outputs};
use crate::start_thread::thread_failure_code;
use crate::storage_threads::StorageThreads;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;
use windrow_model::{Code, Escape, Location};

/// Most abandoned threads of one mount.
pub const ABANDONED_PER_MOUNT_MAX: usize = 8;

/// Progress of a call that may take longer than its limit. A call that touches one path need not use it.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<AtomicU64>);

impl Progress {
    /// Records progress.
    pub fn tick(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The calls of one process. Clones share the count of abandoned threads.
#[derive(Clone, Debug)]
pub struct StorageCalls {
    /// Time without progress after which a call is abandoned.
    limit: Duration,
    abandoned: Arc<Mutex<BTreeMap<PathBuf, usize>>>,
    threads: StorageThreads,
    outputs: Outputs,
}

impl StorageCalls {
    /// Default time without progress after which a call is abandoned.
    pub const LIMIT: Duration = Duration::from_secs(60);

    /// Creates a set of calls, each of which is abandoned after `limit` without progress.
    pub fn new(limit: Duration) -> StorageCalls {
        StorageCalls {
            limit,
            abandoned: Arc::default(),
            threads: StorageThreads::default(),
            outputs: Outputs::default(),
        }
    }

    /// The same calls on these kinds of storage for outputs.
    pub fn on(self, outputs: Outputs) -> StorageCalls {
        StorageCalls { outputs, ..self }
    }

    /// The kinds of storage for outputs, for threads that have a deadline of another kind.
    pub fn outputs(&self) -> &Outputs {
        &self.outputs
    }

    /// The same calls for writing, with `limit` as their limit if that is longer than the usual one. A responsive file
    /// system may still need minutes to write a large file to its disk.
    pub fn for_writes(&self, limit: Duration) -> StorageCalls {
        // A test with a short limit keeps it here.
        let limit = if self.limit < StorageCalls::LIMIT { self.limit } else { limit.max(self.limit) };
        StorageCalls { limit, ..self.clone() }
    }

    /// Number of abandoned threads that have not ended, on all mounts.
    pub fn abandoned(&self) -> usize {
        self.lock().values().sum()
    }

    /// Runs `call`, which touches `path` and may touch others, on a thread that has no other call. If the future is dropped, a
    /// thread that still runs counts as abandoned.
    ///
    /// # Errors
    /// `STORAGE_TIMEOUT` if the call makes no progress within the limit, or at once if the mount has too many abandoned
    /// threads; in the first case `call` may still run, even to its end. `RESOURCE_LIMIT` if no thread can be started for
    /// two seconds, `INTERNAL` if `call` panics.
    pub async fn run<T: Send + 'static, E: From<StoreError> + Send + 'static>(
        &self,
        path: &Path,
        call: impl FnOnce(&Progress) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let mount = mount_of(path);
        let failed = |code, what: String| E::from(StoreError::new(code, format!("{}: {what}", path.escaped())));
        if self.lock().get(&mount).is_some_and(|n| *n >= ABANDONED_PER_MOUNT_MAX) {
            let what = format!("{ABANDONED_PER_MOUNT_MAX} calls on {} have not returned", mount.escaped());
            return Err(failed(Code::StorageTimeout, what));
        }
        let (answer, mut answered) = oneshot::channel();
        let (progress, state) = (Progress::default(), Arc::new(AtomicU8::new(WAITING)));
        let (ticks, guard) = (progress.clone(), Waiting { calls: self.clone(), mount, state });
        let end = Ends { calls: self.clone(), mount: guard.mount.clone(), state: guard.state.clone() };
        let body = move || {
            let end = end;
            let result = call(&ticks);
            // Before the answer is sent: a thread that has answered is never counted as abandoned.
            drop(end);
            let _ = answer.send(result);
        };
        let started = self.threads.run(body).await;
        started
            .map_err(|e| failed(thread_failure_code(&e), format!("cannot start a thread for a storage call: {e}")))?;
        let mut seen = progress.count();
        loop {
            match timeout(self.limit, &mut answered).await {
                Ok(Ok(result)) => return result,
                Ok(Err(_)) => return Err(failed(Code::Internal, "the storage call panicked".to_string())),
                Err(_) if progress.count() != seen => seen = progress.count(),
                Err(_) => break,
            }
        }
        drop(guard);
        let seconds = self.limit.as_secs_f32();
        Err(failed(Code::StorageTimeout, format!("the file system has not answered for {seconds} s")))
    }

    /// Runs `call` with the kind of storage that holds the output or staging area of this name, like [`StorageCalls::run`].
    ///
    /// # Errors
    /// `OUTPUT_FAILED` if no kind holds it, and those of [`StorageCalls::run`].
    pub async fn run_output<T: Send + 'static, E: From<StoreError> + Send + 'static>(
        &self,
        name: &Path,
        call: impl FnOnce(&dyn Output, &Progress) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let (outputs, own) = (self.outputs.clone(), name.to_path_buf());
        self.run(name, move |progress| call(outputs.at(Location::of_name(&own))?, progress)).await
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<PathBuf, usize>> {
        self.abandoned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// States of a call, which change only under the lock of the count.
const WAITING: u8 = 0;
const ABANDONED: u8 = 1;
const ENDED: u8 = 2;

/// The caller's side of a call: if it is dropped before the thread has ended, the thread counts as abandoned.
struct Waiting {
    calls: StorageCalls,
    mount: PathBuf,
    state: Arc<AtomicU8>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut abandoned = self.calls.lock();
        if self.state.load(Ordering::Relaxed) == WAITING {
            self.state.store(ABANDONED, Ordering::Relaxed);
            *abandoned.entry(std::mem::take(&mut self.mount)).or_default() += 1;
        }
    }
}

/// The thread's side of a call: when the thread ends, even by a panic, it no longer counts as abandoned.
struct Ends {
    calls: StorageCalls,
    mount: PathBuf,
    state: Arc<AtomicU8>,
}

impl Drop for Ends {
    fn drop(&mut self) {
        let mut abandoned = self.calls.lock();
        if self.state.swap(ENDED, Ordering::Relaxed) == ABANDONED
            && let Some(n) = abandoned.get_mut(&self.mount)
        {
            *n -= 1;
            if *n == 0 {
                abandoned.remove(&self.mount);
            }
        }
    }
}

impl Default for StorageCalls {
    fn default() -> Self {
        StorageCalls::new(StorageCalls::LIMIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;

    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn hanging_call_fails_with_its_path() {
        let calls = StorageCalls::new(SHORT);
        let path = Path::new("/nowhere/input");
        // A FIFO without a writer behaves in the same way: only its other side ends the call.
        let mut returns = Vec::new();
        for n in 0..ABANDONED_PER_MOUNT_MAX {
            let (goes_on, waits) = mpsc::channel::<()>();
            returns.push(goes_on);
            let hangs = calls.run(path, move |_| Ok::<_, StoreError>(waits.recv().is_ok())).await.unwrap_err();
            assert!(hangs.code == Code::StorageTimeout && hangs.message.contains("/nowhere/input"), "{hangs}");
            assert_eq!(calls.abandoned(), n + 1);
        }
        // Now calls on that mount fail without starting a thread.
        let (ran, runs) = mpsc::channel::<()>();
        let refused = calls.run(path, move |_| Ok::<_, StoreError>(ran.send(()).is_ok())).await.unwrap_err();
        assert!(refused.code == Code::StorageTimeout && refused.message.contains("have not returned"), "{refused}");
        assert!(runs.recv().is_err());
        assert_eq!(
            calls.run(Path::new("/proc/self/stat"), |_| Ok::<_, StoreError>(7)).await.unwrap(),
            7,
            "another mount"
        );
        // The file system responds again.
        drop(returns);
        while calls.abandoned() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(calls.run(path, |_| Ok::<_, StoreError>(8)).await.unwrap(), 8);
    }

    #[tokio::test]
    async fn slow_call_that_makes_progress_is_not_abandoned() {
        let calls = StorageCalls::new(Duration::from_millis(200));
        let slow = |progress: &Progress| {
            for _ in 0..30 {
                thread::sleep(Duration::from_millis(20));
                progress.tick();
            }
            Ok::<_, StoreError>("done")
        };
        assert_eq!(calls.run(Path::new("/"), slow).await.unwrap(), "done");
    }

    #[tokio::test]
    async fn panic_in_a_call_is_an_error() {
        let failed = StorageCalls::default().run(Path::new("/x"), |_| -> Result<()> { panic!("in a call") }).await;
        assert_eq!(failed.unwrap_err().code, Code::Internal);
    }
}
