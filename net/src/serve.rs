//! A gRPC server on a bound listener: limits, keepalive, health, authorisation, and shutdown.
//!
//! It does not know its services. Connections whose callers have proven the token and all others go to two HTTP/2
//! servers with the same services, because the memory that a caller may occupy depends on what it has proven.

use crate::accept::{Exits, accept};
use crate::access::RequireToken;
use crate::admission::{Admission, Limits};
use crate::handshake::Handshake;
use crate::status::with_causes;
use crate::tls::ServerTls;
use crate::token::Token;
use crate::token_key::Role;
use crate::{CONNECTION_WINDOW_BYTES, FRAME_BYTES_MAX, HEADER_BYTES_MAX, STREAM_WINDOW_BYTES};
use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use windrow_model::{Code, Failure};

/// Most concurrent calls on one connection; further calls wait.
const STREAMS_MAX: u32 = 1024;
/// The same limit for callers that have proven nothing; the next lines limit their bytes in flight and in headers. Such
/// a connection occupies less than 200 KB of this process.
const UNPROVEN_STREAMS_MAX: u32 = 8;
const UNPROVEN_WINDOW_BYTES: u32 = (64 << 10) - 1;
const UNPROVEN_FRAME_BYTES: u32 = 16 << 10;
const UNPROVEN_HEADER_BYTES: u32 = 8 << 10;
/// Interval of keepalive pings to a client.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// The calls of a client end if a ping is not answered within this time.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Time that running calls get after a shutdown was requested.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);
/// Most accepted connections that wait for their server.
const WAITING_MAX: usize = 16;

/// The settings of a server.
#[derive(Clone, Debug)]
pub struct Server {
    /// The role that callers expect.
    pub role: Role,
    /// The token that callers must have; without one, all calls are answered.
    pub token: Option<Token>,
    /// The certificate.
    pub tls: Option<ServerTls>,
    /// Whether tokens sent in the clear are accepted too, for tools that know nothing of proofs.
    pub insecure: bool,
    /// Limits of callers that have proven nothing.
    pub limits: Limits,
}

impl Server {
    /// Settings with the limits that this process's descriptors allow.
    pub fn new(role: Role, token: Option<Token>, tls: Option<ServerTls>) -> Server {
        Server { role, token, tls, insecure: false, limits: Limits::of_this_process() }
    }
}

/// Serves `routes` (and health) until `shutdown` completes, then lets running calls finish for two seconds. With a
/// token, calls without it are refused according to the table in [`crate::access`], before their bodies are read.
/// Message size limits are set at the services: see [`crate::MESSAGE_BYTES_MAX`].
///
/// # Errors
/// The certificate files cannot be used.
pub async fn serve(
    listener: TcpListener,
    routes: Routes,
    server: Server,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Failure> {
    tokio::pin!(shutdown);
    let (role, token, tls) = (server.role, server.token.clone(), server.tls.clone());
    // The handshake settings read files, on storage that may not answer.
    let reading = tokio::task::spawn_blocking(move || Handshake::new(role, token, tls.as_ref()));
    let handshake = tokio::select! {
        read = reading => read.map_err(|e| Failure::new(Code::Internal, e.to_string())).flatten()?,
        () = &mut shutdown => return Ok(()),
    };
    let (_health, health_service) = tonic_health::server::health_reporter();
    let routes = routes.add_service(health_service);
    let guard = RequireToken::new(server.token, server.tls.is_some() || server.insecure);
    let ((proven, proven_queue), (unproven, unproven_queue)) = (mpsc::channel(WAITING_MAX), mpsc::channel(WAITING_MAX));
    let (asked, stop) = watch::channel(false);
    let stopped = |mut stop: watch::Receiver<bool>| async move {
        // A closed channel also means the end.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let failed = |e: tonic::transport::Error| Failure::new(Code::IoError, with_causes(&e.to_string(), e.source()));
    let wide = http2()
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .layer(guard.clone())
        .add_routes(routes.clone())
        .serve_with_incoming_shutdown(ReceiverStream::new(proven_queue), stopped(stop.clone()));
    let narrow = http2()
        .max_concurrent_streams(UNPROVEN_STREAMS_MAX)
        .initial_stream_window_size(UNPROVEN_WINDOW_BYTES)
        .initial_connection_window_size(UNPROVEN_WINDOW_BYTES)
        .max_frame_size(UNPROVEN_FRAME_BYTES)
        .http2_max_header_list_size(UNPROVEN_HEADER_BYTES)
        .layer(guard)
        .add_routes(routes)
        .serve_with_incoming_shutdown(ReceiverStream::new(unproven_queue), stopped(stop.clone()));
    let accepting = accept(listener, Admission::new(server.limits), handshake, Exits { proven, unproven });
    let accepting = async {
        tokio::select! {
            () = accepting => {}
            () = stopped(stop) => {}
        }
        Ok(())
    };
    let end = async {
        shutdown.await;
        let _ = asked.send(true);
        tokio::time::sleep(SHUTDOWN_GRACE).await;
    };
    tokio::select! {
        served = async { tokio::try_join!(wide, narrow, accepting) } => served.map(|_| ()).map_err(failed),
        () = end => Ok(()),
    }
}

fn http2() -> tonic::transport::Server {
    tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
}

/// The URL at which others reach a server that listens on `addr`. If it listens on every address, the URL has the
/// machine's host name.
pub fn url_of(addr: SocketAddr, tls: bool) -> String {
    let scheme = if tls { "https" } else { "http" };
    if addr.ip().is_unspecified() {
        let name =
            windrow_format::regular_file::read_note("/proc/sys/kernel/hostname").unwrap_or_else(|_| "localhost".into());
        return format!("{scheme}://{}:{}", name.trim(), addr.port());
    }
    format!("{scheme}://{addr}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_has_the_address_of_the_server() {
        assert_eq!(url_of("127.0.0.1:80".parse().unwrap(), false), "http://127.0.0.1:80");
        assert_eq!(url_of("[::1]:443".parse().unwrap(), true), "https://[::1]:443");
        assert!(!url_of("0.0.0.0:80".parse().unwrap(), false).contains("0.0.0.0"));
    }
}
