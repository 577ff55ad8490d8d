//! The threads of a rayon pool, each of which runs one task after the other, in the order in which they came.
//!
//! A thread of the pool that has nothing to do looks around for a while before it sleeps. Tasks come one by one from a socket,
//! and an idle core is wanted by the worker that sends the next one: so threads wait for tasks in a queue. What a user's
//! function does in parallel with rayon stays in this pool, and so on the cores that the worker has given.

use super::lock;
use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// A thread without a task looks so often for what users' functions have left to the pool (`rayon::spawn`).
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Where work is given to the threads. They live as long as the process.
pub struct Threads<T> {
    queue: Arc<Queue<T>>,
    /// Its threads never get out of their loops.
    _pool: ThreadPool,
}

struct Queue<T> {
    waiting: Mutex<VecDeque<T>>,
    more: Condvar,
}

impl<T: Send + 'static> Threads<T> {
    /// So many threads, each of which calls `work` for one thing at a time.
    pub fn start(count: usize, work: impl Fn(T) + Send + Sync + 'static) -> Result<Threads<T>, ThreadPoolBuildError> {
        let queue = Arc::new(Queue { waiting: Mutex::new(VecDeque::new()), more: Condvar::new() });
        // Panics of user code are caught where it is called. One that gets out would leave its task without an answer for
        // ever: rayon aborts the process then.
        let pool = ThreadPoolBuilder::new().num_threads(count).thread_name(|n| format!("task-{n}")).build()?;
        let waiting = queue.clone();
        pool.spawn_broadcast(move |_| {
            loop {
                work(waiting.next());
            }
        });
        Ok(Threads { queue, _pool: pool })
    }

    /// Goes to the first thread that is free.
    pub fn run(&self, what: T) {
        lock(&self.queue.waiting).push_back(what);
        self.queue.more.notify_one();
    }
}

impl<T> Queue<T> {
    fn next(&self) -> T {
        loop {
            let waiting = self.more.wait_timeout_while(lock(&self.waiting), LOOK_EVERY, |waiting| waiting.is_empty());
            let (mut waiting, _) = waiting.unwrap_or_else(PoisonError::into_inner);
            if let Some(next) = waiting.pop_front() {
                return next;
            }
            drop(waiting);
            while rayon::yield_now() == Some(rayon::Yield::Executed) {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn one_thread_keeps_the_order_and_more_of_them_run_side_by_side() {
        let (done, all) = mpsc::channel();
        let one = Threads::start(1, move |n: u32| done.send(n).unwrap()).unwrap();
        (0..100).for_each(|n| one.run(n));
        assert_eq!(all.iter().take(100).collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());

        // Each waits for the other: that ends only if both run.
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

    /// The pool's other threads wait in the queue, or are at work: that must not hold up parallel code in a task.
    #[test]
    fn a_task_may_use_the_pool_itself() {
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

    /// Another thread of the pool does it, since this one waits.
    #[test]
    fn what_a_task_leaves_to_the_pool_is_done_by_a_thread_without_a_task() {
        let (done, all) = mpsc::channel();
        let two = Threads::start(2, move |n: u64| {
            let (left, got) = mpsc::channel();
            rayon::spawn(move || left.send(n + 1).unwrap());
            done.send(got.recv_timeout(Duration::from_secs(60))).unwrap();
        });
        two.unwrap().run(7);
        assert_eq!(all.recv_timeout(Duration::from_secs(60)), Ok(Ok(8)));
    }
}
