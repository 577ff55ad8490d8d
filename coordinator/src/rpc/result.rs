//! A collected result as a stream: its small blobs from memory, the others from their file, piece by piece.

use super::{CLIENT_PATIENCE, PIECE_BYTES, give, refuse};
use crate::mailbox::{Mailbox, Message};
use crate::result_files::ResultFiles;
use bytes::Bytes;
use std::sync::Arc;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tonic::Status;
use windrow_model::{Code, Failure, JobId};
use windrow_proto::v1;
use windrow_scheduler::{Collected, CollectedBlob};

/// Results that are read at a time: each holds a thread until its client has taken all of it.
pub(crate) const READERS_MAX: usize = 64;
/// Pieces of one result that wait for its client: 64 clients that read slowly hold less than 200 MiB.
pub(super) const WAITING_MAX: usize = 2;

type Send = mpsc::Sender<Result<v1::CollectedBlob, Status>>;

/// Sends all of it. When the client has taken the last piece, the driver gets `Fetched`.
pub(super) async fn send_result(
    job: JobId,
    collected: Collected,
    files: ResultFiles,
    mailbox: Mailbox,
    readers: Arc<Semaphore>,
    send: Send,
) {
    // It is never closed.
    let Ok(_reader) = readers.acquire_owned().await else { return };
    let own = send.clone();
    let runtime = Handle::current();
    let sent = tokio::task::spawn_blocking(move || {
        send_all(job, &collected, &files, &|data| runtime.block_on(give(&own, Ok(data))))
    })
    .await;
    match sent {
        Ok(Ok(true)) => {
            // Nothing waits in the channel any more. A client that has gone, or reads nothing, has not taken all of it.
            let taken = timeout(CLIENT_PATIENCE, send.reserve_many(WAITING_MAX)).await;
            if taken.is_ok_and(|taken| taken.is_ok()) {
                mailbox.send(Message::Fetched { job }).await;
            }
        }
        Ok(Ok(false)) => {}
        Ok(Err(failure)) => drop(give(&send, Err(refuse(failure))).await),
        Err(e) => {
            let failure = Failure::new(Code::Internal, format!("reading a result panicked: {e}"));
            give(&send, Err(refuse(failure))).await;
        }
    }
}

/// False if the client has gone or reads nothing.
fn send_all(
    job: JobId,
    collected: &Collected,
    files: &ResultFiles,
    send: &dyn Fn(v1::CollectedBlob) -> bool,
) -> Result<bool, Failure> {
    for (name, blobs) in collected {
        for (task, blob) in (0..).zip(blobs) {
            let give = |data: Bytes| send(v1::CollectedBlob { name: name.clone(), task, data: data.to_vec() });
            // An empty blob is a result, too.
            if blob.length() == 0 {
                if !give(Bytes::new()) {
                    return Ok(false);
                }
                continue;
            }
            let mut goes_on = true;
            match blob {
                CollectedBlob::Inline(bytes) => {
                    goes_on = bytes.chunks(PIECE_BYTES).all(|b| give(Bytes::copy_from_slice(b)))
                }
                CollectedBlob::Stored(blob) => files.read(job, blob, PIECE_BYTES, &mut |data| {
                    goes_on = give(data);
                    goes_on
                })?,
            }
            if !goes_on {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::time::Duration;
    use tokio::sync::oneshot;

    /// All pieces fit into the channel, so only the wait for the client is left.
    #[tokio::test(start_paused = true)]
    async fn reader_that_takes_nothing_gives_its_place_back() {
        let folder = tempfile::tempdir().unwrap();
        let files = ResultFiles::open(folder.path().join("results"), &BTreeSet::new()).unwrap();
        let collected: Collected = vec![("n".into(), vec![CollectedBlob::Inline(b"x".to_vec())])];
        let (mailbox, mut messages) = Mailbox::new();
        let readers = Arc::new(Semaphore::new(1));
        let (send, mut receive) = mpsc::channel(WAITING_MAX);
        send_result(JobId::from_bytes([1; 16]), collected, files, mailbox, readers.clone(), send).await;
        assert_eq!(readers.available_permits(), 1);
        assert!(messages.recv().await.is_none(), "its client has not taken the result");
        assert_eq!(receive.recv().await.unwrap().unwrap().data, b"x");
    }

    const BLOB_BYTES: usize = 13 << 20;
    const BLOBS: u8 = 5;

    /// 64 clients that take one piece each, and go on later, of a result of 65 MiB.
    #[tokio::test(flavor = "multi_thread")]
    async fn readers_of_a_large_result_hold_few_pieces() {
        let folder = tempfile::tempdir().unwrap();
        let files = ResultFiles::open(folder.path().join("results"), &BTreeSet::new()).unwrap();
        let job = JobId::from_bytes([1; 16]);
        let (done, stored) = oneshot::channel();
        let blobs = (0..BLOBS).map(|n| vec![n; BLOB_BYTES]).collect();
        files.append(job, blobs, Box::new(|result| drop(done.send(result))));
        let stored = stored.await.unwrap().unwrap();
        let collected: Collected = vec![("n".into(), stored.into_iter().map(CollectedBlob::Stored).collect())];
        let (mailbox, mut messages) = Mailbox::new();
        let readers = Arc::new(Semaphore::new(READERS_MAX));
        let client = || {
            let (send, receive) = mpsc::channel(WAITING_MAX);
            let (files, mailbox) = (files.clone(), mailbox.clone());
            tokio::spawn(send_result(job, collected.clone(), files, mailbox, readers.clone(), send));
            receive
        };
        let mut clients: Vec<_> = (0..READERS_MAX).map(|_| client()).collect();
        while readers.available_permits() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut waits = client();
        for client in &mut clients {
            client.recv().await.unwrap().unwrap();
        }
        // Those that wait are all there are: a sender has read one more, and no client beyond the bound has got any.
        while clients.iter().any(|client| client.len() < WAITING_MAX) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(clients.iter().all(|client| client.len() == WAITING_MAX) && waits.is_empty());
        assert_eq!(readers.available_permits(), 0);
        for (number, mut client) in clients.into_iter().enumerate() {
            let mut bytes = PIECE_BYTES;
            while let Some(piece) = client.recv().await {
                let piece = piece.unwrap();
                assert!(piece.data.iter().all(|byte| u32::from(*byte) == piece.task), "reader {number}");
                bytes += piece.data.len();
                // Most of them leave in the middle.
                if number > 2 {
                    break;
                }
            }
            assert!(number > 2 || bytes == BLOB_BYTES * usize::from(BLOBS), "reader {number}: {bytes}");
        }
        assert!(waits.recv().await.unwrap().is_ok(), "its turn has come");
        for _ in 0..3 {
            assert!(matches!(messages.recv().await, Some(Message::Fetched { .. })), "those that read all of it");
        }
    }
}
