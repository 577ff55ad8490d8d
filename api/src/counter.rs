//! Counters of a job's own.

/// A named sum over all tasks; only attempts that were committed count. `Copy`, so closures just use it.
///
/// ```
/// use windrow::prelude::*;
/// fn numbers(flow: &Flow, lines: &Records<String>) -> Records<u64> {
///     let bad = flow.counter("lines that are no number");
///     lines.map(move |line, out| match line.parse::<u64>() {
///         Ok(n) => out.push(n),
///         Err(_) => bad.add(1),
///     })
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Counter {
    index: usize,
}

impl Counter {
    pub(crate) fn new(index: usize) -> Self {
        Counter { index }
    }
    /// Adds to the running task's count. Outside of a task it counts nothing.
    #[inline]
    pub fn add(&self, n: u64) {
        crate::context::add_user_counter(self.index, n)
    }
}
