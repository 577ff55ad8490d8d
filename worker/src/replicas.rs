//! Chunks of datasets that this worker fetches from others: as the input of a task, or for another copy.

use crate::chunks::Chunks;
use std::collections::HashMap;
use std::time::Duration;
use windrow_model::{Code, Digest, Failure};
use windrow_net::connect::channel_lazy;
use windrow_net::{Access, Patience, Silent, clients, from_status};
use windrow_proto::v1;

/// Addresses of the workers that hold each chunk.
pub(crate) type Sources = HashMap<Digest, Vec<String>>;

/// Fetches chunks of other workers.
#[derive(Clone, Debug)]
pub(crate) struct Replicas {
    pub chunks: Chunks,
    pub access: Access,
    /// A peer that sends nothing for this long counts as gone.
    pub progress_deadline: Duration,
}

impl Replicas {
    /// Makes sure that a chunk is here to stay, verified against its digest. True if it had to be fetched, or was
    /// doomed.
    ///
    /// # Errors
    /// `CHUNK_UNAVAILABLE` with the answer of each holder; errors of the disk.
    pub(crate) async fn get(&self, digest: Digest, addresses: &[String]) -> Result<bool, Failure> {
        if let Some(is_new) = self.chunks.keep_if_here(digest).await
            && self.chunks.is_whole(digest).await
        {
            return Ok(is_new);
        }
        let mut said = Vec::new();
        for address in addresses {
            match self.fetch(digest, address).await {
                Ok(()) => return Ok(true),
                Err(failure) if failure.code == Code::NoSpace => return Err(failure),
                Err(failure) => said.push(format!("{address}: {}", failure.message)),
            }
        }
        let said = if said.is_empty() { "no worker that is there has it".to_string() } else { said.join("; ") };
        Err(Failure::new(Code::ChunkUnavailable, format!("chunk {digest}: {said}")))
    }

    async fn fetch(&self, digest: Digest, address: &str) -> Result<(), Failure> {
        let silent = |silent: Silent| Failure::new(Code::FetchFailed, silent.to_string());
        let mut patience = Patience::new(self.progress_deadline);
        let mut client = clients::transfer(channel_lazy(address, &self.access)?);
        let call = client.get_chunk(v1::GetChunkRequest { digest: Some(digest.into()) });
        let answer = patience.wait(call, |_| 0).await.map_err(silent)?;
        let mut pieces = answer.map_err(|s| from_status(&s))?.into_inner();
        let put = self.chunks.begin(digest);
        loop {
            let piece = patience.message(&mut pieces, |piece| piece.data.len()).await.map_err(silent)?;
            let Some(piece) = piece.map_err(|s| from_status(&s))? else { break };
            // `finish` reports why the disk failed; the digest shows missing pieces.
            if !put.write(piece.data).await {
                break;
            }
        }
        put.finish().await
    }
}
