//! Calls about chunks that come before the workers of an earlier epoch have reported their chunks.
//!
//! The holders of chunks are not in the journal: workers report their chunks when they register. A call about them right after a
//! start would find no copies. Such a call is *held back*, like jobs that read datasets, until every inventory is complete or its
//! deadline has passed; then it is answered with what is known.

use crate::driver::Driver;
use crate::driver::restore::AWAITED_MS;
use crate::mailbox::DataMessage;
use crate::waiting_calls::HeldBack;
use windrow_model::Time;

/// Most milliseconds for which a call is held back. Clients wait 30 s for an answer.
pub(crate) const HELD_BACK_MAX_MS: u64 = 20_000;
/// A worker that has registered sends its first beat at once, with the progress of its scrub.
const FIRST_BEAT_MAX_MS: u64 = 2_000;
/// Every worker that reaches the coordinator has registered by then: its clock begins at zero.
const BACK_BY: Time = Time(AWAITED_MS);
/// Calls that are held back at a time. More are answered at once.
const HELD_BACK_MAX: usize = 1_000;

impl Driver {
    /// Returns a call that can be answered now; holds any other back.
    pub(crate) fn hold_early(&mut self, message: DataMessage) -> Option<DataMessage> {
        let since = self.clock.now();
        if self.waiting_calls.held_back.len() >= HELD_BACK_MAX || !self.is_early(&message, since) {
            return Some(message);
        }
        self.waiting_calls.held_back.push(HeldBack { message, since });
        None
    }

    /// Answers the calls that need not wait any more.
    pub(crate) fn answer_held_back(&mut self) {
        for held in std::mem::take(&mut self.waiting_calls.held_back) {
            match self.is_early(&held.message, held.since) {
                true => self.waiting_calls.held_back.push(held),
                false => self.answer_data(held.message),
            }
        }
    }

    /// The latest time at which the next of them is answered.
    pub(crate) fn held_back_deadline(&self) -> Option<Time> {
        let until = |held: &HeldBack| match held.message {
            DataMessage::AdoptWorker { .. } => BACK_BY,
            DataMessage::Scrubs { .. } if self.awaited_until.is_none() => held.since.plus_ms(FIRST_BEAT_MAX_MS),
            _ => held.since.plus_ms(HELD_BACK_MAX_MS),
        };
        self.waiting_calls.held_back.iter().map(until).min()
    }

    /// Whether the answer to a call that came at `since` may change when workers have reported their chunks.
    fn is_early(&self, message: &DataMessage, since: Time) -> bool {
        let waited_ms = self.clock.now().since_ms(since);
        let is_awaited = self.awaited_until.is_some();
        let is_complete = !is_awaited && !self.datasets.inventory_pending();
        if waited_ms >= HELD_BACK_MAX_MS {
            return false;
        }
        match message {
            DataMessage::Get { name, .. } => {
                !is_complete && self.datasets.get(name).is_ok_and(|d| self.datasets.lacks(d))
            }
            DataMessage::List { .. } => !is_complete && self.datasets.any_lacks(),
            DataMessage::Orphans { .. } => !is_complete,
            // How many copies a new dataset gets depends on how many workers there are.
            DataMessage::AdoptChunks { digests, .. } => is_awaited || !is_complete && !self.datasets.are_here(digests),
            DataMessage::Scrubs { .. } => {
                let silent = self.datasets.workers().into_iter().any(|worker| !self.scrubs.contains_key(&worker));
                is_awaited || silent && waited_ms < FIRST_BEAT_MAX_MS
            }
            // A folder that has joined no cluster is no member: it is known when its worker has registered.
            DataMessage::AdoptWorker { worker, .. } => {
                self.clock.now() < BACK_BY && !self.membership.unjoined().any(|(waits, ..)| waits == *worker)
            }
            _ => false,
        }
    }
}
