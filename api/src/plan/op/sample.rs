//! `sample`: a share of the records, chosen by their places.

use crate::data::datum::Datum;
use crate::data::emitter::{Push, PushFn};
use crate::error::Error;
use crate::plan::chain::Chain;
use crate::plan::records::Records;
use crate::task::context::TaskCx;
use crate::task::culprit::Op;
use crate::task::failure::TaskResult;
use std::sync::Arc;
use windrow_engine::hash;
use windrow_model::Code;

impl<R: Datum> Records<R> {
    /// Keeps each record with the probability `rate`, independently of the others. What is kept follows from `seed`, the
    /// content of a record and its place, so a retry keeps the same. The place of a record is its offset in the file; after a
    /// shuffle, its key and its number among the records of that key. So chunk sizes and numbers of partitions do not matter
    /// there. Records behind `share`, `zip_with_index` and `repartition` have numbers in their partition instead, and those
    /// behind `pipe` and `map_partitions` numbers in their task. A `rate` that is not between 0 and 1 makes the plan invalid.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// fn some(lines: &Records<String>) -> Records<String> {
    ///     lines.sample(0.1, 7)
    /// }
    /// # let lines: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    /// # let kept = windrow::testing::run(&lines, |l| some(&l)).unwrap().len();
    /// # assert!((60..140).contains(&kept), "{kept}");
    /// ```
    #[track_caller]
    pub fn sample(&self, rate: f64, seed: u64) -> Records<R> {
        let op = Op::here("sample");
        if !(0.0..=1.0).contains(&rate) {
            let message = format!("`sample` has the rate {rate}: give one from 0 to 1");
            self.flow.mistaken(Error::new(Code::PlanInvalid, message));
        }
        self.flow.fingerprint(&["sample", &rate.to_string(), &seed.to_string()]);
        // Exact for every rate that is a float: it has at most 53 significant bits.
        let below = (rate * 2f64.powi(64)) as u128;
        let branches = self.branches.iter().enumerate().map(|(i, b)| {
            b.need_order();
            let sample = Sample { before: b.chain.clone(), has_places: b.has_places, below, seed, branch: i as u64 };
            b.then(op.name, Arc::new(sample))
        });
        Records::new(&self.flow, branches.collect(), self.keyed)
    }
}

struct Sample<R: Datum> {
    before: Arc<dyn Chain<R>>,
    has_places: bool,
    /// Of 2^64 hashes, how many are kept.
    below: u128,
    seed: u64,
    branch: u64,
}

impl<R: Datum> Chain<R> for Sample<R> {
    fn run(&self, cx: &TaskCx<'_>, sink: &mut dyn Push<R>) -> TaskResult<()> {
        cx.keep_order();
        let task = u64::from(cx.task.attempt.task.index);
        let reads_files = cx.chunk().is_some();
        cx.want_key_hash(task);
        let place = || match (self.has_places, reads_files) {
            (true, true) => cx.at(),
            (true, false) => (0, cx.key_hash().unwrap_or(task)),
            (false, _) => (0, task),
        };
        // The number of a record among those of one place.
        let (mut last, mut number) = ((u64::MAX, 0), 0u64);
        let mut bytes = Vec::new();
        let choose = |r: R::Ref<'_>| {
            let place = place();
            number = if place == last { number + 1 } else { 0 };
            last = place;
            bytes.clear();
            R::encode::<true>(R::shorten(r), &mut bytes);
            // The first number of a place only says that another file has begun.
            for word in [place.1, number, self.branch, self.seed] {
                bytes.extend_from_slice(&word.to_le_bytes());
            }
            if u128::from(hash(&bytes)) < self.below {
                sink.push(r)
            }
        };
        self.before.run(cx, &mut PushFn::<R, _>::new(choose))
    }
}
