//! The first bytes of a dataset.

use super::chunk_transfer::FETCH_PATIENCE;
use super::{ChunkPlace, Cluster, answered, failure};
use windrow_model::{Code, Failure};
use windrow_net::connect::channel_lazy;
use windrow_net::{Patience, Silent, clients};
use windrow_proto::v1;

/// Bytes after which no more are asked for.
const ENOUGH: usize = 64 << 10;

impl Cluster {
    /// The first bytes of the first chunk of a dataset, as some worker sends them, and the number of its chunks. They are not
    /// compared with the digest, which is that of the whole chunk.
    ///
    /// # Errors
    /// `DATASET_NOT_FOUND`; no worker sends a byte.
    pub(crate) async fn beginning(&self, name: &str) -> Result<(Vec<u8>, usize), Failure> {
        let (_, places) = self.dataset(name).await?;
        let none = || Failure::new(Code::ChunkUnavailable, format!("no worker sends the beginning of `{name}`"));
        let first = places.first().ok_or_else(none)?;
        for address in &first.addresses {
            if let Ok(bytes) = self.first_bytes(address, first).await {
                return Ok((bytes, places.len()));
            }
        }
        Err(none())
    }

    async fn first_bytes(&self, address: &str, place: &ChunkPlace) -> Result<Vec<u8>, Failure> {
        let stalled = |silent: Silent| Failure::new(Code::FetchFailed, silent.to_string());
        let mut client = clients::transfer(channel_lazy(address, &self.access)?);
        let mut patience = Patience::new(FETCH_PATIENCE);
        let request = v1::GetChunkRequest { digest: Some(place.digest.into()) };
        let mut pieces = answered(patience.wait(client.get_chunk(request), |_| 0).await.map_err(stalled)?)?;
        let mut bytes = Vec::new();
        while bytes.len() < ENOUGH {
            let piece = patience.message(&mut pieces, |piece| piece.data.len()).await.map_err(stalled)?;
            let Some(piece) = piece.map_err(failure)? else { break };
            bytes.extend_from_slice(&piece.data);
        }
        Ok(bytes)
    }
}
