//! Backs up a running coordinator: its journal, and the artifacts of jobs that have not ended.

use super::{Cluster, answered, failure};
use bytes::Bytes;
use windrow_model::{Code, Digest, Failure};
use windrow_net::{Token, clients};
use windrow_proto::v1;

/// A part of a backup, in order.
#[derive(Clone, Debug)]
pub enum BackupPart {
    /// The next bytes of this artifact.
    Artifact(Digest, Bytes),
    /// The next bytes of the journal's dump.
    Journal(Bytes),
}

impl Cluster {
    /// Passes every part of a backup to `take`. The dump has an end marker, by which a complete dump is recognised.
    ///
    /// # Errors
    /// The error of `take` or of the coordinator. The parts so far are not a valid backup.
    pub async fn backup(&self, mut take: impl FnMut(BackupPart) -> Result<(), Failure>) -> Result<(), Failure> {
        let mut client = clients::data(self.connection.clone());
        let mut pieces = answered(client.backup(v1::BackupRequest {}).await)?;
        let first = pieces.message().await.map_err(failure)?;
        let first = first.ok_or_else(|| Failure::new(Code::Unreachable, "the coordinator ended the backup"))?;
        for digest in first.artifacts {
            let digest = Digest::try_from(digest)?;
            // A job may have ended meanwhile and its artifacts been removed; then they are not needed.
            match self.artifact(digest, &mut take).await {
                Err(failure) if failure.code == Code::BadBinary => {}
                taken => taken?,
            }
        }
        while let Some(piece) = pieces.message().await.map_err(failure)? {
            take(BackupPart::Journal(piece.data.into()))?;
        }
        Ok(())
    }

    async fn artifact(
        &self,
        digest: Digest,
        take: &mut impl FnMut(BackupPart) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut client = clients::session(self.connection.clone());
        let mut pieces = answered(client.get_artifact(v1::GetArtifactRequest { digest: Some(digest.into()) }).await)?;
        while let Some(piece) = pieces.message().await.map_err(failure)? {
            take(BackupPart::Artifact(digest, piece.data))?;
        }
        Ok(())
    }

    /// The token of this client, if any: without it a restored coordinator would have to make a new one.
    pub fn token(&self) -> Option<&Token> {
        self.access.token.as_ref()
    }
}
