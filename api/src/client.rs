//! A cluster as a client sees it: every call that a user's tool makes to a coordinator.
//!
//! Answers are domain types, errors are [`Failure`]s. Calls that only ask fail at once when the connection is lost;
//! uploads, `submit` and `watch` try again, because what they ask for goes on without them. Nothing here prints.

mod backup;
mod chunk_transfer;
mod cutting;
mod data;
mod orphans;
mod persist;
mod submit;
mod upload;
mod watch;

pub use backup::BackupPart;
pub use data::{ChunkPlace, Put, PutOptions};
pub use orphans::{Orphan, Orphans, ScrubStatus, UnjoinedWorker};
pub use upload::Artifact;

use persist::until_connected;
use std::path::Path;
use std::time::Duration;
use windrow_model::{AttemptId, Code, Failure, JobFilter, JobId, JobStatus, WorkerId, WorkerStatus};
use windrow_net::{Access, Connection, Contact, channel_with, clients, from_status, hello};
use windrow_proto::v1;
use windrow_proto::v1::jobs_client::JobsClient;

/// A coordinator answers a question within this time, or counts as unreachable.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to a coordinator of the same protocol. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Cluster {
    url: String,
    connection: Connection,
    access: Access,
}

/// What one attempt wrote, as a piece of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPiece {
    /// Which attempt.
    pub attempt: AttemptId,
    /// Where it ran.
    pub worker: Option<WorkerId>,
    /// Bytes of its stdout and stderr, in order.
    pub data: Vec<u8>,
}

/// Results of a job's `collect`s: each name with one blob per task, in task order.
pub type Collected = Vec<(String, Vec<Vec<u8>>)>;

impl Cluster {
    /// Connects to the coordinator at `url`, or to the latest that this user started. The token comes from
    /// `token_file`, or is found in the user's state folder.
    ///
    /// # Errors
    /// `UNREACHABLE`, `UNAUTHORISED` (there is no token, or the other side does not have it), `VERSION_MISMATCH`, and
    /// `CERTIFICATE_NOT_TRUSTED`, `CERTIFICATE_WRONG_NAME` or `CERTIFICATE_EXPIRED`.
    pub async fn connect(url: Option<&str>, token_file: Option<&Path>) -> Result<Cluster, Failure> {
        Cluster::connect_with(url, token_file, None).await
    }

    /// Like [`Cluster::connect`], with the authority that signed the coordinator's certificate.
    pub async fn connect_with(
        url: Option<&str>,
        token_file: Option<&Path>,
        ca: Option<&Path>,
    ) -> Result<Cluster, Failure> {
        let url = Access::url(url)?;
        let access = Access::resolve(&url, token_file, ca)?;
        let contact = Contact::default();
        let connection = until_connected(&contact, async || {
            let connection = channel_with(&contact, &url, &access).await?;
            hello(&connection).await?;
            Ok(connection)
        })
        .await?;
        // After that: it tells apart that nothing is there, or that it is of another release.
        access.require_token(&url)?;
        Ok(Cluster { url, connection, access })
    }

    /// Where the coordinator is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How a job stands now.
    pub async fn get(&self, job: JobId) -> Result<JobStatus, Failure> {
        let id = Some(job.into());
        let status = answered(self.jobs().get(asking(v1::GetRequest { id })).await)?;
        Ok(status.try_into()?)
    }

    /// Every job that the coordinator knows.
    pub async fn list(&self) -> Result<Vec<JobStatus>, Failure> {
        Ok(self.list_some(JobFilter::default()).await?.0)
    }

    /// Jobs that the filter admits, and how many it admits without its limit. Failed attempts are not among what is told of each.
    pub async fn list_some(&self, filter: JobFilter) -> Result<(Vec<JobStatus>, u64), Failure> {
        let reply = answered(self.jobs().list(asking(v1::ListRequest::from(filter))).await)?;
        let jobs = reply.jobs.into_iter().map(JobStatus::try_from);
        Ok((jobs.collect::<Result<_, _>>()?, reply.admitted))
    }

    /// Asks for a job's end. It is over when its status says so; a job that is over stays as it is.
    pub async fn cancel(&self, job: JobId) -> Result<(), Failure> {
        let id = Some(job.into());
        answered(self.jobs().cancel(asking(v1::CancelRequest { id })).await)?;
        Ok(())
    }

    /// What the job's `collect`s gave, once it is done.
    pub async fn collected(&self, job: JobId) -> Result<Collected, Failure> {
        let id = Some(job.into());
        let mut stream = answered(self.jobs().collected(v1::CollectedRequest { id }).await)?;
        let mut collected: Collected = Vec::new();
        let mut last = None;
        while let Some(blob) = stream.message().await.map_err(failure)? {
            let place = (blob.name, blob.task);
            if last.as_ref() == Some(&place) {
                // A large blob comes in several messages.
                if let Some(whole) = collected.last_mut().and_then(|(_, blobs)| blobs.last_mut()) {
                    whole.extend_from_slice(&blob.data);
                }
                continue;
            }
            match collected.iter_mut().find(|(name, _)| *name == place.0) {
                Some((_, blobs)) => blobs.push(blob.data.to_vec()),
                None => collected.push((place.0.clone(), vec![blob.data.to_vec()])),
            }
            last = Some(place);
        }
        Ok(collected)
    }

    /// Gives what is kept of the job's stdout and stderr to `each`, piece by piece.
    pub async fn logs(&self, job: JobId, mut each: impl FnMut(LogPiece)) -> Result<(), Failure> {
        let id = Some(job.into());
        let mut stream = answered(self.jobs().logs(v1::LogsRequest { id }).await)?;
        while let Some(piece) = stream.message().await.map_err(failure)? {
            let attempt =
                piece.attempt.ok_or_else(|| Failure::new(Code::BadRequest, "a piece of a log names no attempt"))?;
            each(LogPiece {
                attempt: attempt.try_into()?,
                worker: piece.worker.map(WorkerId::try_from).transpose()?,
                data: piece.data.to_vec(),
            });
        }
        Ok(())
    }

    /// Every worker that the coordinator knows.
    pub async fn workers(&self) -> Result<Vec<WorkerStatus>, Failure> {
        let reply = answered(self.jobs().workers(asking(v1::WorkersRequest {})).await)?;
        let workers = reply.workers.into_iter().map(WorkerStatus::try_from);
        Ok(workers.collect::<Result<_, _>>()?)
    }

    /// Lets a worker finish what it runs, and gives it nothing new.
    pub async fn drain(&self, worker: WorkerId) -> Result<(), Failure> {
        let id = Some(worker.into());
        answered(self.jobs().drain_worker(asking(v1::DrainWorkerRequest { id })).await)?;
        Ok(())
    }

    fn jobs(&self) -> JobsClient<Connection> {
        clients::jobs(self.connection.clone())
    }
}

/// A question with a time limit.
fn asking<T>(message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(ANSWER_TIMEOUT);
    request
}

fn answered<T>(result: Result<tonic::Response<T>, tonic::Status>) -> Result<T, Failure> {
    result.map(tonic::Response::into_inner).map_err(failure)
}

fn failure(status: tonic::Status) -> Failure {
    from_status(&status)
}
