//! Artifacts over the wire: streams on one side, files on a blocking thread on the other.

use super::{Answers, PIECE_BYTES, PIECES_MAX, field, refuse};
use crate::artifacts::Artifacts;
use bytes::Bytes;
use std::io::Read;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use windrow_model::{Code, Digest, Failure};
use windrow_proto::v1;

/// Stores an artifact that comes in pieces.
pub(crate) async fn receive(artifacts: &Artifacts, mut pieces: Streaming<v1::ArtifactPiece>) -> Result<(), Status> {
    let first = pieces.message().await?;
    let first = first.ok_or_else(|| refuse(Failure::new(Code::BadRequest, "an upload without any message")))?;
    let digest: Digest = field(first.digest.clone(), "digest")?;
    if missing(artifacts, vec![digest]).await?.is_empty() {
        return Ok(());
    }
    let (send, mut receive) = mpsc::channel::<Bytes>(PIECES_MAX);
    let (finish, finished) = tokio::sync::oneshot::channel::<()>();
    let mut upload = artifacts.upload(digest).map_err(refuse)?;
    let writer = tokio::task::spawn_blocking(move || {
        while let Some(piece) = receive.blocking_recv() {
            upload.write(&piece)?;
        }
        // A stream that broke must not be taken for one that ended.
        match finished.blocking_recv() {
            Ok(()) => upload.finish(),
            Err(_) => Err(Failure::new(Code::Unreachable, "the upload was broken off")),
        }
    });
    let mut next = Some(first);
    while let Some(piece) = next {
        // A writer that failed says why below.
        if send.send(piece.data).await.is_err() {
            break;
        }
        next = pieces.message().await?;
    }
    drop(send);
    let _ = finish.send(());
    let written = writer.await.map_err(|e| refuse(Failure::new(Code::Internal, format!("an upload panicked: {e}"))))?;
    written.map_err(refuse)
}

/// Which of these are not here, or not whole.
pub(crate) async fn missing(artifacts: &Artifacts, mut digests: Vec<Digest>) -> Result<Vec<Digest>, Status> {
    let artifacts = artifacts.clone();
    blocking(move || {
        digests.retain(|digest| !artifacts.has(*digest));
        digests
    })
    .await
}

/// Files are read as a whole there: nobody else is to wait for that.
async fn blocking<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> Result<T, Status> {
    let panicked = |e| refuse(Failure::new(Code::Internal, format!("reading an artifact panicked: {e}")));
    tokio::task::spawn_blocking(read).await.map_err(panicked)
}

/// The bytes of an artifact in pieces.
pub(crate) async fn send(artifacts: &Artifacts, digest: Digest) -> Result<Answers<v1::Piece>, Status> {
    let artifacts = artifacts.clone();
    let mut file = blocking(move || artifacts.read(digest)).await?.map_err(refuse)?;
    let (send, receive) = mpsc::channel(PIECES_MAX);
    tokio::task::spawn_blocking(move || {
        loop {
            let mut data = Vec::with_capacity(PIECE_BYTES);
            let piece = match file.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut data) {
                Ok(0) => break,
                Ok(_) => Ok(v1::Piece { data: data.into() }),
                Err(e) => Err(refuse(Failure::new(Code::IoError, format!("artifact {digest}: {e}")))),
            };
            let failed = piece.is_err();
            if send.blocking_send(piece).is_err() || failed {
                break;
            }
        }
    });
    Ok(ReceiverStream::new(receive))
}
