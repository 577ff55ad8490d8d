//! Finds where the outputs of a stage lie: in this worker's own files, in those of a neighbour, or elsewhere.

use crate::fetch::{FetchError, Fetcher};
use crate::neighbours::{Neighbours, Whereabouts};
use crate::outputs::Outputs;
use crate::tables::{Places, Table};
use crate::wanted::WantedOutputs;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use windrow_attempts::StageError;
use windrow_format::stage_index::OutputImage;
use windrow_model::{AttemptId, Code, EdgePort, Failure, Home, OutputRef, WorkerId};

/// Holders that are asked at the same time.
const AT_ONCE_MAX: usize = 8;

/// What knows where outputs lie.
#[derive(Debug)]
pub(crate) struct FindPlaces {
    pub worker: WorkerId,
    pub outputs: Outputs,
    pub neighbours: Arc<Neighbours>,
    pub fetcher: Arc<Fetcher>,
}

/// The outputs of one holder.
enum Found {
    InPlace(Vec<(AttemptId, OutputImage)>),
    Remote(WorkerId, WantedOutputs),
}

impl FindPlaces {
    /// The places of an output, which are found once for all its readers.
    ///
    /// # Errors
    /// An attempt that should be here is not.
    pub(crate) async fn places(
        &self,
        table: &Table,
        port: &EdgePort,
        peers: &HashMap<WorkerId, Whereabouts>,
    ) -> Result<Arc<Places>, StageError> {
        let cell = table.places(port.port.output);
        let found = cell.get_or_try_init(|| async { Ok(Arc::new(self.find(table, port, peers).await?)) });
        found.await.cloned()
    }

    async fn find(
        &self,
        table: &Table,
        port: &EdgePort,
        peers: &HashMap<WorkerId, Whereabouts>,
    ) -> Result<Places, StageError> {
        let mut by_holder: BTreeMap<WorkerId, Vec<AttemptId>> = BTreeMap::new();
        for (holder, attempt) in table.outputs.attempts() {
            by_holder.entry(holder).or_default().push(attempt);
        }
        let mut in_place: Vec<(AttemptId, OutputImage)> = Vec::new();
        let mut remote = Vec::new();
        let found = by_holder.into_iter().map(|(holder, attempts)| self.of_holder(holder, attempts, port, peers));
        let found: Vec<Found> = stream::iter(found).buffered(AT_ONCE_MAX).try_collect().await?;
        for found in found {
            match found {
                Found::InPlace(images) => in_place.extend(images),
                Found::Remote(holder, wanted) => remote.push((holder, Arc::new(wanted))),
            }
        }
        in_place.retain(|(_, image)| image.length > 0);
        in_place.sort_by_key(|(attempt, _)| attempt.task.index);
        Ok(Places::new(in_place, remote))
    }

    /// Where the outputs of one holder lie.
    async fn of_holder(
        &self,
        holder: WorkerId,
        attempts: Vec<AttemptId>,
        port: &EdgePort,
        peers: &HashMap<WorkerId, Whereabouts>,
    ) -> Result<Found, StageError> {
        if holder == self.worker {
            let images = self.own(&attempts, port.port.output).await?;
            return Ok(Found::InPlace(attempts.into_iter().zip(images).collect()));
        }
        let wanted = WantedOutputs::new(holder, port.port.output, port.partitions, attempts);
        if let Some(Whereabouts { address, home: Some(home) }) = peers.get(&holder)
            && let Some(images) = self.beside(holder, address, home, &wanted).await?
        {
            return Ok(Found::InPlace(wanted.attempts.iter().copied().zip(images).collect()));
        }
        Ok(Found::Remote(holder, wanted))
    }

    /// Where outputs of this worker lie.
    async fn own(&self, attempts: &[AttemptId], output: u32) -> Result<Vec<OutputImage>, StageError> {
        let (outputs, wanted) = (self.outputs.clone(), attempts.to_vec());
        let located = tokio::task::spawn_blocking(move || outputs.locate(wanted.into_iter(), output)).await;
        let located = located.map_err(|e| StageError::Failed(Failure::new(Code::Internal, e.to_string())))?;
        located.map_err(|(at, failure)| {
            let lost = OutputRef { worker: self.worker, attempt: attempts[at as usize], output };
            let code = if failure.code == Code::StaleAttempt { Code::FetchFailed } else { failure.code };
            StageError::SegmentLost(Box::new(lost), Failure { code, ..failure })
        })
    }

    /// Where outputs of a worker lie, if it is a neighbour and its files can be read. Otherwise they are fetched.
    async fn beside(
        &self,
        holder: WorkerId,
        address: &str,
        home: &Home,
        wanted: &WantedOutputs,
    ) -> Result<Option<Vec<OutputImage>>, StageError> {
        let (neighbours, at) = (self.neighbours.clone(), home.clone());
        let is_neighbour = tokio::task::spawn_blocking(move || neighbours.is_neighbour(holder, &at)).await;
        if !is_neighbour.unwrap_or(false) {
            return Ok(None);
        }
        let reply = match self.fetcher.locate(address, wanted).await {
            Ok(reply) => reply,
            Err(FetchError::Lost(at, failure)) if failure.code == Code::StaleAttempt => {
                let attempt = wanted.attempts[(at as usize).min(wanted.attempts.len() - 1)];
                let lost = OutputRef { worker: holder, attempt, output: wanted.output };
                return Err(StageError::SegmentLost(Box::new(lost), failure));
            }
            // A fetch tries longer, and names what is wrong.
            Err(_) => return Ok(None),
        };
        let (neighbours, home, outputs) = (self.neighbours.clone(), home.clone(), wanted.attempts.len());
        let images = tokio::task::spawn_blocking(move || neighbours.images(&home, reply, outputs)).await;
        Ok(images.unwrap_or(None))
    }
}
