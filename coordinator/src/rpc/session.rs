//! The service for workers: one stream in each direction for each session.

mod intake;
mod reports;

use super::{Answers, artifact, begun, field, hello, refuse};
use crate::artifacts::Artifacts;
use crate::mailbox::{Inventory, Mailbox, Message, SessionId};
use crate::outbox::{Outgoing, outbox};
use intake::inventory;
use reports::{check_size, report};
use tokio::sync::oneshot;
use tonic::{Request, Response, Status, Streaming};
use windrow_model::{Code, Failure, NodeInfo, WorkerId};
use windrow_proto::v1::{self, from_worker::Message as Said};

pub(crate) struct Session {
    pub mailbox: Mailbox,
    pub artifacts: Artifacts,
}

#[tonic::async_trait]
impl v1::session_server::Session for Session {
    type ConnectStream = Outgoing;

    async fn connect(
        &self,
        request: Request<Streaming<v1::FromWorker>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let mut from_worker = request.into_inner();
        let Some(Said::Register(register)) = from_worker.message().await?.and_then(|m| m.message) else {
            return Err(refuse(Failure::new(Code::BadRequest, "a session begins with `Register`")));
        };
        hello(register.protocol.as_ref())?;
        let process = register.life;
        let Some(folder) = register.folder.clone() else {
            let what =
                "the worker's release knows no cluster ids, without which it may delete chunks that it should keep";
            return Err(refuse(Failure::new(Code::VersionMismatch, what)));
        };
        let node: NodeInfo = field(Some(register), "register")?;
        let inventory =
            Inventory { folder: field(Some(folder), "folder")?, ..inventory(&mut from_worker, &self.mailbox).await? };
        let worker = node.worker;
        let (listening, ended) = oneshot::channel();
        let (to_worker, outgoing) = outbox(listening);
        let refusal = to_worker.refusal();
        let mailbox = self.mailbox.clone();
        let (registers, registered) = oneshot::channel();
        // Not here: this call ends with its connection, at any moment, and a session that has begun must be ended.
        tokio::spawn(async move {
            let began =
                mailbox.try_ask(|answer| Message::SessionBegan { node, process, inventory, to_worker, answer }).await;
            let session = match began {
                Ok(session) => session,
                Err(failure) => return drop(registers.send(Err(failure))),
            };
            let _ = registers.send(Ok(()));
            if let Err(status) = listen(session, worker, from_worker, ended, &mailbox).await {
                tracing::debug!(%worker, "its session ends: {status}");
                // The worker gets the reason if its message was invalid.
                refusal.end(status);
            }
            mailbox.send(Message::SessionEnded { session, worker }).await;
        });
        begun(registered).await?;
        Ok(Response::new(outgoing))
    }

    type GetArtifactStream = Answers<v1::Piece>;

    async fn get_artifact(
        &self,
        request: Request<v1::GetArtifactRequest>,
    ) -> Result<Response<Self::GetArtifactStream>, Status> {
        let digest = field(request.into_inner().digest, "digest")?;
        Ok(Response::new(artifact::send(&self.artifacts, digest).await?))
    }
}

/// Forwards a worker's messages until its stream ends or the driver ends the session.
async fn listen(
    session: SessionId,
    worker: WorkerId,
    mut from_worker: Streaming<v1::FromWorker>,
    mut ended: oneshot::Receiver<()>,
    mailbox: &Mailbox,
) -> Result<(), Status> {
    let mut named = 0;
    loop {
        let message = tokio::select! {
            message = from_worker.message() => message?,
            _ = &mut ended => None,
        };
        let Some(message) = message else { break };
        let Some(said) = message.message else {
            return Err(refuse(Failure::new(Code::BadRequest, "a message that this release does not know")));
        };
        check_size(&said, &mut named)?;
        let report = report(worker, said)?;
        if !mailbox.send(Message::FromWorker { session, worker, report }).await {
            break;
        }
    }
    Ok(())
}
