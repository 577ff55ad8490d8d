//! Generated clients over a [`Connection`] with the message size limits.

use crate::MESSAGE_BYTES_MAX;
use crate::connect::Connection;
use windrow_proto::v1::data_client::DataClient;
use windrow_proto::v1::history_client::HistoryClient;
use windrow_proto::v1::jobs_client::JobsClient;
use windrow_proto::v1::page_client::PageClient;
use windrow_proto::v1::session_client::SessionClient;
use windrow_proto::v1::transfer_client::TransferClient;

/// A client of the coordinator's job service.
pub fn jobs(connection: Connection) -> JobsClient<Connection> {
    JobsClient::new(connection)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// A client of the coordinator's history service.
pub fn history(connection: Connection) -> HistoryClient<Connection> {
    HistoryClient::new(connection)
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

/// A client of the keys of the page that a coordinator serves.
pub fn page(connection: Connection) -> PageClient<Connection> {
    PageClient::new(connection)
}

/// A client of a worker's transfer service.
pub fn transfer(connection: Connection) -> TransferClient<Connection> {
    TransferClient::new(connection)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}
