//! The tasks of one stage, in pages that are made when a task is first changed.
//!
//! A plan may have a million tasks, each of which takes half a kilobyte once it has run. Making or freeing all of them in
//! one step would hold up every other job for a second. Untouched tasks share one blank task instead, and the pages of an
//! ended job are freed a few at each step (`discard.rs`).

use crate::task::Task;
use std::ops::{Index, IndexMut};

/// Tasks in a page.
const PAGE: usize = 64;

/// A list of tasks of a fixed length.
pub(crate) struct Tasks {
    /// The last one may be shorter than [`PAGE`].
    pages: Vec<Option<Box<[Task]>>>,
    blank: Task,
    len: usize,
}

impl Tasks {
    /// As many new tasks. Costs a few bytes for each page.
    pub(crate) fn new(len: usize) -> Tasks {
        let pages = std::iter::repeat_with(|| None).take(len.div_ceil(PAGE)).collect();
        Tasks { pages, blank: Task::new(), len }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn get(&self, at: usize) -> Option<&Task> {
        (at < self.len).then(|| &self[at])
    }

    pub(crate) fn get_mut(&mut self, at: usize) -> Option<&mut Task> {
        (at < self.len).then(|| &mut self[at])
    }

    /// All tasks in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Task> {
        (0..self.len).map(|at| &self[at])
    }

    /// The tasks that may have been changed, in order.
    pub(crate) fn touched(&self) -> impl Iterator<Item = &Task> {
        self.pages.iter().flatten().flat_map(|page| page.iter())
    }

    /// Frees pages from the end, at most about as many tasks as this. Returns the number of freed tasks; 0 at the end.
    pub(crate) fn free(&mut self, tasks: usize) -> usize {
        let mut freed = 0;
        while freed < tasks
            && let Some(page) = self.pages.pop()
        {
            freed += page.map_or(1, |page| page.len());
        }
        freed
    }
}

impl Index<usize> for Tasks {
    type Output = Task;

    fn index(&self, at: usize) -> &Task {
        assert!(at < self.len, "task {at} of {}", self.len);
        match &self.pages[at / PAGE] {
            Some(page) => &page[at % PAGE],
            None => &self.blank,
        }
    }
}

impl IndexMut<usize> for Tasks {
    fn index_mut(&mut self, at: usize) -> &mut Task {
        assert!(at < self.len, "task {at} of {}", self.len);
        let length = PAGE.min(self.len - at / PAGE * PAGE);
        let page =
            self.pages[at / PAGE].get_or_insert_with(|| std::iter::repeat_with(Task::new).take(length).collect());
        &mut page[at % PAGE]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_changed_tasks_are_made() {
        let mut tasks = Tasks::new(10 * PAGE + 3);
        assert_eq!((tasks.len(), tasks.iter().count(), tasks.touched().count()), (10 * PAGE + 3, 10 * PAGE + 3, 0));
        tasks[PAGE + 1].attempts = 7;
        tasks.get_mut(10 * PAGE + 2).unwrap().attempts = 8;
        assert_eq!(tasks.touched().count(), PAGE + 3);
        assert_eq!((tasks[PAGE].attempts, tasks[PAGE + 1].attempts, tasks[10 * PAGE + 2].attempts), (0, 7, 8));
        assert_eq!(tasks[0].attempts, 0);
        assert_eq!(tasks.iter().map(|t| t.attempts).sum::<u32>(), 15);
        assert!(tasks.get(10 * PAGE + 3).is_none() && tasks.get_mut(10 * PAGE + 3).is_none());
    }

    #[test]
    fn tasks_are_freed_in_slices() {
        let mut tasks = Tasks::new(5 * PAGE);
        (0..5 * PAGE).for_each(|at| tasks[at].attempts = 1);
        let mut slices = 0;
        while tasks.free(PAGE + 1) > 0 {
            slices += 1;
        }
        assert_eq!((slices, tasks.touched().count()), (3, 0));
        assert!(Tasks::new(0).is_empty());
    }
}
