//! How many of the bytes that a task reads each worker holds, as far as is known.
//!
//! Chunks of datasets name their holders. Of edges two things are known: for partitions to which few tasks write, the
//! worker with most of it (`port_sizes.rs`); for all others each worker's share of the whole edge, as a hash spreads every
//! task's output alike. So the question costs a logarithm of the number of workers, and not a pass over the tasks.

use crate::job::Job;
use crate::port_sizes::Leader;
use crate::stage_inputs::StageInputs;
use windrow_model::{WorkerId, total};

pub(crate) struct Locality<'a> {
    inputs: Option<&'a StageInputs>,
    leaders: Vec<Leader>,
    /// Bytes of edges without a leader.
    spread: u64,
    holders: &'a [WorkerId],
    /// Bytes of the chunk that they hold.
    chunk: u64,
}

impl Job {
    /// Where the inputs of a task are, which has got its inputs.
    pub(crate) fn locality(&self, s: usize, t: usize) -> Locality<'_> {
        let stage = &self.stages[s];
        let leaders: Vec<Leader> = self.leaders(s, t).collect();
        let led = total(leaders.iter().map(|leader| leader.bytes));
        let inputs = stage.inputs.as_ref();
        let spread = inputs.map_or(0, |inputs| inputs.bytes_of(t)).saturating_sub(led);
        let (holders, chunk) = stage.chunks.get(t).map_or((&[][..], 0), |chunk| (&chunk.holders[..], chunk.length()));
        Locality { inputs, leaders, spread, holders, chunk }
    }
}

impl Locality<'_> {
    /// Whether nothing is known.
    pub(crate) fn is_unknown(&self) -> bool {
        self.leaders.is_empty() && self.spread == 0 && self.holders.is_empty()
    }

    /// About the bytes of the inputs that a worker holds.
    pub(crate) fn local(&self, worker: WorkerId) -> u64 {
        let chunk = if self.holders.contains(&worker) { self.chunk } else { 0 };
        let led = self.leaders.iter().filter(|leader| leader.worker == worker).map(|leader| leader.local);
        let spread = self.inputs.filter(|inputs| self.spread > 0 && inputs.bytes > 0).map_or(0, |inputs| {
            let part = u128::from(self.spread) * u128::from(inputs.share(worker)) / u128::from(inputs.bytes);
            part as u64
        });
        total(led.chain([chunk, spread]))
    }

    /// The workers that hold more than half of the bytes.
    pub(crate) fn holders_of_most(&self) -> impl Iterator<Item = WorkerId> + '_ {
        let led = self.leaders.iter().map(|leader| leader.bytes);
        let all = total(led.chain([self.chunk, self.spread]));
        let leaders = self.leaders.iter().map(|leader| leader.worker);
        let majority = self.inputs.and_then(|inputs| inputs.majority);
        let candidates = self.holders.iter().copied().chain(leaders).chain(majority);
        candidates.filter(move |worker| self.local(*worker) > all / 2)
    }
}
