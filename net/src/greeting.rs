//! The first call of every client: compares protocol versions, and says what answers where that is no coordinator.

use crate::clients::jobs;
use crate::connect::Connection;
use crate::status::{from_status, with_causes};
use std::error::Error;
use tonic::{Code as Grpc, Status};
use windrow_model::{Code, Failure};
use windrow_proto::v1;

/// The words of the HTTP/2 library about a peer that violates the protocol, as one does that speaks HTTP/1 or none.
const NOT_HTTP2: &str = "connection error detected";

/// Compares protocol versions with the coordinator at `url` and returns the coordinator's release.
///
/// # Errors
/// `VERSION_MISMATCH` with both numbers, or if the server has no service for jobs; `UNREACHABLE` if it does not speak gRPC; or
/// the failure of the call.
pub async fn hello(url: &str, connection: &Connection) -> Result<String, Failure> {
    let request = v1::HelloRequest { protocol: Some(windrow_proto::own_range()) };
    let reply = jobs(connection.clone()).hello(request).await.map_err(|status| met(url, &status))?.into_inner();
    windrow_proto::check_range(reply.protocol.as_ref())?;
    Ok(reply.protocol.map(|p| p.release).unwrap_or_default())
}

/// The failure of a greeting, which says what kind of server answers.
fn met(url: &str, status: &Status) -> Failure {
    let said = with_causes(status.message(), status.source());
    // Only Windrow programs send details.
    if status.details().is_empty() && status.code() == Grpc::Unimplemented && status.source().is_none() {
        let failure = from_status(status);
        if failure.code == Code::VersionMismatch {
            let what = format!(
                "the server at {url} has no service for jobs: it is a worker or another program, not a coordinator"
            );
            return Failure::new(Code::VersionMismatch, what);
        }
    }
    if said.contains(NOT_HTTP2) {
        let what =
            format!("the server at {url} does not speak HTTP/2 as a coordinator does: it is another program ({said})");
        return Failure::new(Code::Unreachable, what);
    }
    let failure = from_status(status);
    match failure.code {
        Code::Unreachable if !failure.message.contains(url) => {
            let what =
                format!("the server at {url} does not answer a greeting as a coordinator does: {}", failure.message);
            Failure::new(Code::Unreachable, what)
        }
        _ => failure,
    }
}
