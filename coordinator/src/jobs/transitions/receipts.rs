//! Receipts of parts that attempts of a job have placed.

use crate::jobs::Jobs;
use windrow_model::AttemptId;
use windrow_store::Receipt;

/// Most receipts of a job that are kept for attempts which no longer publish: these cannot win, and their parts only cost space.
const LATE_MAX: usize = 1_000;

impl Jobs {
    /// Keeps what an attempt has reported of its placed parts, for outputs that are staged.
    pub(crate) fn keep_receipts(&mut self, attempt: AttemptId, receipts: Vec<(u32, Receipt)>, is_publishing: bool) {
        let Some(prepared) = self.open_prepared(attempt.task.job) else { return };
        for (sink, receipt) in receipts {
            let is_staged = prepared.staging.sinks.iter().any(|staged| staged.sink == sink);
            let is_kept = !prepared.staging.receipts.placed(sink, attempt).receipt.is_empty();
            let has_room = is_publishing || (!is_kept && prepared.late_receipts < LATE_MAX);
            if is_staged && has_room {
                prepared.late_receipts += usize::from(!is_publishing);
                prepared.staging.receipts.keep(sink, attempt, receipt);
            }
        }
    }
}
