//! Looks up the record at which an executor died or stalled, for a message.
//!
//! The file lies on storage of the user, which may be the reason for the stall. So a look has a short limit and a
//! thread of its own, and a message without an excerpt is better than none.

use std::time::Duration;
use windrow_failpoint::failpoint;
use windrow_format::crumbs::Place;
use windrow_model::{Failure, RecordPlace};
use windrow_store::{StorageCalls, record_place};

/// Limit of one look.
pub(crate) const LOOK_MAX: Duration = Duration::from_secs(2);

/// The result of a look.
#[derive(Debug)]
pub(crate) struct Seen {
    pub record: RecordPlace,
    /// The file's length in bytes when it was opened, if it is shorter now.
    pub shrunk_from: Option<u64>,
}

/// Looks at a record's position; without an excerpt, and as if the file had not shrunk, if the storage does not answer
/// in time.
///
/// `looks` are counted apart from calls that a task needs: a message never makes a mount count as dead.
pub(crate) async fn look_at(place: Place, looks: &StorageCalls) -> Seen {
    let Place { file, offset, file_bytes } = place;
    let path = file.clone();
    let look = move |_: &_| -> Result<Seen, Failure> {
        // An error here stands for one of reading the excerpt.
        let readable = failpoint!("excerpt.read").is_ok();
        let shrunk = readable && std::fs::metadata(&path).is_ok_and(|now| now.len() < file_bytes);
        Ok(Seen { record: record_place(path, offset), shrunk_from: shrunk.then_some(file_bytes) })
    };
    let seen = looks.run(&file, look).await;
    seen.unwrap_or_else(|_| Seen { record: RecordPlace { file, offset, excerpt: String::new() }, shrunk_from: None })
}
