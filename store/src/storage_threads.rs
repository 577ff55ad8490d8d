//! The threads of storage calls: each runs one call at a time, and waits a while for the next one.
//!
//! A call that hangs keeps its thread, and no other call waits for it: a call without an idle thread gets a new one.

use crate::start_thread::start_thread;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::Duration;

/// Stack size in bytes of such a thread.
const STACK_BYTES: usize = 1 << 20;
/// Most threads that wait for a call.
const IDLE_MAX: usize = 4;
/// How long a thread waits for a call.
const IDLE: Duration = Duration::from_secs(5);

type Call = Box<dyn FnOnce() + Send>;

/// Threads that wait for a call. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct StorageThreads(Arc<Mutex<Idle>>);

#[derive(Debug, Default)]
struct Idle {
    /// The number of the next thread.
    next: u64,
    /// By ascending time since which they wait.
    waiting: Vec<(u64, Sender<Call>)>,
}

impl StorageThreads {
    /// Runs a call on a thread that has no other one. A panic of the call ends with it.
    ///
    /// # Errors
    /// The system has no thread for two seconds.
    pub(crate) async fn run(&self, call: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let mut call: Call = Box::new(call);
        loop {
            // In a statement of its own: the lock ends with it.
            let last = self.lock().waiting.pop();
            let Some((_, thread)) = last else { break };
            match thread.send(call) {
                Ok(()) => return Ok(()),
                // That thread has ended.
                Err(unsent) => call = unsent.0,
            }
        }
        let idle = self.clone();
        let builder = || Builder::new().name("storage".into()).stack_size(STACK_BYTES);
        start_thread(builder, move || idle.serve(call)).await
    }

    /// Runs calls until none comes for a while.
    fn serve(&self, first: Call) {
        let mut call = first;
        loop {
            // The caller notices a panic, since it gets no answer.
            let _ = catch_unwind(AssertUnwindSafe(call));
            let (thread, calls) = mpsc::channel();
            let number = {
                let mut idle = self.lock();
                if idle.waiting.len() >= IDLE_MAX {
                    return;
                }
                idle.next += 1;
                let number = idle.next;
                idle.waiting.push((number, thread));
                number
            };
            call = match calls.recv_timeout(IDLE) {
                Ok(next) => next,
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    self.lock().waiting.retain(|(waiting, _)| *waiting != number);
                    // A call that came in between.
                    match calls.try_recv() {
                        Ok(next) => next,
                        Err(_) => return,
                    }
                }
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::thread::{self, ThreadId};

    /// The thread of a call, once it waits for the next one.
    async fn ran_on(threads: &StorageThreads) -> ThreadId {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let before = threads.lock().next;
        let call = move || answer.send(thread::current().id()).unwrap();
        threads.run(call).await.unwrap();
        let id = answered.await.unwrap();
        while threads.lock().next == before {
            thread::yield_now();
        }
        id
    }

    #[tokio::test]
    async fn idle_thread_runs_the_next_call() {
        let threads = StorageThreads::default();
        let first = ran_on(&threads).await;
        for _ in 0..10 {
            assert_eq!(ran_on(&threads).await, first);
        }
    }

    #[tokio::test]
    async fn hanging_call_has_its_thread_for_itself() {
        let threads = StorageThreads::default();
        let (returns, waits) = mpsc::channel::<()>();
        threads.run(move || assert!(waits.recv().is_err())).await.unwrap();
        let other = ran_on(&threads).await;
        assert_eq!(ran_on(&threads).await, other);
        drop(returns);
    }

    #[tokio::test]
    async fn thread_survives_a_panic_and_few_threads_wait() {
        let threads = StorageThreads::default();
        threads.run(|| panic!("in a call")).await.unwrap();
        let (returns, waits): (Vec<_>, Vec<_>) = (0..3 * IDLE_MAX).map(|_| mpsc::channel::<()>()).unzip();
        for waits in waits {
            threads.run(move || assert!(waits.recv().is_err())).await.unwrap();
        }
        drop(returns);
        while threads.lock().waiting.len() < IDLE_MAX {
            thread::yield_now();
        }
        let mut seen = BTreeSet::new();
        for _ in 0..20 {
            seen.insert(format!("{:?}", ran_on(&threads).await));
        }
        assert!(seen.len() <= IDLE_MAX && threads.lock().waiting.len() <= IDLE_MAX);
    }
}
