//! Generated clients over a [`Connection`] with the message size limits, and the first call of every client.

use crate::MESSAGE_BYTES_MAX;
use crate::connect::Connection;
use crate::status::from_status;
use windrow_model::Failure;
use windrow_proto::v1;
use windrow_proto::v1::data_client::DataClient;
use windrow_proto::v1::jobs_client::JobsClient;
use windrow_proto::v1::session_client::SessionClient;
use windrow_proto::v1::transfer_client::TransferClient;

/// A client of the coordinator's job service.
pub fn jobs(connection: Connection) -> JobsClient<Connection> {
    JobsClient::new(connection)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// A worker's client of the coordinator's session service.
pub fn session(connection: Connection) -> SessionClient<Connection> {
    SessionClient::new(connection)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// A client of the coordinator's dataset service.
pub fn data(connection: Connection) -> DataClient<Connection> {
    DataClient::new(connection)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// A client of a worker's transfer service.
pub fn transfer(connection: Connection) -> TransferClient<Connection> {
    TransferClient::new(connection)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// Compares protocol versions with the coordinator and returns the coordinator's release.
///
/// # Errors
/// `VERSION_MISMATCH` with both numbers, or the failure of the call.
pub async fn hello(connection: &Connection) -> Result<String, Failure> {
    let request = v1::HelloRequest { protocol: Some(windrow_proto::own_range()) };
    let reply = jobs(connection.clone()).hello(request).await.map_err(|status| from_status(&status))?.into_inner();
    windrow_proto::check_range(reply.protocol.as_ref())?;
    Ok(reply.protocol.map(|p| p.release).unwrap_or_default())
}
