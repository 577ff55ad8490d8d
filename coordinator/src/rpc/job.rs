//! The service for clients.

use super::history::History;
use super::result::{WAITING_MAX, send_result};
use super::{Answers, PIECES_MAX, artifact, field, hello, refuse};
use crate::artifacts::Artifacts;
use crate::logs::send_logs;
use crate::mailbox::{Mailbox, Message};
use crate::result_files::ResultFiles;
use futures_util::StreamExt;
use futures_util::stream::Map;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::{ReceiverStream, WatchStream};
use tonic::{Request, Response, Status, Streaming};
use windrow_model::{Code, Digest, Failure, JobFilter, JobId, JobSpec, JobStatus};
use windrow_net::Access;
use windrow_proto::v1;

/// Digests in one question.
const DIGESTS_MAX: usize = 10_000;

pub(crate) struct Jobs {
    pub mailbox: Mailbox,
    pub artifacts: Artifacts,
    pub files: ResultFiles,
    /// Permits to read results.
    pub readers: Arc<Semaphore>,
    /// Jobs that the coordinator has forgotten.
    pub past: History,
    /// How workers are reached.
    pub access: Access,
}

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl v1::jobs_server::Jobs for Jobs {
    async fn hello(&self, request: Request<v1::HelloRequest>) -> Reply<v1::HelloReply> {
        let protocol = hello(request.into_inner().protocol.as_ref())?;
        Ok(Response::new(v1::HelloReply { protocol: Some(protocol) }))
    }

    async fn missing_artifacts(
        &self,
        request: Request<v1::MissingArtifactsRequest>,
    ) -> Reply<v1::MissingArtifactsReply> {
        let digests = request.into_inner().digests;
        if digests.len() > DIGESTS_MAX {
            let what = format!("a question about {} artifacts, more than {DIGESTS_MAX}", digests.len());
            return Err(refuse(Failure::new(Code::BadRequest, what)));
        }
        let digests = digests.into_iter().map(|d| field(Some(d), "digest")).collect::<Result<Vec<Digest>, _>>()?;
        let missing = artifact::missing(&self.artifacts, digests).await?;
        Ok(Response::new(v1::MissingArtifactsReply { missing: missing.into_iter().map(Into::into).collect() }))
    }

    async fn put_artifact(&self, request: Request<Streaming<v1::ArtifactPiece>>) -> Reply<v1::PutArtifactReply> {
        artifact::receive(&self.artifacts, request.into_inner()).await?;
        Ok(Response::new(v1::PutArtifactReply {}))
    }

    async fn submit(&self, request: Request<v1::SubmitRequest>) -> Reply<v1::SubmitReply> {
        let spec: JobSpec = field(request.into_inner().spec, "spec")?;
        let job = spec.id;
        let needed = std::iter::once(spec.binary).chain(spec.plan.sides.iter().map(|s| s.digest)).collect();
        artifact::check_stored(&self.artifacts, needed).await?;
        let spec = Box::new(spec);
        self.mailbox.try_ask(|answer| Message::Submit { spec, answer }).await.map_err(refuse)?;
        Ok(Response::new(v1::SubmitReply { id: Some(job.into()) }))
    }

    type WatchStream = Map<WatchStream<JobStatus>, fn(JobStatus) -> Result<v1::JobStatus, Status>>;

    async fn watch(&self, request: Request<v1::WatchRequest>) -> Reply<Self::WatchStream> {
        let job: JobId = field(request.into_inner().id, "id")?;
        let statuses = self.mailbox.try_ask(|answer| Message::Watch { job, answer }).await.map_err(refuse)?;
        Ok(Response::new(WatchStream::new(statuses).map(|status| Ok(status.into()))))
    }

    async fn get(&self, request: Request<v1::GetRequest>) -> Reply<v1::JobStatus> {
        let job: JobId = field(request.into_inner().id, "id")?;
        let status = match self.mailbox.try_ask(|answer| Message::Get { job, answer }).await {
            Err(unknown) if unknown.code == Code::JobNotFound => self.past.forgotten(job).await.ok_or(unknown),
            answer => answer,
        };
        Ok(Response::new(status.map_err(refuse)?.into()))
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Reply<v1::ListReply> {
        let filter: JobFilter = field(Some(request.into_inner()), "list")?;
        let (jobs, admitted) = self.mailbox.ask(|answer| Message::List { filter, answer }).await.map_err(refuse)?;
        Ok(Response::new(v1::ListReply { jobs: jobs.into_iter().map(Into::into).collect(), admitted }))
    }

    async fn cancel(&self, request: Request<v1::CancelRequest>) -> Reply<v1::CancelReply> {
        let job: JobId = field(request.into_inner().id, "id")?;
        self.mailbox.try_ask(|answer| Message::Cancel { job, answer }).await.map_err(refuse)?;
        Ok(Response::new(v1::CancelReply {}))
    }

    async fn decide_commit(&self, request: Request<v1::DecideCommitRequest>) -> Reply<v1::DecideCommitReply> {
        let v1::DecideCommitRequest { id, give_up } = request.into_inner();
        let job: JobId = field(id, "id")?;
        self.mailbox.try_ask(|answer| Message::DecideCommit { job, give_up, answer }).await.map_err(refuse)?;
        Ok(Response::new(v1::DecideCommitReply {}))
    }

    type CollectedStream = Answers<v1::CollectedBlob>;

    async fn collected(&self, request: Request<v1::CollectedRequest>) -> Reply<Self::CollectedStream> {
        let job: JobId = field(request.into_inner().id, "id")?;
        let collected = self.mailbox.try_ask(|answer| Message::Collected { job, answer }).await.map_err(refuse)?;
        let (send, receive) = mpsc::channel(WAITING_MAX);
        let readers = self.readers.clone();
        tokio::spawn(send_result(job, collected, self.files.clone(), self.mailbox.clone(), readers, send));
        Ok(Response::new(ReceiverStream::new(receive)))
    }

    type LogsStream = Answers<v1::LogPiece>;

    async fn logs(&self, request: Request<v1::LogsRequest>) -> Reply<Self::LogsStream> {
        let job: JobId = field(request.into_inner().id, "id")?;
        let (send, receive) = mpsc::channel(PIECES_MAX);
        tokio::spawn(send_logs(job, self.mailbox.clone(), self.access.clone(), send));
        Ok(Response::new(ReceiverStream::new(receive)))
    }

    async fn workers(&self, _: Request<v1::WorkersRequest>) -> Reply<v1::WorkersReply> {
        let workers = self.mailbox.ask(|answer| Message::Workers { answer }).await.map_err(refuse)?;
        Ok(Response::new(v1::WorkersReply { workers: workers.into_iter().map(Into::into).collect() }))
    }

    async fn drain_worker(&self, request: Request<v1::DrainWorkerRequest>) -> Reply<v1::DrainWorkerReply> {
        let worker = field(request.into_inner().id, "id")?;
        self.mailbox.try_ask(|answer| Message::DrainWorker { worker, answer }).await.map_err(refuse)?;
        Ok(Response::new(v1::DrainWorkerReply {}))
    }
}
