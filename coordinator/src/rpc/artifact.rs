//! Artifacts over the wire: streams on one side, files on a blocking thread on the other. A stream holds a thread only while a
//! piece is read or written: peers that stall hold up no other call.

use super::{Answers, PIECE_BYTES, PIECES_MAX, field, give, refuse};
use crate::artifacts::Artifacts;
use std::io::Read;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use windrow_model::{Code, Digest, Failure};
use windrow_net::{Patience, Silent};
use windrow_proto::v1;

/// Longest pause between two pieces of an upload. An upload that pauses longer, or sends next to nothing for longer, is ended.
const PIECE_PATIENCE: Duration = Duration::from_secs(60);

/// Stores an artifact that comes in pieces.
pub(crate) async fn receive(artifacts: &Artifacts, mut pieces: Streaming<v1::ArtifactPiece>) -> Result<(), Status> {
    let mut patience = Patience::new(PIECE_PATIENCE);
    let bytes = |piece: &v1::ArtifactPiece| piece.data.len();
    let stalled = |silent: Silent| refuse(Failure::new(Code::Unreachable, format!("the upload has stalled: {silent}")));
    let first = patience.message(&mut pieces, bytes).await.map_err(stalled)??;
    let first = first.ok_or_else(|| refuse(Failure::new(Code::BadRequest, "an upload without any message")))?;
    let digest: Digest = field(first.digest.clone(), "digest")?;
    if missing(artifacts, vec![digest]).await?.is_empty() {
        return Ok(());
    }
    let mut upload = artifacts.upload(digest).map_err(refuse)?;
    let mut next = Some(first);
    while let Some(piece) = next {
        let data = piece.data;
        upload = blocking(move || upload.write(&data).map(|()| upload)).await?.map_err(refuse)?;
        let waited = patience.message(&mut pieces, bytes).await;
        // A stream that broke must not be taken for one that ended: the error drops the upload.
        next = waited.map_err(stalled)??;
    }
    blocking(move || upload.finish()).await?.map_err(refuse)
}

/// Those of these artifacts that are missing or damaged, or cannot be read: an upload mends that.
pub(crate) async fn missing(artifacts: &Artifacts, mut digests: Vec<Digest>) -> Result<Vec<Digest>, Status> {
    let artifacts = artifacts.clone();
    blocking(move || {
        digests.retain(|digest| !artifacts.is_stored(*digest).unwrap_or(false));
        digests
    })
    .await
}

/// Checks that these artifacts, which a job needs, are stored.
///
/// # Errors
/// `BAD_BINARY` for one that is missing or damaged; the error of the disk for one that cannot be read.
pub(crate) async fn check_stored(artifacts: &Artifacts, digests: Vec<Digest>) -> Result<(), Status> {
    let artifacts = artifacts.clone();
    let check = move || {
        digests.into_iter().try_for_each(|digest| match artifacts.is_stored(digest)? {
            true => Ok(()),
            false => {
                let what = format!("the artifact {digest} that the job needs was not uploaded");
                Err(Failure::new(Code::BadBinary, what))
            }
        })
    };
    blocking(check).await?.map_err(refuse)
}

/// Runs on a blocking thread: whole files are read.
async fn blocking<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
    let panicked = |e| refuse(Failure::new(Code::Internal, format!("reading an artifact panicked: {e}")));
    tokio::task::spawn_blocking(read).await.map_err(panicked)
}

/// The bytes of an artifact in pieces.
pub(crate) async fn send(artifacts: &Artifacts, digest: Digest) -> Result<Answers<v1::Piece>, Status> {
    let artifacts = artifacts.clone();
    let mut file = blocking(move || artifacts.read(digest)).await?.map_err(refuse)?;
    let (send, receive) = mpsc::channel(PIECES_MAX);
    tokio::spawn(async move {
        loop {
            let read = move || {
                let mut data = Vec::with_capacity(PIECE_BYTES);
                let read = file.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut data);
                read.map(|_| (file, data))
            };
            let unreadable = |e| refuse(Failure::new(Code::IoError, format!("artifact {digest}: {e}")));
            let data = match blocking(read).await.and_then(|read| read.map_err(unreadable)) {
                Ok((_, data)) if data.is_empty() => return,
                Ok((back, data)) => {
                    file = back;
                    data
                }
                Err(status) => {
                    give(&send, Err(status)).await;
                    return;
                }
            };
            if !give(&send, Ok(v1::Piece { data: data.into() })).await {
                return;
            }
        }
    });
    Ok(ReceiverStream::new(receive))
}
