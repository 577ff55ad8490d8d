//! The shuffle between two workers in isolation, for benches.

use crate::chunks::Chunks;
use crate::error::Error;
use crate::fetch::{FetchError, Fetcher};
use crate::logs::Logs;
use crate::made_files::{MadeFiles, NewFile};
use crate::membership::Membership;
use crate::outputs::{Held, Outputs, Spooled};
use crate::scratch::Scratch;
use crate::serve::TransferService;
use crate::wanted::WantedOutputs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use windrow_format::block::{HEADER_BYTES, Header, Identity};
use windrow_format::codec::Codec;
use windrow_format::shuffle::Segments;
use windrow_format::stage_index::OutputImage;
use windrow_model::{AttemptId, Epoch, Failure, Incarnation, JobId, StageId, TaskId, TaskReport, WorkerId};
use windrow_net::{Access, Role, Server};

/// A worker whose finished attempts have written outputs that others fetch.
pub struct Offer {
    service: TransferService,
}

impl Offer {
    /// Makes outputs of one segment each, `bytes` bytes together, in a spool in `folder`: a stage for each length of segments
    /// in `segment_bytes`, which is the number of the stage.
    pub fn new(folder: &Path, bytes: u64, segment_bytes: &[u32]) -> Result<Offer, Error> {
        let scratch = Arc::new(Scratch::open(folder)?);
        let outputs = Outputs::default();
        for length in segment_bytes {
            let file: Arc<Path> = scratch.root().join(format!("spool-{length}")).into();
            let failed = |source| Error::DataDir { path: file.to_path_buf(), source };
            let mut spool = std::io::BufWriter::new(std::fs::File::create(&file).map_err(failed)?);
            let stored_length = length - HEADER_BYTES as u32;
            let (codec, raw_length, records) = (Codec::None, stored_length, 1);
            let mut segments = Segments::default();
            segments.add(0, &Header { codec, raw_length, stored_length, records, sorted: false, digest: 0 });
            let image = segments.image_bytes();
            let pattern = vec![7; *length as usize];
            for attempt in attempts(bytes, *length) {
                let tail = segments.tail(&Identity::of_output(&attempt, 0));
                spool.write_all(&pattern).and_then(|()| spool.write_all(&tail)).map_err(failed)?;
                let base = u64::from(attempt.task.index) * image;
                let image = OutputImage { file: file.clone(), base, length: image };
                let spooled = vec![Spooled { output: 0, image }];
                outputs.insert(attempt, Held::new(scratch.attempt(&attempt), &TaskReport::default(), spooled));
            }
            spool.flush().map_err(failed)?;
        }
        let (worker, root) = (scratch.worker(), scratch.root().to_path_buf());
        let (lists, logs) = (Arc::default(), Logs::default());
        let membership = Arc::new(Membership::open(&scratch)?);
        let chunks = Chunks::new(scratch);
        Ok(Offer { service: TransferService { worker, root, outputs, lists, logs, chunks, membership } })
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

/// Fetches the outputs of an [`Offer`] whose segments have this length.
pub async fn fetch(address: &str, worker: WorkerId, bytes: u64, segment_bytes: u32, to: &Path) -> Result<(), Failure> {
    let wanted = WantedOutputs::new(worker, 0, 1, attempts(bytes, segment_bytes).collect());
    let fetcher = Fetcher::new(Access::default(), Duration::from_secs(30));
    let to = NewFile { path: to.to_path_buf(), made: Arc::new(MadeFiles::new(Arc::default())) };
    fetcher.fetch(address, &wanted, 0, &to).await.map(drop).map_err(|e| match e {
        FetchError::Lost(_, failure) | FetchError::Disk(failure) => failure,
    })
}

fn attempts(bytes: u64, segment_bytes: u32) -> impl Iterator<Item = AttemptId> {
    (0..bytes.div_ceil(u64::from(segment_bytes)) as u32).map(move |index| {
        let task = TaskId { job: JobId::from_bytes([1; 16]), stage: StageId(segment_bytes), index };
        AttemptId { task, number: 0, epoch: Epoch(1), incarnation: Incarnation(1) }
    })
}
