//! A table together with the pairs that wait to be folded into it.

use super::pending::{Pending, Refused, Short, insert_short};
use super::slots::Key;
use super::{Full, Table};
use crate::accumulate::Accumulate;

/// Size of the slots in bytes from which on pairs go through rings that hide cache misses. (Tests use a small size to
/// cover the rings.)
const RING_BYTES: usize = if cfg!(test) { 1 << 14 } else { 1 << 20 };

/// Folds pairs into a table: at once while the table is small, through rings when it is large.
pub(crate) struct Folding<A: Accumulate> {
    table: Table<A>,
    pending: Pending<A::Acc>,
}

impl<A: Accumulate> Folding<A> {
    /// Folds into this table.
    pub(crate) fn new(table: Table<A>) -> Self {
        Folding { table, pending: Pending::default() }
    }

    /// The table. Pairs that wait in the rings are not in it yet.
    pub(crate) fn table(&self) -> &Table<A> {
        &self.table
    }

    /// The table. Pairs that wait in the rings are not in it yet.
    pub(crate) fn table_mut(&mut self) -> &mut Table<A> {
        &mut self.table
    }

    /// Folds a value into the accumulator of its key, now or later.
    ///
    /// # Errors
    /// A pair, possibly an earlier one, was refused. The caller must drain the table and fold that pair again.
    #[inline]
    pub(crate) fn push(&mut self, key: Key<'_>, acc: A::Acc) -> Result<(), Refused<A::Acc>> {
        match key.long() {
            None => self.push_short(key, acc).map_or(Ok(()), |new| self.insert(new)),
            Some(long) if self.is_large() && Pending::<A::Acc>::waits(long.len()) => {
                self.pending.push_long(&mut self.table, key, long, acc)
            }
            Some(_) => self.table.fold(key, acc).map_err(|Full(acc)| Refused { waited: None, acc }),
        }
    }

    /// Folds the value of a short key in few instructions. Returns a pair, possibly an earlier one, whose key is not in
    /// the table; the caller must [insert](Self::insert) it.
    #[inline(always)]
    pub(crate) fn push_short(&mut self, key: Key<'_>, acc: A::Acc) -> Option<Short<A::Acc>> {
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

    /// Adds a pair that [`push_short`](Self::push_short) has returned. Fails as [`push`](Self::push) does.
    #[cold]
    #[inline(never)]
    pub(crate) fn insert(&mut self, new: Short<A::Acc>) -> Result<(), Refused<A::Acc>> {
        insert_short(&mut self.table, new)
    }

    /// Folds a value at once. Returns the value as an error if the table must be drained.
    #[inline(always)]
    pub(crate) fn fold(&mut self, key: &[u8], acc: A::Acc) -> Result<(), A::Acc> {
        self.table.fold(Key::new(key), acc).map_err(|Full(acc)| acc)
    }

    /// Folds waiting pairs until one is refused or none is left.
    pub(crate) fn flush(&mut self) -> Option<Refused<A::Acc>> {
        loop {
            match self.pending.pop(&mut self.table) {
                Ok(true) => {}
                Ok(false) => return None,
                Err(refused) => return Some(refused),
            }
        }
    }
}
