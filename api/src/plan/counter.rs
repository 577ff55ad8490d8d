//! Counters of a job.

/// A named sum over all tasks; only committed attempts count. It is `Copy`, so closures can capture it.
///
/// ```
/// use windrow::prelude::*;
/// fn numbers(flow: &Flow, lines: &Records<String>) -> Records<u64> {
///     let bad = flow.counter("lines that are not a number");
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
    /// Adds to the count of the running task. Does nothing outside of a task.
    #[inline]
    pub fn add(&self, n: u64) {
        crate::task::user_counters::add_user_counter(self.index, n)
    }
}
