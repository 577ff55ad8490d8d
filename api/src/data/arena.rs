//! Memory for decoded values that cannot be borrowed from the bytes: unescaped strings, serde values, lists. They live
//! until the owner resets the arena, between records or groups.

use bumpalo::Bump;
use std::any::Any;
use std::cell::{Cell, RefCell};

/// Owns decoded values. Lending shared references while more values are added is sound because values are boxed and
/// never moved or dropped before `reset`, which needs `&mut self`.
#[derive(Default)]
pub struct Arena {
    values: RefCell<Vec<Box<dyn Any>>>,
    /// Lists of numbers, which need no drop.
    lists: Bump,
    used: Cell<bool>,
}

impl Arena {
    /// Creates an empty arena.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps a value and lends it.
    pub fn keep<T: 'static>(&self, value: T) -> &T {
        let boxed: Box<T> = Box::new(value);
        let pointer: *const T = &*boxed;
        self.values.borrow_mut().push(boxed);
        self.used.set(true);
        // SAFETY: the box's content does not move when the vector grows, and is dropped only in `reset` or `drop`,
        // which need exclusive access and so end every reference given out here.
        unsafe { &*pointer }
    }

    /// Keeps a list of `count` numbers and lends it.
    ///
    /// # Errors
    /// The first error of `value`.
    pub fn keep_list<T: Copy, E>(&self, count: usize, value: impl FnMut(usize) -> Result<T, E>) -> Result<&[T], E> {
        self.used.set(true);
        Ok(self.lists.alloc_slice_try_fill_with(count, value)?)
    }

    /// Drops all values; costs one comparison if there are none.
    #[inline]
    pub fn reset(&mut self) {
        if self.used.get() {
            self.values.get_mut().clear();
            self.lists.reset();
            self.used.set(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_values_do_not_move() {
        let mut arena = Arena::new();
        let kept: Vec<&String> = (0..100).map(|i| arena.keep(i.to_string())).collect();
        assert!(kept.iter().enumerate().all(|(i, s)| **s == i.to_string()));
        arena.reset();
        assert_eq!(arena.keep(7u8), &7);
    }
}
