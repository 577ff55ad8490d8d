//! The shuffle between two workers in isolation, for benches.

use crate::chunks::Chunks;
use crate::error::Error;
use crate::fetch::{FetchError, Fetcher};
use crate::logs::Logs;
use crate::membership::Membership;
use crate::outputs::Outputs;
use crate::scratch::Scratch;
use crate::serve::TransferService;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use windrow_model::{AttemptId, Epoch, Failure, Incarnation, JobId, Segment, SegmentRef, StageId, TaskId, WorkerId};
use windrow_net::{Access, Role, Server};

/// A worker that has finished one attempt, whose output others fetch.
pub struct Offer {
    service: TransferService,
}

impl Offer {
    /// Makes an output of `bytes` bytes in `folder`.
    pub fn new(folder: &Path, bytes: u64) -> Result<Offer, Error> {
        let scratch = Arc::new(Scratch::open(folder)?);
        let outputs = Outputs::default();
        let place = scratch.attempt(&attempt());
        let path = place.edge(0);
        let failed = |source| Error::DataDir { path: path.clone(), source };
        std::fs::create_dir_all(place.outputs()).map_err(failed)?;
        let mut file = std::io::BufWriter::new(std::fs::File::create(&path).map_err(failed)?);
        (0..bytes / 8).try_for_each(|n| file.write_all(&n.to_le_bytes())).map_err(failed)?;
        file.flush().map_err(failed)?;
        outputs.insert(attempt(), place);
        let chunks = Chunks::new(scratch.clone());
        let membership = Arc::new(Membership::open(&scratch)?);
        let logs = Logs::default();
        Ok(Offer { service: TransferService { worker: scratch.worker(), outputs, logs, chunks, membership } })
    }

    /// The id of the worker that holds the segments.
    pub fn worker(&self) -> WorkerId {
        self.service.worker
    }

    /// Serves until the process ends.
    pub async fn serve(self, listener: TcpListener) -> Result<(), Failure> {
        let routes = tonic::service::Routes::new(self.service.into_server());
        windrow_net::serve(listener, routes, Server::new(Role::Worker, None, None), std::future::pending()).await
    }
}

/// Fetches the output of an [`Offer`] in segments of `segment_bytes` bytes.
pub async fn fetch(address: &str, worker: WorkerId, bytes: u64, segment_bytes: u64, to: &Path) -> Result<(), Failure> {
    let segment = |n: u64| {
        let offset = n * segment_bytes;
        let length = segment_bytes.min(bytes - offset);
        let segment = Segment { partition: n as u32, offset, length, records: 1, raw_length: length, digest: 0 };
        SegmentRef { worker, attempt: attempt(), output: 0, segment }
    };
    let segments: Vec<SegmentRef> = (0..bytes.div_ceil(segment_bytes)).map(segment).collect();
    let fetcher = Fetcher::new(Access::default(), Duration::from_secs(30));
    fetcher.fetch(address, &segments, to).await.map_err(|e| match e {
        FetchError::Lost(_, failure) | FetchError::Disk(failure) => failure,
    })
}

fn attempt() -> AttemptId {
    let task = TaskId { job: JobId::from_bytes([1; 16]), stage: StageId(0), index: 0 };
    AttemptId { task, number: 0, epoch: Epoch(1), incarnation: Incarnation(1) }
}
