//! The beginning of a journal that is restored from a backup.

use super::DiskStore;
use super::open::create;
use super::tables::{CLUSTER, CLUSTER_ID, DROPPED, META, TABLES};
use crate::error::Error;
use redb::{ReadableTable, TableHandle};
use std::path::Path;
use windrow_model::ClusterId;

/// Epochs between the copy of a journal and its first epoch after a restore, which is no less than the seconds since 1970, so that two
/// restores of one copy have different ones.
const RESTORE_LEAP: u64 = 1 << 20;
impl DiskStore {
    /// A new journal at `path`, where there is none, with these rows: table, key, value. It appears when all of them are durable.
    ///
    /// # Errors
    /// A table that this release does not know; the disk's own.
    pub(crate) fn import(path: &Path, rows: &[(String, Vec<u8>, Vec<u8>)]) -> Result<(), Error> {
        let failed = |what: String| Error::Journal { path: path.to_path_buf(), corrupt: false, what };
        let unknown = |name: &str| name != META.name() && TABLES.iter().all(|table| table.name() != name);
        if let Some((name, ..)) = rows.iter().find(|(name, ..)| unknown(name)) {
            return Err(failed(format!("the backup has a table {name}, which this release does not know")));
        }
        create(path, |txn| {
            for (name, key, value) in rows {
                match TABLES.iter().find(|table| table.name() == name) {
                    Some(table) => drop(txn.open_table(*table)?.insert(&key[..], &value[..])?),
                    None => {
                        let key = std::str::from_utf8(key).map_err(|e| redb::Error::Corrupted(e.to_string()))?;
                        let number = value.first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
                        txn.open_table(META)?.insert(key, number)?;
                    }
                }
            }
            Ok(())
        })
        .map_err(|e| failed(format!("it cannot be made: {e}")))
    }

    /// Makes the next epoch replace every one that followed the copy: it is above all that were reached since, no deletion is ordered
    /// any more, and a journal without a cluster's id gets this one.
    ///
    /// # Errors
    /// Another cluster's id is there already.
    pub(crate) fn mark_restored(&mut self, unix_s: u64, cluster: Option<ClusterId>) -> Result<(), Error> {
        let found = self.entries(CLUSTER)?.into_iter().next().map(|(_, value)| value);
        if let (Some(found), Some(given)) = (&found, cluster)
            && found[..] != given.as_bytes()[..]
        {
            let what = format!("the journal has another cluster's id than {given}");
            return Err(Error::Journal { path: self.path.clone(), corrupt: false, what });
        }
        self.transaction(|txn| {
            let mut meta = txn.open_table(META)?;
            let last = meta.get("epoch")?.map_or(0, |v| v.value());
            let above = last.checked_add(RESTORE_LEAP).ok_or_else(no_epoch_left)?;
            meta.insert("epoch", unix_s.max(above))?;
            meta.insert("restored", 1)?;
            txn.open_table(DROPPED)?.retain(|_, _| false)?;
            if let Some(cluster) = cluster {
                txn.open_table(CLUSTER)?.insert(CLUSTER_ID, &cluster.as_bytes()[..])?;
            }
            Ok(())
        })
    }
}

/// A number that has wrapped would be below every epoch that workers have seen.
pub(super) fn no_epoch_left() -> redb::Error {
    redb::Error::Corrupted("its epoch is the last one that there can be".to_string())
}
