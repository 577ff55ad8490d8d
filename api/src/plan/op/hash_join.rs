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
use windrow_engine::{BATCH, Claim, Lookup};
use windrow_model::counters::names;
use windrow_model::total;

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
    let mut arena = Arena::new();
    let mut read = 0u64;
    let joined = concat(cx, 0)?.for_each_batch(&|| cx.alive(), |batch| {
        read += batch.len() as u64;
        let probes: [_; BATCH] = std::array::from_fn(|i| batch.get(i).map(|(key, _)| lookup.probe(key)));
        let found = probes.map(|probe| probe.and_then(|probe| lookup.find(probe)));
        for ((key, value), first) in batch.iter().zip(found) {
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
        if cx.stopped() { cx.alive() } else { Ok(()) }
    });
    joined.map_err(|e| cx.input_error(0, e))?;
    cx.count(names::RECORDS_MERGED, read + size.0);
    Ok(())
}
