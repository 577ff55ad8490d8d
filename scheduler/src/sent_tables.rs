//! What one session of a worker has got of tables: so that each is sent once, and again only when it has changed.
//!
//! A driver keeps one for each session and drops it with the session: a worker that registers again gets everything anew.

use crate::planted::{self, Planted};
use std::collections::BTreeMap;
use std::sync::Arc;
use windrow_model::{JobId, StageId, StageOutputs, TableVersion};

/// The tables that a session has got, and as of which change of addresses it knows their holders.
#[derive(Debug, Default)]
pub struct SentTables {
    tables: BTreeMap<(JobId, StageId), Sent>,
}

#[derive(Debug)]
struct Sent {
    version: TableVersion,
    addresses: u64,
}

/// A table of which a session lacks something.
#[derive(Clone, Debug)]
pub struct Lacking {
    /// The table.
    pub table: Arc<StageOutputs>,
    /// The session does not have it; otherwise it lacks only addresses of holders, perhaps.
    pub is_new: bool,
}

impl SentTables {
    /// The tables among these that the session lacks, or whose holders may have other addresses. They count as sent
    /// from now on. `addresses`: a number that grows whenever the address of any worker changes. Logarithmic in the number
    /// of tables sent, for each of these.
    pub fn take_lacking(&mut self, tables: &[Arc<StageOutputs>], addresses: u64) -> Vec<Lacking> {
        let mut lacking = Vec::new();
        for table in tables {
            let now = Sent { version: table.version, addresses };
            let is_new = match self.tables.get(&(table.job, table.stage)) {
                None => true,
                Some(_) if planted::has(Planted::TableNotSentAnew) => continue,
                Some(sent) if sent.version != now.version => true,
                Some(sent) if sent.addresses != now.addresses => false,
                Some(_) => continue,
            };
            self.tables.insert((table.job, table.stage), now);
            lacking.push(Lacking { table: table.clone(), is_new });
        }
        lacking
    }

    /// The worker has dropped this job.
    pub fn forget(&mut self, job: JobId) {
        let of_job = self.tables.range((job, StageId(0))..=(job, StageId(u32::MAX)));
        let keys: Vec<(JobId, StageId)> = of_job.map(|(key, _)| *key).collect();
        keys.iter().for_each(|key| _ = self.tables.remove(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windrow_model::Epoch;

    fn table(job: u8, stage: u32, reopened: u64) -> Arc<StageOutputs> {
        let version = TableVersion { epoch: Epoch(1), reopened };
        let job = JobId::from_bytes([job; 16]);
        Arc::new(StageOutputs::new(job, StageId(stage), version, std::iter::empty(), Vec::new()))
    }

    #[test]
    fn table_is_sent_once_and_again_after_a_change() {
        let mut sent = SentTables::default();
        let take = |sent: &mut SentTables, tables: &[Arc<StageOutputs>], addresses| {
            let lacking = sent.take_lacking(tables, addresses);
            lacking.iter().map(|l| (l.table.stage.0, l.table.version.reopened, l.is_new)).collect::<Vec<_>>()
        };
        let both = [table(1, 0, 0), table(1, 1, 0)];
        assert_eq!(take(&mut sent, &both, 0), [(0, 0, true), (1, 0, true)]);
        assert_eq!(take(&mut sent, &both, 0), []);
        assert_eq!(take(&mut sent, &[table(1, 0, 1)], 0), [(0, 1, true)]);
        assert_eq!(take(&mut sent, &both[1..], 3), [(1, 0, false)], "an address has changed");
        assert_eq!(take(&mut sent, &both[1..], 3), []);
        assert_eq!(take(&mut sent, &[table(2, 1, 0)], 3), [(1, 0, true)], "of another job");
        sent.forget(JobId::from_bytes([1; 16]));
        assert_eq!(take(&mut sent, &[table(1, 0, 1), table(2, 1, 0)], 3), [(0, 1, true)]);
    }
}
