//! Which value of each broadcast the running task reads, by thread.

use std::cell::RefCell;

/// A value of a broadcast: the broadcast, and which of the values that this process has seen of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Seen {
    pub broadcast: usize,
    pub value: usize,
}

thread_local! {
    static READ: RefCell<Vec<Seen>> = const { RefCell::new(Vec::new()) };
}

/// Runs `f` so that functions in it read these values. Calls nest.
pub(crate) fn with_broadcasts<X>(read: Vec<Seen>, f: impl FnOnce() -> X) -> X {
    /// Restores the values of the outer call, after a panic too.
    struct Outer(Vec<Seen>);
    impl Drop for Outer {
        fn drop(&mut self) {
            READ.replace(std::mem::take(&mut self.0));
        }
    }
    let _outer = Outer(READ.replace(read));
    f()
}

/// Which value of this broadcast the running task reads, if it is one of those that it depends on.
#[inline]
pub(crate) fn value_of(broadcast: usize) -> Option<usize> {
    READ.with_borrow(|read| read.iter().find(|seen| seen.broadcast == broadcast).map(|seen| seen.value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_end_with_their_task_even_if_it_panics() {
        let read = |value| vec![Seen { broadcast: 7, value }];
        let inner = with_broadcasts(read(1), || {
            let panicked =
                std::panic::catch_unwind(|| with_broadcasts(read(2), || -> () { panic!("{:?}", value_of(7)) }));
            assert_eq!(*panicked.unwrap_err().downcast::<String>().unwrap(), "Some(2)");
            (value_of(7), value_of(8))
        });
        assert_eq!((inner, value_of(7)), ((Some(1), None), None));
    }
}
