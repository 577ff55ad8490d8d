//! The failpoints of this process, and those of a test's own thread.

use crate::VARIABLE;
use crate::spec::{Act, Point, parse};
use rustix::process::{Signal, getpid, kill_process};
use std::cell::RefCell;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

struct Counted {
    point: Point,
    passes: AtomicU64,
}

impl Counted {
    fn all(text: &str) -> Vec<Counted> {
        // The variable is set only by tests, which must not go on without their fault.
        let points = parse(text).unwrap_or_else(|e| panic!("{VARIABLE}: {e}"));
        points.into_iter().map(|point| Counted { point, passes: AtomicU64::new(0) }).collect()
    }

    fn pass(&self, name: &str) -> Option<Act> {
        if self.point.name != name {
            return None;
        }
        let pass = self.passes.fetch_add(1, Ordering::Relaxed) + 1;
        (self.point.first..=self.point.last).contains(&pass).then_some(self.point.act)
    }
}

thread_local! {
    static OF_THREAD: RefCell<Vec<Counted>> = const { RefCell::new(Vec::new()) };
}

/// Called by the macros: counts the pass and runs its action.
pub fn pass(name: &'static str) -> io::Result<()> {
    static OF_PROCESS: OnceLock<Vec<Counted>> = OnceLock::new();
    let of_process = OF_PROCESS.get_or_init(|| Counted::all(&std::env::var(VARIABLE).unwrap_or_default()));
    let of_thread = OF_THREAD.with_borrow(|points| points.iter().find_map(|p| p.pass(name)));
    match of_thread.or_else(|| of_process.iter().find_map(|p| p.pass(name))) {
        Some(act) => perform(name, act),
        None => Ok(()),
    }
}

fn perform(name: &str, act: Act) -> io::Result<()> {
    match act {
        Act::Kill => {
            // If the signal cannot be sent, the process must still end.
            let _ = kill_process(getpid(), Signal::KILL);
            std::process::abort()
        }
        Act::Abort => std::process::abort(),
        Act::Panic => panic!("the failpoint {name}"),
        Act::Sleep(time) => {
            std::thread::sleep(time);
            Ok(())
        }
        Act::Hang => loop {
            std::thread::park();
        },
        Act::Error(number) => Err(io::Error::from_raw_os_error(number)),
    }
}

/// Keeps the failpoints of [`arm`] active until it is dropped.
#[must_use]
pub struct Armed(());

/// Activates failpoints on this thread only, for tests within one process. `text` has the format of the variable.
pub fn arm(text: &str) -> Armed {
    OF_THREAD.set(Counted::all(text));
    Armed(())
}

impl Drop for Armed {
    fn drop(&mut self) {
        OF_THREAD.take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failpoint;

    #[test]
    fn error_is_injected_at_its_pass_on_its_thread() {
        let armed = arm("a=enospc@2;b=eio@2+");
        let number = |r: io::Result<()>| r.err().and_then(|e| e.raw_os_error());
        let a = [(); 3].map(|()| number(failpoint!("a")));
        assert_eq!(a, [None, Some(28), None]);
        let b = [(); 3].map(|()| number(failpoint!("b")));
        assert_eq!(b, [None, Some(5), Some(5)]);
        assert!(std::thread::spawn(|| failpoint!("b").is_ok()).join().unwrap());
        drop(armed);
        assert!(failpoint!("b").is_ok());
    }

    #[test]
    #[should_panic(expected = "the failpoint c")]
    fn panic_names_its_failpoint() {
        let _armed = arm("c=panic");
        let _ = failpoint!("c");
    }
}
