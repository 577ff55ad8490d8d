//! A client of a cluster: every call that a user's tool makes to a coordinator.
//!
//! Results are domain types, errors are [`Failure`]s. Queries fail at once when the connection is lost; uploads,
//! `submit`, `watch`, puts and what reads datasets and results retry, because their work goes on without the connection.
//! Nothing here prints.

mod backup;
mod beginning;
mod chunk_transfer;
mod cutting;
mod data;
mod history;
mod orphans;
mod page;
mod persist;
mod put_stream;
#[cfg(test)]
mod put_tests;
mod submit;
mod upload;
mod watch;

pub use backup::BackupPart;
pub use data::{ChunkPlace, Put, PutOptions};
pub use history::AttemptsAsked;
pub use upload::Artifact;
pub use windrow_model::{Orphan, Orphans, ScrubStatus, UnjoinedWorker};

use persist::{until_answered, until_connected};
use std::path::Path;
use std::time::Duration;
use windrow_model::{AttemptId, Code, Failure, JobFilter, JobId, JobStatus, WorkerId, WorkerStatus};
use windrow_net::{Access, Connection, Contact, channel_with, clients, from_status, hello};
use windrow_proto::v1;
use windrow_proto::v1::jobs_client::JobsClient;

/// Timeout of queries; then the coordinator counts as unreachable.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to a coordinator of the same protocol. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Cluster {
    url: String,
    connection: Connection,
    access: Access,
}

/// A piece of the output of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPiece {
    /// Id of the attempt.
    pub attempt: AttemptId,
    /// The worker that ran it.
    pub worker: Option<WorkerId>,
    /// Bytes of its stdout and stderr, in order.
    pub data: Vec<u8>,
}

/// Results of a job's `collect`s: each name with one blob per task, in task order.
pub type Collected = Vec<(String, Vec<Vec<u8>>)>;

impl Cluster {
    /// Connects to the coordinator at `url`, or to the latest that this user started. The token is read from
    /// `token_file`, or found in the user's state folder.
    ///
    /// # Errors
    /// `UNREACHABLE`, `UNAUTHORISED` (there is no token, or the other side does not have it), `VERSION_MISMATCH`, and
    /// `CERTIFICATE_NOT_TRUSTED`, `CERTIFICATE_WRONG_NAME` or `CERTIFICATE_EXPIRED`.
    pub async fn connect(url: Option<&str>, token_file: Option<&Path>) -> Result<Cluster, Failure> {
        Cluster::connect_with(url, token_file, None).await
    }

    /// Connects as [`Cluster::connect`] does, with the authority that signed the coordinator's certificate.
    ///
    /// # Errors
    /// As [`Cluster::connect`]; `ca` cannot be read.
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
            hello(&url, &connection).await?;
            Ok(connection)
        })
        .await?;
        // Checked last: an unreachable coordinator, or one of another release, is reported first.
        access.require_token(&url)?;
        Ok(Cluster { url, connection, access })
    }

    /// URL of the coordinator.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The present status of a job.
    ///
    /// # Errors
    /// `JOB_NOT_FOUND`, `UNREACHABLE`.
    pub async fn get(&self, job: JobId) -> Result<JobStatus, Failure> {
        let id = Some(job.into());
        let status = answered(self.jobs().get(asking(v1::GetRequest { id })).await)?;
        Ok(status.try_into()?)
    }

    /// All jobs that the coordinator knows.
    ///
    /// # Errors
    /// `UNREACHABLE`.
    pub async fn list(&self) -> Result<Vec<JobStatus>, Failure> {
        Ok(self.list_some(JobFilter::default()).await?.0)
    }

    /// The jobs that the filter admits, without their failed attempts, and the number that it would admit without its
    /// limit.
    ///
    /// # Errors
    /// `UNREACHABLE`.
    pub async fn list_some(&self, filter: JobFilter) -> Result<(Vec<JobStatus>, u64), Failure> {
        let reply = answered(self.jobs().list(asking(v1::ListRequest::from(filter))).await)?;
        let jobs = reply.jobs.into_iter().map(JobStatus::try_from);
        Ok((jobs.collect::<Result<_, _>>()?, reply.admitted))
    }

    /// Cancels a job. The job has ended when its status says so; an ended job is not changed.
    ///
    /// # Errors
    /// `JOB_NOT_FOUND`, `UNREACHABLE`.
    pub async fn cancel(&self, job: JobId) -> Result<(), Failure> {
        let id = Some(job.into());
        answered(self.jobs().cancel(asking(v1::CancelRequest { id })).await)?;
        Ok(())
    }

    /// Has the commit of a job tried again now that waits for its file system; or, with `give_up`, ends the job as cancelled:
    /// whether its outputs are whole is not known then.
    ///
    /// # Errors
    /// `JOB_NOT_FOUND`; `BAD_REQUEST` if the job has no commit that waits.
    pub async fn decide_commit(&self, job: JobId, give_up: bool) -> Result<(), Failure> {
        let id = Some(job.into());
        answered(self.jobs().decide_commit(asking(v1::DecideCommitRequest { id, give_up })).await)?;
        Ok(())
    }

    /// The results of the job's `collect`s, once it is done. A lost connection is reopened.
    ///
    /// # Errors
    /// `JOB_NOT_FOUND`, `UNREACHABLE`; the job is not done.
    pub async fn collected(&self, job: JobId) -> Result<Collected, Failure> {
        until_answered(async || self.collected_at_once(job).await).await
    }

    async fn collected_at_once(&self, job: JobId) -> Result<Collected, Failure> {
        let id = Some(job.into());
        let mut stream = answered(self.jobs().collected(v1::CollectedRequest { id }).await)?;
        let mut collected: Collected = Vec::new();
        let mut last = None;
        while let Some(blob) = stream.message().await.map_err(failure)? {
            let place = (blob.name, blob.task);
            if last.as_ref() == Some(&place) {
                // A large blob is sent in several messages.
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

    /// Passes the kept stdout and stderr of the job to `each`, piece by piece.
    ///
    /// # Errors
    /// `JOB_NOT_FOUND`, `UNREACHABLE`.
    pub async fn logs(&self, job: JobId, mut each: impl FnMut(LogPiece)) -> Result<(), Failure> {
        let id = Some(job.into());
        let mut stream = answered(self.jobs().logs(v1::LogsRequest { id }).await)?;
        while let Some(piece) = stream.message().await.map_err(failure)? {
            let attempt =
                piece.attempt.ok_or_else(|| Failure::new(Code::BadRequest, "a piece of a log without an attempt"))?;
            each(LogPiece {
                attempt: attempt.try_into()?,
                worker: piece.worker.map(WorkerId::try_from).transpose()?,
                data: piece.data.to_vec(),
            });
        }
        Ok(())
    }

    /// All workers that the coordinator knows.
    ///
    /// # Errors
    /// `UNREACHABLE`.
    pub async fn workers(&self) -> Result<Vec<WorkerStatus>, Failure> {
        let reply = answered(self.jobs().workers(asking(v1::WorkersRequest {})).await)?;
        let workers = reply.workers.into_iter().map(WorkerStatus::try_from);
        Ok(workers.collect::<Result<_, _>>()?)
    }

    /// Drains a worker: it finishes its running tasks and gets no new ones.
    ///
    /// # Errors
    /// `WORKER_NOT_FOUND`, `UNREACHABLE`.
    pub async fn drain(&self, worker: WorkerId) -> Result<(), Failure> {
        let id = Some(worker.into());
        answered(self.jobs().drain_worker(asking(v1::DrainWorkerRequest { id })).await)?;
        Ok(())
    }

    fn jobs(&self) -> JobsClient<Connection> {
        clients::jobs(self.connection.clone())
    }
}

/// A query with a time limit.
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
