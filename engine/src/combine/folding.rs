//! A table and the pairs on their way into it.

use super::pending::{Pending, Refused};
use super::slots::Key;
use super::{Full, Table};
use crate::accumulate::Accumulate;

/// From this size of its slots on, a table is reached through rings that hide the misses.
const RING_BYTES: usize = 1 << 20;

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
        if self.table.slot_bytes() >= RING_BYTES && Pending::<A::Acc>::waits(key.len()) {
            return self.push_waiting(key, acc);
        }
        self.table.fold(key, acc).map_err(|Full(acc)| Refused { waited: None, acc })
    }

    /// Folds a value by way of the rings.
    #[inline(always)]
    pub fn push_waiting(&mut self, key: Key<'_>, acc: A::Acc) -> Result<(), Refused<A::Acc>> {
        self.pending.push(&mut self.table, key, acc)
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
