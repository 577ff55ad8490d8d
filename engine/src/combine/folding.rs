//! A table and the pairs on their way into it.

use super::pending::{Pending, Refused, Short, insert_short};
use super::slots::Key;
use super::{Full, Table};
use crate::accumulate::Accumulate;

/// From this size of its slots on, a table is reached through rings that hide the misses. (In tests small ones are, too.)
const RING_BYTES: usize = if cfg!(test) { 1 << 14 } else { 1 << 20 };

/// Folds pairs into a table: at once while it is small, by way of rings when it is not.
pub struct Folding<A: Accumulate> {
    table: Table<A>,
    pending: Pending<A::Acc>,
}

impl<A: Accumulate> Folding<A> {
    /// Into this table.
    pub fn new(table: Table<A>) -> Self {
        Folding { table, pending: Pending::default() }
    }

    /// The table, which may lack pairs that still wait.
    pub fn table(&self) -> &Table<A> {
        &self.table
    }

    /// The table, which may lack pairs that still wait.
    pub fn table_mut(&mut self) -> &mut Table<A> {
        &mut self.table
    }

    /// Folds a value into its key's accumulator, sooner or later. An error: the table must be drained, and the pair that it tells
    /// of (which may be an earlier one) folded again.
    #[inline]
    pub fn push(&mut self, key: Key<'_>, acc: A::Acc) -> Result<(), Refused<A::Acc>> {
        match key.long() {
            None => self.push_short(key, acc).map_or(Ok(()), |new| self.insert(new)),
            Some(long) if self.is_large() && Pending::<A::Acc>::waits(long.len()) => {
                self.pending.push_long(&mut self.table, key, long, acc)
            }
            Some(_) => self.table.fold(key, acc).map_err(|Full(acc)| Refused { waited: None, acc }),
        }
    }

    /// The same for a short key, in few instructions. Gives a pair (perhaps an earlier one) whose key is not there: it is to be
    /// [inserted](Self::insert).
    #[inline(always)]
    pub fn push_short(&mut self, key: Key<'_>, acc: A::Acc) -> Option<Short<A::Acc>> {
        let pair = Short::new(&key, acc);
        if !self.is_large() {
            return self.table.fold_short(pair);
        }
        self.table.slots.prefetch(key);
        self.table.fold_short(self.pending.exchange(pair)?)
    }

    #[inline(always)]
    fn is_large(&self) -> bool {
        self.table.slot_bytes() >= RING_BYTES
    }

    /// Adds a pair that [`push_short`](Self::push_short) has given. An error is one of [`push`](Self::push).
    #[cold]
    #[inline(never)]
    pub fn insert(&mut self, new: Short<A::Acc>) -> Result<(), Refused<A::Acc>> {
        insert_short(&mut self.table, new)
    }

    /// Folds a value at once. An error gives it back: the table must be drained.
    #[inline(always)]
    pub fn fold(&mut self, key: &[u8], acc: A::Acc) -> Result<(), A::Acc> {
        self.table.fold(Key::new(key), acc).map_err(|Full(acc)| acc)
    }

    /// Folds pairs that wait, until one is refused or none is left.
    pub fn flush(&mut self) -> Option<Refused<A::Acc>> {
        loop {
            match self.pending.pop(&mut self.table) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(refused) => return Some(refused),
            }
        }
    }
}
