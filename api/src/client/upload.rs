//! Uploads artifacts (job binaries, side values) to the coordinator's store by content: existing ones are not sent
//! again.

use super::persist::until_answered;
use super::{Cluster, answered, asking, failure};
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use windrow_format::regular_file;
use windrow_model::{Code, Digest, Escape, Failure};
use windrow_proto::v1;

/// Bytes of one message of an upload.
const PIECE_BYTES: usize = 256 << 10;
/// Most messages that are read ahead of the network.
const PIECES_AHEAD: usize = 8;

/// An artifact to upload.
#[derive(Clone, Debug)]
pub enum Artifact {
    /// The content of a file, which is read twice and must not change in between.
    File(PathBuf),
    /// The same with its digest, if that is known already.
    Hashed(PathBuf, Digest),
    /// These bytes.
    Bytes(Vec<u8>),
}

impl Cluster {
    /// Uploads bytes unless the coordinator has them, and returns their digest.
    ///
    /// # Errors
    /// `UNREACHABLE`, or the coordinator's error.
    pub async fn upload(&self, bytes: &[u8]) -> Result<Digest, Failure> {
        self.upload_one(Artifact::Bytes(bytes.to_vec())).await
    }

    /// Uploads the content of a file unless the coordinator has it, and returns its digest.
    ///
    /// # Errors
    /// `IO_ERROR` if the file cannot be read, `UNREACHABLE`, or the coordinator's error.
    pub async fn upload_file(&self, path: &Path) -> Result<Digest, Failure> {
        self.upload_one(Artifact::File(path.to_path_buf())).await
    }

    async fn upload_one(&self, artifact: Artifact) -> Result<Digest, Failure> {
        let digests = self.upload_all(vec![artifact]).await?;
        digests.first().copied().ok_or_else(|| Failure::new(Code::Internal, "an upload without a digest"))
    }

    /// Uploads the artifacts that the coordinator lacks (one query for all of them), and returns all digests in order.
    /// A lost connection is reopened.
    ///
    /// # Errors
    /// `IO_ERROR` if a file cannot be read, `UNREACHABLE`, or the coordinator's error.
    pub async fn upload_all(&self, artifacts: Vec<Artifact>) -> Result<Vec<Digest>, Failure> {
        let hashing = tokio::task::spawn_blocking(move || {
            let hashed = artifacts.into_iter().map(|artifact| Ok((digest(&artifact)?, artifact)));
            hashed.collect::<Result<Vec<_>, Failure>>()
        });
        let hashed = hashing.await.map_err(|e| Failure::new(Code::Internal, format!("hashing ended early: {e}")))??;
        let digests: Vec<Digest> = hashed.iter().map(|(digest, _)| *digest).collect();
        until_answered(async || self.put_missing(&hashed).await).await?;
        Ok(digests)
    }

    async fn put_missing(&self, artifacts: &[(Digest, Artifact)]) -> Result<(), Failure> {
        let digests = artifacts.iter().map(|(digest, _)| (*digest).into()).collect();
        let request = v1::MissingArtifactsRequest { digests };
        let reply = answered(self.jobs().missing_artifacts(asking(request)).await)?;
        for wire in reply.missing {
            let missing = Digest::try_from(wire)?;
            if let Some((digest, artifact)) = artifacts.iter().find(|(digest, _)| *digest == missing) {
                self.put(*digest, artifact.clone()).await?;
            }
        }
        Ok(())
    }

    async fn put(&self, digest: Digest, artifact: Artifact) -> Result<(), Failure> {
        let (pieces, stream) = mpsc::channel(PIECES_AHEAD);
        let reading = tokio::task::spawn_blocking(move || read_pieces(digest, &artifact, &pieces));
        let put = self.jobs().put_artifact(ReceiverStream::new(stream)).await;
        // An unreadable file is the cause; that the server misses the end is only the consequence.
        reading.await.map_err(|e| Failure::new(Code::Internal, format!("reading ended early: {e}")))??;
        put.map(|_| ()).map_err(failure)
    }
}

/// Sends the artifact piece by piece; the first piece has the digest, even if the artifact is empty.
fn read_pieces(digest: Digest, artifact: &Artifact, pieces: &mpsc::Sender<v1::ArtifactPiece>) -> Result<(), Failure> {
    let mut from: Box<dyn Read + '_> = match artifact {
        Artifact::Bytes(bytes) => Box::new(Cursor::new(bytes)),
        Artifact::File(path) | Artifact::Hashed(path, _) => {
            Box::new(regular_file::open(path).map_err(|e| unreadable(path, &e))?)
        }
    };
    let mut name = Some(digest.into());
    loop {
        let mut data = Vec::with_capacity(PIECE_BYTES);
        let read = from.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut data);
        read.map_err(|e| match artifact {
            Artifact::File(path) | Artifact::Hashed(path, _) => unreadable(path, &e),
            Artifact::Bytes(_) => Failure::new(Code::Internal, e.to_string()),
        })?;
        if data.is_empty() && name.is_none() {
            return Ok(());
        }
        let piece = v1::ArtifactPiece { digest: name.take(), data: data.into() };
        if pieces.blocking_send(piece).is_err() {
            // The server has answered already; its answer gives the reason.
            return Ok(());
        }
    }
}

fn digest(artifact: &Artifact) -> Result<Digest, Failure> {
    match artifact {
        Artifact::Bytes(bytes) => Ok(Digest::of(bytes)),
        Artifact::Hashed(_, digest) => Ok(*digest),
        Artifact::File(path) => {
            let read = regular_file::open(path).and_then(Digest::of_reader);
            read.map(|(digest, _)| digest).map_err(|e| unreadable(path, &e))
        }
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Code::IoError, format!("cannot read {}: {error}", path.escaped()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_and_its_bytes_are_the_same_artifact() {
        let bytes: Vec<u8> = (0..PIECE_BYTES * 2 + 77).map(|i| (i * 7) as u8).collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("binary");
        std::fs::write(&path, &bytes).unwrap();
        let file = Artifact::File(path);
        let name = digest(&file).unwrap();
        assert_eq!(name, digest(&Artifact::Bytes(bytes.clone())).unwrap());
        for (artifact, content) in [(file, bytes), (Artifact::Bytes(Vec::new()), Vec::new())] {
            let (send, mut receive) = mpsc::channel(64);
            read_pieces(name, &artifact, &send).unwrap();
            drop(send);
            let mut whole = Vec::new();
            let mut first = true;
            while let Ok(piece) = receive.try_recv() {
                assert_eq!(piece.digest.is_some(), first);
                assert!(piece.data.len() <= PIECE_BYTES);
                whole.extend_from_slice(&piece.data);
                first = false;
            }
            assert!(!first, "even an empty artifact is named");
            assert!(whole == content);
        }
    }

    #[test]
    fn missing_file_is_named() {
        let failure = digest(&Artifact::File("/no/such/file".into())).unwrap_err();
        assert!(failure.message.contains("/no/such/file"));
    }
}
