//! Opening of the file: it is made as a whole, and verified as a whole.

use super::tables::{FORMAT, META};
use crate::journal::file::JournalFile;
use redb::Database;
use std::path::Path;
use windrow_failpoint::crashpoint;
use windrow_format::durable::{self, Durability};
use windrow_format::in_place::InPlace;

/// Makes a file with the rows of `fill`. It appears at its path when it is durable.
pub(super) fn create(
    path: &Path,
    fill: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
) -> Result<(), redb::Error> {
    let new = path.with_extension("new");
    let _ = std::fs::remove_file(&new);
    {
        let db = Database::builder().create_with_backend(JournalFile::create(&new)?)?;
        let mut txn = db.begin_write()?;
        txn.set_two_phase_commit(true);
        txn.open_table(META)?.insert("format", FORMAT)?;
        fill(&txn)?;
        txn.commit()?;
    }
    crashpoint!("journal.made");
    std::fs::rename(&new, path)?;
    durable::sync_folder(durable::parent(path), Durability::Sync)?;
    Ok(())
}

/// Opens a file and compares every checksum in it. An error says whether the content is wrong, and how.
pub(super) fn open_verified(path: &Path) -> Result<(Database, InPlace), (bool, String)> {
    let open = || {
        let unusable = |e: redb::DatabaseError| (is_corrupt(&e), e.to_string());
        let file = JournalFile::open(path).map_err(unusable)?;
        let place = file.place();
        let mut db = Database::builder().create_with_backend(file).map_err(unusable)?;
        match db.check_integrity() {
            Ok(true) => Ok((db, place)),
            Ok(false) => Err((true, "its content does not have the checksums that it says".to_string())),
            Err(e) => Err((is_corrupt(&e), e.to_string())),
        }
    };
    // The library notices some damage by assertions.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let opened = std::panic::catch_unwind(open);
    std::panic::set_hook(hook);
    opened.unwrap_or_else(|_| Err((true, "its structure is broken".to_string())))
}

fn is_corrupt(e: &redb::DatabaseError) -> bool {
    match e {
        redb::DatabaseError::UpgradeRequired(_) | redb::DatabaseError::Storage(redb::StorageError::Corrupted(_)) => {
            true
        }
        // The library reports a file of another kind as invalid data.
        redb::DatabaseError::Storage(redb::StorageError::Io(e)) => {
            matches!(e.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof)
        }
        redb::DatabaseError::RepairAborted => true,
        _ => false,
    }
}
