//! What a job's attempts wrote to stdout and stderr: asked from every worker that ran any of them, one after another.

use crate::mailbox::{Mailbox, Message};
use crate::rpc::give;
use tokio::sync::mpsc;
use tonic::Status;
use windrow_model::{Failure, JobId, WorkerId};
use windrow_net::connect::channel_to;
use windrow_net::{Access, Role, clients, from_status, to_status};
use windrow_proto::v1;

/// Sends all logs of a job. A worker that does not answer has its logs left out; if none answers, that is an error.
pub(crate) async fn send_logs(
    job: JobId,
    mailbox: Mailbox,
    access: Access,
    to: mpsc::Sender<Result<v1::LogPiece, Status>>,
) {
    let holders = match mailbox.try_ask(|answer| Message::LogHolders { job, answer }).await {
        Ok(holders) => holders,
        Err(failure) => return drop(to.send(Err(to_status(&failure))).await),
    };
    let (mut answers, mut last_failure) = (0, None);
    for (worker, address) in holders {
        match send_logs_of(job, worker, &address, &access, &to).await {
            Ok(()) => answers += 1,
            Err(failure) => {
                tracing::warn!(%job, %worker, "its logs cannot be read: {failure}");
                last_failure = Some(failure);
            }
        }
    }
    if let (0, Some(failure)) = (answers, last_failure) {
        let _ = to.send(Err(to_status(&failure))).await;
    }
}

async fn send_logs_of(
    job: JobId,
    worker: WorkerId,
    address: &str,
    access: &Access,
    to: &mpsc::Sender<Result<v1::LogPiece, Status>>,
) -> Result<(), Failure> {
    let mut client = clients::transfer(channel_to(Role::Worker, address, access).await?);
    let request = v1::ReadLogsRequest { job: Some(job.into()) };
    let mut chunks = client.read_logs(request).await.map_err(|s| from_status(&s))?.into_inner();
    while let Some(chunk) = chunks.message().await.map_err(|s| from_status(&s))? {
        let piece = v1::LogPiece { attempt: chunk.attempt, worker: Some(worker.into()), data: chunk.data };
        if !give(to, Ok(piece)).await {
            break;
        }
    }
    Ok(())
}
