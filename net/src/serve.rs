//! A gRPC server on a listener that is already bound: limits, keepalive, health, the token, and an end.
//!
//! It does not know the services it carries.

use crate::access::RequireToken;
use crate::status::with_causes;
use crate::tls::ServerTls;
use crate::token::Token;
use crate::{CONNECTION_WINDOW_BYTES, FRAME_BYTES_MAX, HEADER_BYTES_MAX, STREAM_WINDOW_BYTES};
use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tower::util::option_layer;
use windrow_model::{Code, Failure};

/// Calls at a time on one connection; more wait.
const STREAMS_MAX: u32 = 1024;
/// A client is asked this often whether it still lives …
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// … and its calls end when there is no answer for so long.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Calls that still run this long after the end was asked for are cut off.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// Serves `routes` (and health) until `shutdown` completes, then lets running calls finish for two seconds. With a
/// token, calls without it are refused as the table in [`crate::access`] says. Message size limits belong to the
/// services themselves: see [`crate::MESSAGE_BYTES_MAX`].
pub async fn serve(
    listener: TcpListener,
    routes: Routes,
    token: Option<Token>,
    tls: Option<ServerTls>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let failed = |e: tonic::transport::Error| Failure::new(Code::IoError, with_causes(&e.to_string(), e.source()));
    let (_health, health_service) = tonic_health::server::health_reporter();
    let mut server = Server::builder()
        .max_concurrent_streams(STREAMS_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX);
    if let Some(tls) = tls {
        server = server.tls_config(tls.config()?).map_err(failed)?;
    }
    // `serve_with_incoming` takes the socket as it is: Nagle's delay must be switched off here.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true)).with_keepalive(Some(KEEPALIVE_INTERVAL));
    let (asked, mut stop) = tokio::sync::watch::channel(false);
    let serving = server
        .layer(option_layer(token.map(RequireToken::new)))
        .add_routes(routes.add_service(health_service))
        .serve_with_incoming_shutdown(incoming, async move {
            // A closed channel is an end, too.
            let _ = stop.wait_for(|stop| *stop).await;
        });
    let end = async {
        shutdown.await;
        let _ = asked.send(true);
        tokio::time::sleep(SHUTDOWN_GRACE).await;
    };
    tokio::select! {
        served = serving => served.map_err(failed),
        () = end => Ok(()),
    }
}

/// The URL under which others reach a server that listens on `addr`. One that listens on every address is named by
/// the machine's own name.
pub fn url_of(addr: SocketAddr, tls: bool) -> String {
    let scheme = if tls { "https" } else { "http" };
    if addr.ip().is_unspecified() {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "localhost".into());
        return format!("{scheme}://{}:{}", name.trim(), addr.port());
    }
    format!("{scheme}://{addr}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_reached_under_its_own_address() {
        assert_eq!(url_of("127.0.0.1:80".parse().unwrap(), false), "http://127.0.0.1:80");
        assert_eq!(url_of("[::1]:443".parse().unwrap(), true), "https://[::1]:443");
        assert!(!url_of("0.0.0.0:80".parse().unwrap(), false).contains("0.0.0.0"));
    }
}
