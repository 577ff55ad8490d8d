//! The threads on which jobs are planned: each may hang in a call of a file system that does not answer, and is then abandoned.
//!
//! A plan that takes no step for [`STALL`] fails its job; when its thread returns, its effects are undone. At most
//! [`THREADS_MAX`] plans are made at a time, others wait; abandoned threads are not among them, but are bounded, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};
use windrow_model::{Code, Escape, Failure};
use windrow_store::{Steps, start_thread, thread_failure_code};

/// Time without a step after which a plan is given up.
const STALL: Duration = Duration::from_secs(120);
/// Interval of the checks for stalled plans.
const LOOK: Duration = Duration::from_secs(1);
/// Plans that are made at a time.
const THREADS_MAX: usize = 64;
/// Threads that hang in a file system. With more, no job is planned.
const ABANDONED_MAX: usize = 256;

/// The threads of one coordinator.
#[derive(Clone)]
pub(crate) struct Planners {
    permits: Arc<Semaphore>,
    abandoned: Arc<AtomicUsize>,
    stall: Duration,
}

impl Default for Planners {
    fn default() -> Self {
        Planners {
            permits: Arc::new(Semaphore::new(THREADS_MAX)),
            abandoned: Arc::new(AtomicUsize::new(0)),
            stall: STALL,
        }
    }
}

impl Planners {
    /// Runs `plan` on a thread. `late` gets the result of one that comes back after it was given up, or whose answer has no
    /// receiver any more.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        steps: &Arc<Steps>,
        plan: impl FnOnce() -> T + Send + 'static,
        late: impl FnOnce(T) + Send + 'static,
    ) -> Result<T, Failure> {
        let closed = |_| Failure::new(Code::Unreachable, "the coordinator is stopping");
        let _permit = self.permits.acquire().await.map_err(closed)?;
        if self.abandoned.load(Ordering::SeqCst) >= ABANDONED_MAX {
            let what = format!("{ABANDONED_MAX} plans of other jobs wait for file systems that do not answer");
            return Err(Failure::new(Code::InputUnreadable, what));
        }
        let (answer, mut answered) = oneshot::channel();
        let hangs = Arc::new(AtomicUsize::new(0));
        let (abandoned, hung) = (self.abandoned.clone(), hangs.clone());
        let body = move || {
            let result = plan();
            // The later of the two sides counts.
            if hung.swap(2, Ordering::SeqCst) == 1 {
                abandoned.fetch_sub(1, Ordering::SeqCst);
            }
            if let Err(result) = answer.send(result) {
                late(result);
            }
        };
        start_thread(|| std::thread::Builder::new().name("plan".into()), body)
            .await
            .map_err(|e| Failure::new(thread_failure_code(&e), format!("no thread to plan the job: {e}")))?;
        let mut ticks = tokio::time::interval(LOOK.min(self.stall));
        let (mut seen, mut since) = (steps.taken(), tokio::time::Instant::now());
        loop {
            tokio::select! {
                result = &mut answered => {
                    return result.map_err(|_| Failure::new(Code::Internal, "planning the job panicked"));
                }
                _ = ticks.tick() => {}
            }
            if seen != steps.taken() {
                (seen, since) = (steps.taken(), tokio::time::Instant::now());
            } else if since.elapsed() >= self.stall {
                steps.cancel();
                if hangs.swap(1, Ordering::SeqCst) == 0 {
                    self.abandoned.fetch_add(1, Ordering::SeqCst);
                }
                let (path, seconds) = (steps.place(), self.stall.as_secs());
                let what = format!("{}: the file system has not answered for {seconds} s", path.escaped());
                return Err(Failure::new(Code::InputUnreadable, what));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::sync::mpsc;

    #[tokio::test]
    async fn plan_that_hangs_is_given_up_and_undone_when_it_returns() {
        let planners = Planners { stall: Duration::from_millis(20), ..Planners::default() };
        let steps = Arc::new(Steps::default());
        let (go_on, wait) = mpsc::channel::<()>();
        let (undone, undoes) = mpsc::channel();
        let own = steps.clone();
        let hangs = move || {
            own.step(Path::new("/dead/nfs")).unwrap();
            let _ = wait.recv();
            7
        };
        let failure = planners.run(&steps, hangs, move |late| undone.send(late).unwrap()).await.unwrap_err();
        assert!(failure.message.contains("/dead/nfs"), "{failure}");
        assert!(steps.is_cancelled());
        assert_eq!(planners.abandoned.load(Ordering::SeqCst), 1);
        assert_eq!(planners.permits.available_permits(), THREADS_MAX, "others are planned meanwhile");
        go_on.send(()).unwrap();
        assert_eq!(undoes.recv().unwrap(), 7);
        assert_eq!(planners.abandoned.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn plan_that_takes_steps_is_waited_for() {
        let planners = Planners { stall: Duration::from_millis(300), ..Planners::default() };
        let steps = Arc::new(Steps::default());
        let own = steps.clone();
        let slow = move || {
            for _ in 0..40 {
                own.step(Path::new("/in")).unwrap();
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        planners.run(&steps, slow, |()| {}).await.unwrap();
    }
}
