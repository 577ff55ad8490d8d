//! Threads of a rayon pool that run tasks in order of arrival, one at a time each.
//!
//! An idle thread of a rayon pool polls for a while before it sleeps. Tasks arrive one by one (in an executor from a
//! socket), and the sender of the next one needs the core, so threads wait for tasks in a queue instead. Parallel rayon
//! code of a user's function stays in this pool, and so on the cores of the job. While such a function waits for its
//! other half, its thread may run other work of the pool, but no other task, because tasks are not in the pool's
//! queues.

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};
use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use windrow_failpoint::failpoint;
use windrow_format::resource_limit::is_resource_limit;
use windrow_model::Code;

/// Interval at which an idle thread looks for work that users' functions have left to the pool (`rayon::spawn`).
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Distributes work to the threads. On drop they finish the queue and end.
pub(super) struct Threads<T> {
    queue: Arc<Queue<T>>,
    /// The threads of the pool loop until the queue is closed.
    _pool: ThreadPool,
}

struct Queue<T> {
    waiting: Mutex<Waiting<T>>,
    more: Condvar,
}

struct Waiting<T> {
    tasks: VecDeque<T>,
    closed: bool,
}

impl<T: Send + 'static> Threads<T> {
    /// Starts `count` threads, each of which calls `work` for one item at a time.
    ///
    /// # Errors
    /// The threads cannot be started.
    pub(super) fn start(count: usize, work: impl Fn(T) + Send + Sync + 'static) -> io::Result<Threads<T>> {
        failpoint!("threads.start")?;
        let waiting = Waiting { tasks: VecDeque::new(), closed: false };
        let queue = Arc::new(Queue { waiting: Mutex::new(waiting), more: Condvar::new() });
        // Panics of user code are caught where it is called. An uncaught one would leave its task without an answer
        // forever; rayon aborts the process then.
        let pool = ThreadPoolBuilder::new()
            .num_threads(count)
            .thread_name(|n| format!("task-{n}"))
            .build()
            .map_err(system_error)?;
        let waiting = queue.clone();
        pool.spawn_broadcast(move |_| {
            while let Some(next) = waiting.next() {
                work(next);
            }
        });
        Ok(Threads { queue, _pool: pool })
    }

    /// Queues an item for the first free thread.
    pub(super) fn run(&self, what: T) {
        self.queue.lock().tasks.push_back(what);
        self.queue.more.notify_one();
    }
}

/// The error of the system by which a thread could not be started.
fn system_error(e: ThreadPoolBuildError) -> io::Error {
    let number = e.source().and_then(|e| e.downcast_ref::<io::Error>()).and_then(io::Error::raw_os_error);
    number.map_or_else(|| io::Error::other(e), io::Error::from_raw_os_error)
}

/// The code for threads that could not be started.
pub(super) fn thread_code(e: &io::Error) -> Code {
    if is_resource_limit(e) { Code::ResourceLimit } else { Code::Internal }
}

impl<T> Drop for Threads<T> {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.more.notify_all();
    }
}

impl<T> Queue<T> {
    fn lock(&self) -> MutexGuard<'_, Waiting<T>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next item; none once the queue is closed and empty.
    fn next(&self) -> Option<T> {
        let mut patience = LOOK_EVERY;
        loop {
            let nothing = |waiting: &mut Waiting<T>| waiting.tasks.is_empty() && !waiting.closed;
            let woken = self.more.wait_timeout_while(self.lock(), patience, nothing);
            let (mut waiting, _) = woken.unwrap_or_else(PoisonError::into_inner);
            match waiting.tasks.pop_front() {
                None if waiting.closed => return None,
                None => {}
                next => return next,
            }
            drop(waiting);
            // One item of the pool, then tasks have priority again.
            let has_helped = rayon::yield_now() == Some(rayon::Yield::Executed);
            patience = if has_helped { Duration::ZERO } else { LOOK_EVERY };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    use std::sync::mpsc;

    #[test]
    fn one_thread_keeps_the_order_and_two_run_in_parallel() {
        let (done, all) = mpsc::channel();
        let one = Threads::start(1, move |n: u32| done.send(n).unwrap()).unwrap();
        (0..100).for_each(|n| one.run(n));
        assert_eq!(all.iter().take(100).collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());

        // Each waits for the other, so the test ends only if both run.
        let barrier = std::sync::Barrier::new(2);
        let (done, all) = mpsc::channel();
        let two = Threads::start(2, move |()| {
            barrier.wait();
            done.send(()).unwrap();
        });
        let two = two.unwrap();
        (0..10).for_each(|_| two.run(()));
        (0..10).for_each(|_| all.recv_timeout(Duration::from_secs(60)).unwrap());
    }

    #[test]
    fn threads_end_when_the_queue_is_dropped() {
        let (done, all) = mpsc::channel();
        let two = Threads::start(2, move |n: u32| done.send(n).unwrap()).unwrap();
        (0..100).for_each(|n| two.run(n));
        drop(two);
        // The channel closes with the last thread.
        assert_eq!(all.iter().count(), 100);
    }

    /// The pool's other threads wait in the queue or are busy, which must not block parallel code in a task.
    #[test]
    fn task_may_use_the_pool_itself() {
        let (done, all) = mpsc::channel();
        let two = Threads::start(2, move |n: u64| {
            let sums = rayon::join(|| (0..n).sum::<u64>(), || (n..2 * n).sum::<u64>());
            done.send((rayon::current_num_threads(), sums.0 + sums.1)).unwrap();
        });
        let two = two.unwrap();
        (0..10).for_each(|_| two.run(1000));
        let sum = (0..2000).sum::<u64>();
        (0..10).for_each(|_| assert_eq!(all.recv_timeout(Duration::from_secs(60)), Ok((2, sum))));
    }

    /// Another thread of the pool runs it, since this one waits.
    #[test]
    fn spawned_work_is_done_by_an_idle_thread() {
        let (done, all) = mpsc::channel();
        let two = Threads::start(2, move |n: u64| {
            let (left, got) = mpsc::channel();
            rayon::spawn(move || left.send(n + 1).unwrap());
            done.send(got.recv_timeout(Duration::from_secs(60))).unwrap();
        });
        two.unwrap().run(7);
        assert_eq!(all.recv_timeout(Duration::from_secs(60)), Ok(Ok(8)));
    }

    /// Helping may go on as long as there is work to help with.
    #[test]
    fn task_comes_before_more_help_for_another() {
        fn help(ended: Arc<AtomicBool>) {
            if !ended.load(Relaxed) {
                rayon::spawn(move || help(ended));
            }
        }
        let (done, all) = mpsc::channel();
        let ended = Arc::new(AtomicBool::new(false));
        let two = Threads::start(2, move |first: bool| {
            if first {
                help(ended.clone());
                while !ended.load(Relaxed) {
                    std::thread::yield_now();
                }
            }
            ended.store(true, Relaxed);
            done.send(first).unwrap();
        });
        let two = two.unwrap();
        two.run(true);
        // Gives the second thread time to start helping.
        std::thread::sleep(5 * LOOK_EVERY);
        two.run(false);
        let mut both = [(); 2].map(|()| all.recv_timeout(Duration::from_secs(60)));
        both.sort_by_key(|first| first.ok());
        assert_eq!(both, [Ok(false), Ok(true)]);
    }
}
