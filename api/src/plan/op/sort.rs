//! `sort`: a total order over all partitions, by sampling.
//!
//! A sample of the keys gives splitters; each partition takes one range of keys and is sorted by itself (TeraSort,
//! O'Malley 2008). The sample is chosen by position. In files: the records that begin in small windows at fixed
//! distances (of a record with many keys, or of a file without windows, keys at a fixed stride). In shuffled data: the
//! records of a partition at a fixed stride. So the sample depends only on the input.

use super::collect::records_of;
use crate::data::datum::{Datum, Key};
use crate::data::emitter::{Push, PushFn};
use crate::plan::chain::{Branch, Chain};
use crate::plan::edge_in::ReadPairs;
use crate::plan::edge_out::{reading, run_into_edge, write_pair};
use crate::plan::flow::Flow;
use crate::plan::records::{Pairs, Records};
use crate::task::context::TaskCx;
use crate::task::failure::TaskResult;
use crate::task::written::Written;
use std::marker::PhantomData;
use std::panic::Location;
use std::sync::Arc;
use windrow_engine::Partitioning;
use windrow_model::{Framing, Input, Order, Output, Partitioner, Partitions, Port};

/// Most keys in the sample of one partition, or of a file that is read whole; when it is full, every second key is
/// dropped and the stride doubles.
const SAMPLE_MAX: usize = 8192;
/// Most keys in the sample of one record of a file. A task's part of a file depends on the chunk size, a record does
/// not.
const RECORD_SAMPLE_MAX: usize = 16;
/// Most bytes of a sampled key: a splitter needs no more.
const SAMPLE_KEY_MAX: usize = 256;

impl<K: Datum, V: Datum> Pairs<K, V> {
    /// Sorts all pairs by key over all partitions: each part is sorted, and no key of a part is smaller than one of the
    /// previous part. Equal keys stay in input order, in one part.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// fn by_length(lines: &Records<String>) -> Records<String> {
    ///     lines.map(|l, out| out.emit(l.len(), l)).sort().values()
    /// }
    /// /// Records that are not pairs are keys without a value.
    /// fn by_bytes(lines: &Records<String>) -> Records<String> {
    ///     lines.map(|l, out| out.emit(l, ())).sort().keys()
    /// }
    /// # assert_eq!(windrow::testing::run(["ccc", "a", "bb"], |l| by_length(&l)).unwrap(), ["a", "bb", "ccc"]);
    /// # assert_eq!(windrow::testing::run(["c", "b", "c"], |l| by_bytes(&l)).unwrap(), ["b", "c", "c"]);
    /// ```
    #[track_caller]
    pub fn sort(&self) -> Pairs<K, V>
    where
        K: Key,
    {
        if self.sorted {
            return self.clone();
        }
        let at = Location::caller();
        let partitions = Partitions::Auto;
        // All samples come first, because every sorting stage reads every sample.
        let sampled: Vec<(Branch<(K, V)>, Port)> = self.branches.iter().map(|b| sample(&self.flow, b, at)).collect();
        let samples: Vec<Port> = sampled.iter().map(|(_, port)| *port).collect();
        let mut ports = Vec::new();
        for (branch, _) in sampled {
            let chain = branch.chain.clone();
            let first = branch.inputs.len();
            let inputs = samples.iter().map(|from| Input::Broadcast { from: *from }).collect::<Vec<_>>();
            let output =
                Output::Edge { partitions, partitioner: Partitioner::Range, order: Order::Key, combined: false };
            let count = inputs.len();
            let stage = self.flow.add_stage(&branch, "sort", at, inputs, vec![output], move |cx| {
                let by = |n| Partitioning::Range(Arc::new(splitters(cx, first..first + count, n)));
                Ok(vec![run_into_edge(cx, &*chain, 0, by, &write_pair::<K, V>)?])
            });
            ports.push(Port { stage, output: 0 });
        }
        let chain = ReadPairs { order: Order::Key, types: PhantomData::<fn() -> (K, V)> };
        let branch = reading(vec![ports], partitions, "sorted", false, vec![], Arc::new(chain));
        Records::new(&self.flow, vec![branch], None).in_order_of_keys()
    }
}

/// Samples a branch's keys. Returns the branch that the sort then reads: the same one if it reads files (which are
/// sampled in windows), else the materialised output of the sampling stage.
fn sample<K: Key, V: Datum>(flow: &Flow, branch: &Branch<(K, V)>, at: &Location<'_>) -> (Branch<(K, V)>, Port) {
    branch.need_order();
    let chain = branch.chain.clone();
    let Some(partitions) = branch.partitions else {
        let mut windows = branch.clone();
        let mut has_windows = true;
        for input in &mut windows.inputs {
            if let Input::Source(source) = input {
                source.sample = true;
                has_windows &= source.framing != Framing::Whole;
            }
        }
        let stage = flow.add_stage(&windows, "sample", at, vec![], vec![Output::Broadcast], move |cx| {
            let mut sample = Sample::of_groups(if has_windows { RECORD_SAMPLE_MAX } else { SAMPLE_MAX });
            let mut group = None;
            let add = |(k, _): <(K, V) as Datum>::Ref<'_>| {
                let (file, record) = cx.at();
                let now = Some((file, if has_windows { record } else { 0 }));
                if std::mem::replace(&mut group, now) != now {
                    sample.begin_group();
                }
                sample.add::<K>(k)
            };
            chain.run(cx, &mut PushFn::<(K, V), _>::new(add))?;
            cx.outcome()?;
            Ok(vec![sample.written()])
        });
        return (branch.clone(), Port { stage, output: 0 });
    };
    let edge = Output::Edge { partitions, partitioner: Partitioner::Same, order: Order::Arrival, combined: false };
    let stage = flow.add_stage(branch, "sample", at, vec![], vec![edge, Output::Broadcast], move |cx| {
        let sample = std::sync::Mutex::new(Sample::of_groups(SAMPLE_MAX));
        let sampling = Sampling { before: chain.clone(), sample };
        let by = |_| Partitioning::Fixed(cx.task.attempt.task.index);
        let edge = run_into_edge(cx, &sampling, 0, by, &write_pair::<K, V>)?;
        let sample = sampling.sample.into_inner().unwrap_or_else(|e| e.into_inner());
        Ok(vec![edge, sample.written()])
    });
    let chain = ReadPairs { order: Order::Arrival, types: PhantomData::<fn() -> (K, V)> };
    let ports = vec![Port { stage, output: 0 }];
    (reading(vec![ports], partitions, "sampled", false, vec![], Arc::new(chain)), Port { stage, output: 1 })
}

/// Samples keys of each group at a stride.
struct Sample {
    /// Sampled keys, each with the logarithm of its stride, which is its weight.
    keys: Vec<(u32, Vec<u8>)>,
    /// Where the last group begins.
    group: usize,
    /// Keys of it that were seen.
    seen: u64,
    stride_log2: u32,
    group_max: usize,
}

impl Sample {
    fn of_groups(group_max: usize) -> Self {
        Sample { keys: Vec::new(), group: 0, seen: 0, stride_log2: 0, group_max }
    }
    fn begin_group(&mut self) {
        (self.group, self.seen, self.stride_log2) = (self.keys.len(), 0, 0);
    }
    fn add<K: Key>(&mut self, k: K::Ref<'_>) {
        if self.seen.is_multiple_of(1 << self.stride_log2) {
            let key = crate::data::datum::encoded::<K>(k);
            // A copy of the part: a truncated vector would keep the rest in memory.
            let part = &key[..key.len().min(SAMPLE_KEY_MAX)];
            self.keys.push((self.stride_log2, part.to_vec()));
            if self.keys.len() - self.group == self.group_max {
                self.thin();
            }
        }
        self.seen += 1;
    }
    /// Drops every second key of the group.
    fn thin(&mut self) {
        self.stride_log2 += 1;
        for (to, from) in (self.group..self.keys.len()).step_by(2).enumerate() {
            self.keys.swap(self.group + to, from);
            self.keys[self.group + to].0 = self.stride_log2;
        }
        self.keys.truncate(self.group + self.group_max.div_ceil(2));
    }
    fn written(self) -> Written {
        let mut out = Vec::new();
        for (stride_log2, key) in &self.keys {
            out.extend_from_slice(&(key.len() as u32 + 4).to_le_bytes());
            out.extend_from_slice(&stride_log2.to_le_bytes());
            out.extend_from_slice(key);
        }
        Written::Broadcast(out)
    }
}

/// A chain that samples passing keys.
struct Sampling<K: Datum, V: Datum> {
    before: Arc<dyn Chain<(K, V)>>,
    sample: std::sync::Mutex<Sample>,
}

impl<K: Key, V: Datum> Chain<(K, V)> for Sampling<K, V> {
    fn run(&self, cx: &TaskCx<'_>, sink: &mut dyn Push<(K, V)>) -> TaskResult<()> {
        let mut sample = self.sample.lock().unwrap_or_else(|e| e.into_inner());
        self.before.run(
            cx,
            &mut PushFn::<(K, V), _>::new(|(k, v)| {
                sample.add::<K>(K::shorten(k));
                sink.push((k, v))
            }),
        )
    }
}

/// The bounds between `partitions` ranges of about equal weight.
fn splitters(cx: &TaskCx<'_>, inputs: std::ops::Range<usize>, partitions: u32) -> Vec<Vec<u8>> {
    let mut keys: Vec<(&[u8], u64)> = Vec::new();
    for input in inputs {
        for blob in cx.inline(input) {
            for record in records_of(blob) {
                if let Some((stride, key)) = record.split_first_chunk::<4>() {
                    keys.push((key, 1u64.checked_shl(u32::from_le_bytes(*stride)).unwrap_or(u64::MAX)));
                }
            }
        }
    }
    keys.sort_unstable();
    let total: u128 = keys.iter().map(|(_, w)| *w as u128).sum();
    let mut bounds: Vec<Vec<u8>> = Vec::new();
    let mut weight = 0u128;
    for (key, w) in keys {
        let next = (bounds.len() as u128 + 1) * total / partitions as u128;
        if weight >= next && bounds.len() + 1 < partitions as usize {
            bounds.push(key.to_vec());
        }
        weight += w as u128;
    }
    bounds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_truncates_long_keys() {
        let mut sample = Sample::of_groups(16);
        let key = "x".repeat(1 << 20);
        (0..8).for_each(|_| sample.add::<String>(&key));
        assert!(sample.keys.iter().all(|(_, key)| key.capacity() <= 2 * SAMPLE_KEY_MAX));
    }

    #[test]
    fn group_keeps_keys_at_a_stride_with_their_weight() {
        let mut sample = Sample::of_groups(4);
        (0..3u64).for_each(|n| sample.add::<u64>(n));
        sample.begin_group();
        (10..25u64).for_each(|n| sample.add::<u64>(n));
        let kept: Vec<(u32, u64)> =
            sample.keys.iter().map(|(s, k)| (*s, u64::from_be_bytes(k[..].try_into().unwrap()))).collect();
        assert_eq!(kept, [(0, 0), (0, 1), (0, 2), (3, 10), (3, 18)]);
        let weights: u64 = kept[3..].iter().map(|(stride, _)| 1 << stride).sum();
        assert_eq!(weights, 16, "about as many as there were");
    }
}
