//! What a storage has to know of a part that an attempt has placed, to complete or to discard it.
//!
//! A file system finds a part by its name and needs nothing. An object store gives ids when an upload begins, which only the
//! process that uploads knows. A receipt carries them from the worker to the commit, through the message that reports the part
//! and the journal of the coordinator.

use std::collections::BTreeMap;
use windrow_model::AttemptId;

/// Text of a storage about one placed part. Only the storage that has made it reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt(Vec<u8>);

impl Receipt {
    /// Most bytes of a receipt: the ids of 5,000 pieces of an upload fit.
    pub const BYTES_MAX: usize = 256 << 10;

    /// Creates a receipt. `None` if it is too long.
    pub fn new(bytes: Vec<u8>) -> Option<Receipt> {
        (bytes.len() <= Self::BYTES_MAX).then_some(Receipt(bytes))
    }

    /// The text.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether the storage needs nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A part of an attempt, with its receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed<'a> {
    /// The attempt that has placed the part.
    pub attempt: AttemptId,
    /// Empty if the storage has given none.
    pub receipt: &'a Receipt,
}

/// The receipts of a job, by attempt and sink. Empty ones are not kept, so an output on a file system takes no memory here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipts(BTreeMap<(AttemptId, u32), Receipt>);

static NONE: Receipt = Receipt(Vec::new());

impl Receipts {
    /// Keeps the receipt of a part. The latest one for a part counts.
    pub fn keep(&mut self, sink: u32, attempt: AttemptId, receipt: Receipt) {
        if !receipt.is_empty() {
            self.0.insert((attempt, sink), receipt);
        }
    }

    /// The receipts of an attempt, by sink. O(log n).
    pub fn of_attempt(&self, attempt: AttemptId) -> impl Iterator<Item = (u32, &Receipt)> {
        self.0.range((attempt, 0)..=(attempt, u32::MAX)).map(|((_, sink), receipt)| (*sink, receipt))
    }

    /// A part of this sink. O(log n).
    pub fn placed(&self, sink: u32, attempt: AttemptId) -> Placed<'_> {
        Placed { attempt, receipt: self.0.get(&(attempt, sink)).unwrap_or(&NONE) }
    }

    /// All parts of this sink that have a receipt. O(n).
    pub fn of_sink(&self, sink: u32) -> impl Iterator<Item = Placed<'_>> {
        self.0.iter().filter(move |((_, s), _)| *s == sink).map(|((a, _), r)| Placed { attempt: *a, receipt: r })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windrow_model::{Epoch, Incarnation, JobId, StageId, TaskId};

    fn attempt(number: u32) -> AttemptId {
        let task = TaskId { job: JobId::from_bytes([1; 16]), stage: StageId(0), index: 0 };
        AttemptId { task, number, epoch: Epoch(1), incarnation: Incarnation(1) }
    }

    #[test]
    fn receipts_are_found_by_attempt_and_by_sink() {
        let receipt = |text: &str| Receipt::new(text.into()).unwrap();
        let mut receipts = Receipts::default();
        receipts.keep(0, attempt(1), Receipt::default());
        assert!(receipts == Receipts::default() && receipts.placed(0, attempt(1)).receipt.is_empty());
        receipts.keep(0, attempt(1), receipt("first"));
        receipts.keep(0, attempt(1), receipt("a"));
        receipts.keep(7, attempt(1), receipt("b"));
        receipts.keep(0, attempt(2), receipt("c"));
        assert_eq!(receipts.of_attempt(attempt(1)).collect::<Vec<_>>(), [(0, &receipt("a")), (7, &receipt("b"))]);
        assert_eq!(receipts.of_sink(0).map(|p| p.attempt.number).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(receipts.placed(7, attempt(1)).receipt, &receipt("b"));
    }

    #[test]
    fn receipt_that_is_too_long_is_refused() {
        assert!(Receipt::new(vec![0; Receipt::BYTES_MAX]).is_some());
        assert_eq!(Receipt::new(vec![0; Receipt::BYTES_MAX + 1]), None);
    }
}
