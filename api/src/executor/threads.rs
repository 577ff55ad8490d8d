//! Threads that run what they are given, in the order in which it came.
//!
//! A work-stealing pool looks around for a while before it sleeps; here tasks come one by one from a socket, and an idle
//! core is wanted by the worker that sends the next one.

use super::lock;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Where work is given to the threads. They live as long as the process.
pub struct Threads<T>(Arc<Queue<T>>);

struct Queue<T> {
    waiting: Mutex<VecDeque<T>>,
    more: Condvar,
}

impl<T: Send + 'static> Threads<T> {
    /// So many threads, each of which calls `work` for one thing at a time.
    pub fn start(count: usize, work: impl Fn(T) + Send + Sync + 'static) -> io::Result<Threads<T>> {
        let queue = Arc::new(Queue { waiting: Mutex::new(VecDeque::new()), more: Condvar::new() });
        let work = Arc::new(work);
        for n in 0..count {
            let (queue, work) = (queue.clone(), work.clone());
            std::thread::Builder::new().name(format!("task-{n}")).spawn(move || {
                let _guard = AbortOnPanic;
                loop {
                    work(queue.next());
                }
            })?;
        }
        Ok(Threads(queue))
    }

    /// Goes to the first thread that is free.
    pub fn run(&self, what: T) {
        lock(&self.0.waiting).push_back(what);
        self.0.more.notify_one();
    }
}

impl<T> Queue<T> {
    fn next(&self) -> T {
        let mut waiting = lock(&self.waiting);
        loop {
            match waiting.pop_front() {
                Some(next) => return next,
                None => waiting = self.more.wait(waiting).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

/// Panics of user code are caught where it is called. One that gets here would leave its task without an answer for ever.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

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
}
