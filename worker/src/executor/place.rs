//! The record at which an executor died or stood still, looked up in its input for a message.
//!
//! The file lies on storage of the user, which may be why the executor stands still. So a look has a short limit and a thread of its
//! own, and a message without an excerpt is better than none.

use std::time::Duration;
use windrow_failpoint::failpoint;
use windrow_format::crumbs::Place;
use windrow_model::{Failure, RecordPlace};
use windrow_store::{StorageCalls, record_place};

/// A look that takes longer is given up.
pub const LOOK_MAX: Duration = Duration::from_secs(2);

/// What was seen of a place.
#[derive(Debug)]
pub struct Seen {
    pub record: RecordPlace,
    /// The file was longer when it was opened: so many bytes.
    pub shrunk_from: Option<u64>,
}

/// Looks at a place; without an excerpt, and as if the file had not shrunk, if that does not show in time.
///
/// `looks` are counted apart from calls that a task needs: a message never makes a mount count as dead.
pub async fn look_at(place: Place, looks: &StorageCalls) -> Seen {
    let Place { file, offset, file_bytes } = place;
    let path = file.clone();
    let look = move |_: &_| -> Result<Seen, Failure> {
        // An error here is one of reading the excerpt.
        let readable = failpoint!("excerpt.read").is_ok();
        let shrunk = readable && std::fs::metadata(&path).is_ok_and(|now| now.len() < file_bytes);
        Ok(Seen { record: record_place(path, offset), shrunk_from: shrunk.then_some(file_bytes) })
    };
    let seen = looks.run(&file, look).await;
    seen.unwrap_or_else(|_| Seen { record: RecordPlace { file, offset, excerpt: String::new() }, shrunk_from: None })
}
