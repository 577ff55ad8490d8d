//! A join without sorting: the right side of a partition is kept in a hash table, the left side is streamed.
//!
//! Look-ups in a table beyond the cache wait for memory. Left pairs are therefore processed in batches: first all their
//! slots are prefetched, then all their first values, then they are joined (group prefetching; Chen, Ailamaki, Gibbons
//! and Mowry 2004).

use crate::data::arena::Arena;
use crate::data::datum::{Datum, Key, Reader};
use crate::plan::edge_in::{concat, undecodable_there};
use crate::task::context::TaskCx;
use crate::task::failure::TaskResult;
use windrow_engine::{Claim, Lookup};
use windrow_model::counters::names;
use windrow_model::total;

/// Left pairs of one batch.
const BATCH: usize = 64;

/// Number of pairs and bytes of the right side.
fn right_side(cx: &TaskCx<'_>) -> (u64, u64) {
    let right = cx.input_segments(1);
    (total(right.iter().map(|s| s.records)), total(right.iter().map(|s| s.raw_length)))
}

/// Memory for the right side, if records may come in any order and the memory is available. The result does not depend
/// on it.
pub(super) fn claim(cx: &TaskCx<'_>) -> Option<Claim> {
    let (pairs, bytes) = right_side(cx);
    cx.any_order().then(|| Lookup::claim(&cx.share, pairs, bytes)).flatten()
}

/// Calls `f` with every left pair and each right value of its key (with `FIRST`, only the first one), or once without a
/// value.
pub(super) fn run<const FIRST: bool, K: Key, V: Datum, W: Datum>(
    cx: &TaskCx<'_>,
    claim: Claim,
    mut f: impl FnMut(K::Ref<'_>, V::Ref<'_>, Option<W::Ref<'_>>),
) -> TaskResult<()> {
    let size = right_side(cx);
    let lookup = Lookup::build(concat(cx, 1)?, size, claim, cx.folder, &|| cx.alive());
    let lookup = lookup.map_err(|e| cx.input_error(1, e))?;
    let mut batch = Batch::default();
    let mut arena = Arena::new();
    let mut read = 0u64;
    let mut join = |batch: &mut Batch| {
        read += batch.places.len() as u64;
        let probes: [_; BATCH] = std::array::from_fn(|i| batch.pair(i).map(|(key, _)| lookup.probe(key)));
        let found = probes.map(|probe| probe.and_then(|probe| lookup.find(probe)));
        for (i, first) in found.into_iter().enumerate() {
            let Some((key, value)) = batch.pair(i) else { break };
            let k = K::decode::<true>(&mut Reader::new(key, &arena)).map_err(undecodable_there)?;
            let v = V::decode::<true>(&mut Reader::new(value, &arena)).map_err(undecodable_there)?;
            match first {
                None => f(k, v, None),
                Some(first) => {
                    for w in lookup.values(first) {
                        let w = W::decode::<true>(&mut Reader::new(w, &arena)).map_err(undecodable_there)?;
                        f(K::shorten(k), V::shorten(v), Some(w));
                        if FIRST {
                            break;
                        }
                    }
                }
            }
            arena.reset();
        }
        batch.clear();
        if cx.stopped() { cx.alive() } else { Ok(()) }
    };
    let joined = concat(cx, 0)?.for_each(&|| cx.alive(), |key, value| {
        batch.add(key, value);
        if batch.places.len() == BATCH { join(&mut batch) } else { Ok(()) }
    });
    joined.and_then(|()| join(&mut batch)).map_err(|e| cx.input_error(0, e))?;
    cx.count(names::RECORDS_MERGED, read + size.0);
    Ok(())
}

/// Copies of some pairs.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Start of each key, start of its value, and end of its value.
    places: Vec<(usize, usize, usize)>,
}

impl Batch {
    #[inline]
    fn add(&mut self, key: &[u8], value: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.places.push((start, start + key.len(), self.bytes.len()));
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.places.clear();
    }

    #[inline]
    fn pair(&self, i: usize) -> Option<(&[u8], &[u8])> {
        let (key, value, end) = *self.places.get(i)?;
        Some((&self.bytes[key..value], &self.bytes[value..end]))
    }
}
