//! Operators' view of orphaned chunks, workers that wait to join, and scrubs.

use super::{Cluster, answered, asking};
use windrow_model::{Digest, Failure, Framing, Orphan, Orphans, ScrubStatus, UnjoinedWorker, WorkerId};
use windrow_net::clients;
use windrow_proto::v1::{self, adopt_request::What};

impl Cluster {
    /// The orphans of the cluster.
    ///
    /// # Errors
    /// `UNREACHABLE`.
    pub async fn orphans(&self) -> Result<Orphans, Failure> {
        let mut client = clients::data(self.connection.clone());
        let reply = answered(client.list_orphans(asking(v1::ListOrphansRequest {})).await)?;
        let workers = |all: Vec<v1::WorkerId>| all.into_iter().map(WorkerId::try_from).collect::<Result<Vec<_>, _>>();
        let mut orphans = Orphans { left_off: reply.left_off, ..Orphans::default() };
        for chunk in reply.chunks {
            orphans.chunks.push(Orphan {
                digest: chunk.digest.unwrap_or_default().try_into()?,
                length: chunk.length,
                holders: workers(chunk.holders)?,
                trashed: workers(chunk.trashed)?,
                for_ms: chunk.for_ms,
                kept_ms: chunk.kept_ms,
            });
        }
        for unjoined in reply.unjoined {
            orphans.unjoined.push(UnjoinedWorker {
                worker: unjoined.worker.unwrap_or_default().try_into()?,
                host: unjoined.host,
                chunks: unjoined.chunks,
            });
        }
        Ok(orphans)
    }

    /// Makes a dataset of orphans, in this order, and returns its version.
    ///
    /// # Errors
    /// `DATASET_EXISTS`; `CHUNK_UNAVAILABLE` for a digest that is not an orphan.
    pub async fn adopt_chunks(&self, name: &str, framing: Framing, digests: &[Digest]) -> Result<u64, Failure> {
        let digests = digests.iter().map(|digest| (*digest).into()).collect();
        let chunks = v1::AdoptChunks { name: name.to_string(), framing: Some(framing.into()), digests };
        self.adopt(What::Chunks(chunks)).await
    }

    /// Lets a worker's data folder join the cluster when the worker registers next, within seconds.
    ///
    /// # Errors
    /// `WORKER_NOT_FOUND` if it does not wait to join; `CLUSTER_MISMATCH` if it belongs to another cluster.
    pub async fn adopt_worker(&self, worker: WorkerId) -> Result<(), Failure> {
        self.adopt(What::Worker(worker.into())).await.map(drop)
    }

    async fn adopt(&self, what: What) -> Result<u64, Failure> {
        let mut client = clients::data(self.connection.clone());
        Ok(answered(client.adopt(asking(v1::AdoptRequest { what: Some(what) })).await)?.version)
    }

    /// The progress of all workers' scrubs.
    ///
    /// # Errors
    /// `UNREACHABLE`.
    pub async fn scrubs(&self) -> Result<Vec<ScrubStatus>, Failure> {
        let mut client = clients::data(self.connection.clone());
        let reply = answered(client.list_scrubs(asking(v1::ListScrubsRequest {})).await)?;
        let status = |scrub: v1::ScrubStatus| {
            let p = scrub.progress.unwrap_or_default();
            Ok(ScrubStatus {
                worker: scrub.worker.unwrap_or_default().try_into()?,
                bytes_done: p.bytes_done,
                bytes_total: p.bytes_total,
                passes: p.passes,
                last_unix_ms: p.last_unix_ms,
                damaged: p.damaged,
                gone: p.gone,
            })
        };
        reply.scrubs.into_iter().map(status).collect()
    }
}
