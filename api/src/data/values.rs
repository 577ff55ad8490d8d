//! Streams the values of one key.

use crate::data::arena::Arena;
use crate::data::datum::{Datum, Reader};
use crate::data::decode_error::DecodeError;
use crate::plan::edge_in::{advance, undecodable};
use crate::task::context::TaskCx;
use crate::task::failure::TaskResult;
use std::cell::RefCell;
use std::marker::PhantomData;
use windrow_engine::{GroupArena, Pairs as EnginePairs};

/// A cursor over an input in key order, shared by the values of the present group.
pub(crate) struct GroupCursor<'c, 't> {
    pairs: RefCell<Box<dyn EnginePairs>>,
    cx: &'c TaskCx<'t>,
    input: usize,
}

impl<'c, 't> GroupCursor<'c, 't> {
    pub(crate) fn open(cx: &'c TaskCx<'t>, input: usize) -> TaskResult<Self> {
        let pairs = crate::plan::edge_in::open(cx, input, windrow_model::Order::Key)?;
        Ok(GroupCursor { pairs: RefCell::new(pairs), cx, input })
    }
    /// Copies the next key; returns false at the end.
    pub(crate) fn next_key(&self, key: &mut Vec<u8>) -> bool {
        match self.pairs.borrow().peek() {
            Some((k, _)) => {
                key.clear();
                key.extend_from_slice(k);
                true
            }
            None => false,
        }
    }
    /// Calls `f` with the next key, if there is one.
    pub(crate) fn with_key<X>(&self, f: impl FnOnce(Option<&[u8]>) -> X) -> X {
        f(self.pairs.borrow().peek().map(|(k, _)| k))
    }
    /// Skips the rest of a group.
    pub(crate) fn skip(&self, group: Group<'_>) -> TaskResult<()> {
        let mut pairs = self.pairs.borrow_mut();
        while pairs.peek().is_some_and(|(k, _)| group.holds(k)) {
            advance(self.cx, &mut **pairs, self.input)?;
        }
        Ok(())
    }
}

/// The keys of a group: one key, or all that begin with an encoded first part.
#[derive(Clone, Copy)]
pub(crate) enum Group<'g> {
    Key(&'g [u8]),
    Prefix(&'g [u8]),
}

impl Group<'_> {
    #[inline]
    pub(crate) fn holds(self, key: &[u8]) -> bool {
        match self {
            // Most keys are numbers; a comparison of any length would be a call.
            Group::Key(k) => match (k.first_chunk::<8>(), key.first_chunk::<8>()) {
                (Some(a), Some(b)) if k.len() == 8 && key.len() == 8 => a == b,
                _ => k == key,
            },
            Group::Prefix(p) => key.starts_with(p),
        }
    }
    /// The part of the key after the group's part.
    #[inline]
    fn suffix(self, key: &[u8]) -> &[u8] {
        match self {
            Group::Key(_) => &[],
            Group::Prefix(p) => &key[p.len()..],
        }
    }
}

/// Decodes a value from the key's bytes after the group's part, and the value's bytes.
pub(crate) type DecodeValue<V> =
    for<'a> fn(&'a [u8], &'a [u8], &'a Arena) -> Result<<V as Datum>::Ref<'a>, DecodeError>;

/// Decodes plain values of a key.
pub(crate) fn decode_value<'a, V: Datum>(
    _: &'a [u8],
    value: &'a [u8],
    arena: &'a Arena,
) -> Result<V::Ref<'a>, DecodeError> {
    V::decode::<true>(&mut Reader::new(value, arena))
}

/// The values of one key, in input order (or in the order of a secondary key): an iterator whose items live as long as
/// the group.
///
/// Memory: borrowed items (strings, bytes) are kept until the group ends, and beyond a budget in a mapped file; `each`
/// keeps nothing. Numbers are never kept.
pub struct Values<'g, V: Datum> {
    pub(crate) cursor: &'g GroupCursor<'g, 'g>,
    pub(crate) group: Group<'g>,
    pub(crate) bytes: &'g GroupArena,
    pub(crate) arena: &'g Arena,
    pub(crate) decode: DecodeValue<V>,
    pub(crate) types: PhantomData<fn() -> V>,
}

impl<'g, V: Datum> Values<'g, V> {
    /// Calls `f` with each remaining value and keeps none: constant memory for any number of values.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// fn totals(pairs: &Pairs<String, String>) -> Pairs<String, u64> {
    ///     pairs.reduce(|key, values, out| {
    ///         let mut bytes = 0;
    ///         values.each(|value| bytes += value.len() as u64);
    ///         out.emit(key, bytes)
    ///     })
    /// }
    /// ```
    pub fn each(&mut self, mut f: impl FnMut(V::Ref<'_>)) {
        let mut arena = Arena::new();
        let mut pairs = self.cursor.pairs.borrow_mut();
        while !self.cursor.cx.stopped() {
            let Some((key, value)) = pairs.peek().filter(|(k, _)| self.group.holds(k)) else { return };
            match (self.decode)(self.group.suffix(key), value, &arena) {
                Ok(v) => f(v),
                Err(e) => return self.cursor.cx.fail(undecodable(e)),
            }
            arena.reset();
            if let Err(e) = advance(self.cursor.cx, &mut **pairs, self.cursor.input) {
                return self.cursor.cx.fail(e);
            }
        }
    }

    fn fetch(&self) -> TaskResult<Option<V::Ref<'g>>> {
        let mut pairs = self.cursor.pairs.borrow_mut();
        let Some((key, value)) = pairs.peek().filter(|(k, _)| self.group.holds(k)) else { return Ok(None) };
        let suffix = self.group.suffix(key);
        let free = if V::BORROWS {
            None
        } else {
            let arena = Arena::new();
            V::detach((self.decode)(suffix, value, &arena).map_err(undecodable)?)
        };
        let item = match free {
            Some(v) => v,
            None => {
                (self.decode)(self.bytes.alloc(suffix), self.bytes.alloc(value), self.arena).map_err(undecodable)?
            }
        };
        advance(self.cursor.cx, &mut **pairs, self.cursor.input)?;
        Ok(Some(item))
    }
}

impl<'g, V: Datum> Iterator for Values<'g, V> {
    type Item = V::Ref<'g>;
    fn next(&mut self) -> Option<V::Ref<'g>> {
        if self.cursor.cx.stopped() {
            return None;
        }
        self.fetch().unwrap_or_else(|e| {
            self.cursor.cx.fail(e);
            None
        })
    }
}

/// The memory of one group.
pub(crate) struct GroupMemory {
    pub bytes: GroupArena,
    pub arena: Arena,
}

impl GroupMemory {
    pub(crate) fn new(cx: &TaskCx<'_>) -> Self {
        GroupMemory { bytes: GroupArena::new(cx.folder, &cx.share), arena: Arena::new() }
    }
    /// Frees the group's memory; fails the task if its scratch file had no room.
    pub(crate) fn reset(&mut self, cx: &TaskCx<'_>) {
        if let Some(e) = self.bytes.failure() {
            cx.fail(e);
        }
        self.bytes.reset();
        self.arena.reset();
    }
}

/// Number of groups between two checks for cancellation.
pub(crate) const GROUPS_PER_CHECK: u64 = 1024;
