//! The services: they validate, convert, ask the driver, and answer. They hold no state.

mod artifact;
mod data;
mod history;
mod job;
mod page;
mod result;
mod session;

use crate::artifacts::Artifacts;
use crate::config::Config;
use crate::mailbox::Mailbox;
use crate::result_files::ResultFiles;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::service::Routes;
use windrow_history::Reading;
use windrow_model::{Code, Failure};
use windrow_net::{Access, MESSAGE_BYTES_MAX};
use windrow_proto::v1::data_server::DataServer;
use windrow_proto::v1::history_server::HistoryServer;
use windrow_proto::v1::jobs_server::JobsServer;
use windrow_proto::v1::page_server::PageServer;
use windrow_proto::v1::session_server::SessionServer;
use windrow_proto::{ConvertError, v1};

/// Bytes of bulk data in one message.
pub(crate) const PIECE_BYTES: usize = 1 << 20;
/// Messages of bulk data that wait for a slow receiver.
pub(crate) const PIECES_MAX: usize = 8;

/// A client that reads nothing of an answer for this long counts as gone, and the rest of the answer is dropped.
const CLIENT_PATIENCE: Duration = Duration::from_secs(60);

/// A stream of answers that a task or thread fills.
pub(crate) type Answers<T> = ReceiverStream<Result<T, Status>>;

/// Sends the next message of an answer. False if the client has gone or reads nothing.
pub(crate) async fn give<T>(answer: &mpsc::Sender<Result<T, Status>>, message: Result<T, Status>) -> bool {
    timeout(CLIENT_PATIENCE, answer.send(message)).await.is_ok_and(|sent| sent.is_ok())
}

/// How workers are reached.
pub(crate) fn access_of(config: &Config) -> Access {
    Access { token: config.token.clone(), ca: config.tls.as_ref().and_then(|tls| tls.ca.clone()) }
}

/// All services, with limits on their messages.
pub(crate) fn routes(
    config: &Config,
    mailbox: Mailbox,
    artifacts: Artifacts,
    files: ResultFiles,
    reading: Reading,
) -> Routes {
    let access = access_of(config);
    let readers = Arc::new(Semaphore::new(result::READERS_MAX));
    let history = history::History::new(reading);
    let past = history.clone();
    let jobs = job::Jobs { mailbox: mailbox.clone(), artifacts: artifacts.clone(), files, readers, past, access };
    let data = data::Data { mailbox: mailbox.clone(), backups: Arc::new(Semaphore::new(1)) };
    let session = session::Session { mailbox, artifacts };
    Routes::new(
        JobsServer::new(jobs).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX),
    )
    .add_service(
        DataServer::new(data).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX),
    )
    .add_service(PageServer::new(page::Page { page: config.page.clone() }))
    .add_service(
        HistoryServer::new(history)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX),
    )
    .add_service(
        SessionServer::new(session)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX),
    )
}

pub(crate) fn refuse(failure: Failure) -> Status {
    windrow_net::to_status(&failure)
}

/// Waits for the first result of work on a task of its own, which completes even if the call is dropped.
pub(crate) async fn begun(begins: oneshot::Receiver<Result<(), Failure>>) -> Result<(), Status> {
    let stopping = |_| Failure::new(Code::Unreachable, "the coordinator is stopping");
    begins.await.map_err(stopping).flatten().map_err(refuse)
}

/// A required field of a request, as a domain type.
pub(crate) fn field<W, D>(value: Option<W>, name: &'static str) -> Result<D, Status>
where
    D: TryFrom<W, Error = ConvertError>,
{
    let converted = value.ok_or(ConvertError::Missing(name)).and_then(D::try_from);
    converted.map_err(|e| refuse(e.into()))
}

/// The answer to a first message: our own range, if it meets theirs.
pub(crate) fn hello(theirs: Option<&v1::ProtocolRange>) -> Result<v1::ProtocolRange, Status> {
    windrow_proto::check_range(theirs).map_err(refuse)?;
    Ok(windrow_proto::own_range())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn client_that_takes_nothing_is_given_up() {
        let (answer, mut answers) = mpsc::channel(1);
        assert!(give(&answer, Ok(1)).await);
        assert!(!give(&answer, Ok(2)).await, "nothing was taken for a minute");
        assert_eq!(answers.recv().await.unwrap().unwrap(), 1);
        assert!(give(&answer, Ok(3)).await);
        drop(answers);
        assert!(!give(&answer, Ok(4)).await);
    }
}
