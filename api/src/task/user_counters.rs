//! What user code of the running task has counted, by thread.

use std::cell::RefCell;

thread_local! {
    static USER_COUNTERS: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// Runs `f` with fresh user counters and returns what it counted. Calls nest, because a pool thread that waits inside one
/// task may run another.
pub(crate) fn with_user_counters<X>(f: impl FnOnce() -> X) -> (X, Vec<u64>) {
    let outer = USER_COUNTERS.with_borrow_mut(std::mem::take);
    let result = f();
    let counted = USER_COUNTERS.with_borrow_mut(|c| std::mem::replace(c, outer));
    (result, counted)
}

pub(crate) fn add_user_counter(index: usize, n: u64) {
    USER_COUNTERS.with_borrow_mut(|c| {
        if c.len() <= index {
            c.resize(index + 1, 0);
        }
        c[index] = c[index].saturating_add(n);
    })
}
