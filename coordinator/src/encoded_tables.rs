//! The tables of outputs that are on their way to workers, each encoded once for all of them.

use bytes::Bytes;
use std::collections::BTreeMap;
use windrow_model::{JobId, StageId, StageOutputs, TableVersion};
use windrow_proto::convert::table_to_bytes;

/// The latest table of each stage that was sent: a few bytes for each task.
#[derive(Default)]
pub(crate) struct EncodedTables(BTreeMap<(JobId, StageId), (TableVersion, Bytes)>);

impl EncodedTables {
    /// The encoded table. Linear in its tasks for the first worker, constant for all others.
    pub(crate) fn get(&mut self, table: &StageOutputs) -> Bytes {
        let encoded = self.0.entry((table.job, table.stage)).or_insert_with(|| (table.version, table_to_bytes(table)));
        if encoded.0 != table.version {
            *encoded = (table.version, table_to_bytes(table));
        }
        encoded.1.clone()
    }

    /// The job has ended.
    pub(crate) fn forget(&mut self, job: JobId) {
        self.0.retain(|(of, _), _| *of != job);
    }
}
