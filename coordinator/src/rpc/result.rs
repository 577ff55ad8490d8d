//! A collected result as a stream: its small blobs from memory, the others from their file, piece by piece.

use super::{PIECE_BYTES, PIECES_MAX, refuse};
use crate::mailbox::{Mailbox, Message};
use crate::result_files::ResultFiles;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tonic::Status;
use windrow_model::{Code, Failure, JobId};
use windrow_proto::v1;
use windrow_scheduler::{Collected, CollectedBlob};

/// Results that are read at a time: each holds a thread until its client has taken all of it.
pub(crate) const READERS_MAX: usize = 64;
/// A client that takes nothing of a result for this time has gone.
const PIECE_PATIENCE: Duration = Duration::from_secs(60);

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
        let give = |data: v1::CollectedBlob| {
            let sent = runtime.block_on(tokio::time::timeout(PIECE_PATIENCE, own.send(Ok(data))));
            sent.is_ok_and(|sent| sent.is_ok())
        };
        send_all(job, &collected, &files, &give)
    })
    .await;
    match sent {
        Ok(Ok(true)) => {
            // Nothing waits in the channel any more. A client that has gone is an error here.
            if send.reserve_many(PIECES_MAX).await.is_ok() {
                mailbox.send(Message::Fetched { job }).await;
            }
        }
        Ok(Ok(false)) => {}
        Ok(Err(failure)) => drop(send.send(Err(refuse(failure))).await),
        Err(e) => {
            let failure = Failure::new(Code::Internal, format!("reading a result panicked: {e}"));
            let _ = send.send(Err(refuse(failure))).await;
        }
    }
}

/// False if the client has gone, or takes nothing any more.
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
