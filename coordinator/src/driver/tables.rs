//! Chooses what an assignment says of the outputs that its task reads: tables that the session does not have, and addresses of
//! holders that it does not know.

use crate::driver::Driver;
use bytes::Bytes;
use std::sync::Arc;
use windrow_model::{StageOutputs, WorkerId};
use windrow_proto::v1;
use windrow_scheduler::Lacking;

impl Driver {
    /// The encoded tables that the worker's session lacks, and the new addresses. Constant for each table while nothing
    /// changes, otherwise linear in the number of holders.
    pub(crate) fn take_lacking(
        &mut self,
        worker: WorkerId,
        tables: &[Arc<StageOutputs>],
    ) -> (Vec<Bytes>, Vec<v1::Peer>) {
        let (mut encoded, mut peers) = (Vec::new(), Vec::new());
        for Lacking { table, is_new } in self.sessions.take_lacking_tables(worker, tables, self.addresses.changes()) {
            peers.extend(self.sessions.take_lacking_peers(worker, table.workers(), &self.addresses));
            if is_new {
                encoded.push(self.encoded_tables.get(&table));
            }
        }
        (encoded, peers)
    }
}
