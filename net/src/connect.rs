//! A channel from a URL: time-outs, keepalive, windows, and the token on every call.
//!
//! It does not retry: who calls knows what a lost answer means ([`is_lost`] tells that one was lost).

use crate::access::Access;
use crate::status::{broke, with_causes};
use crate::{CONNECTION_WINDOW_BYTES, FRAME_BYTES_MAX, HEADER_BYTES_MAX, STREAM_WINDOW_BYTES, tls};
use std::error::Error;
use std::time::Duration;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use windrow_model::{Code, Failure};

/// A peer that does not answer the TCP (and TLS) handshake for so long is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// An idle connection is asked this often whether the peer still lives …
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// … and given up when there is no answer for so long.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// A channel that adds the token to every call: what generated clients are made from. Cheap to clone.
pub type Connection = InterceptedService<Channel, AddToken>;

/// Adds `authorization: Bearer TOKEN`.
#[derive(Clone, Debug)]
pub struct AddToken {
    header: Option<MetadataValue<Ascii>>,
}

impl Interceptor for AddToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(header) = &self.header {
            request.metadata_mut().insert("authorization", header.clone());
        }
        Ok(request)
    }
}

/// Connects to `url` (`http://HOST:PORT` or `https://…`). After that, the channel connects again by itself when the
/// connection was lost. Fails with `UNREACHABLE` and the URL if nobody answers within five seconds.
pub async fn channel(url: &str, access: &Access) -> Result<Connection, Failure> {
    let channel = endpoint(url, access)?
        .connect()
        .await
        .map_err(|e| Failure::new(Code::Unreachable, with_causes(&format!("{url} does not answer"), e.source())))?;
    Ok(InterceptedService::new(channel, add_token(access)?))
}

/// Like [`channel`], but the connection is made with the first call: for peers that may not be up yet.
pub fn channel_lazy(url: &str, access: &Access) -> Result<Connection, Failure> {
    Ok(InterceptedService::new(endpoint(url, access)?.connect_lazy(), add_token(access)?))
}

/// True if the connection broke under this call, so that the server may or may not have done it.
pub fn is_lost(status: &Status) -> bool {
    broke(status)
}

fn endpoint(url: &str, access: &Access) -> Result<Endpoint, Failure> {
    let bad = |why: String| Failure::new(Code::BadRequest, format!("`{url}` is not the URL of a coordinator: {why}"));
    let uri: http::Uri = url.parse().map_err(|e: http::uri::InvalidUri| bad(e.to_string()))?;
    let secure = match uri.scheme_str() {
        Some("http") => false,
        Some("https") => true,
        _ => return Err(bad("it begins with neither http:// nor https://".into())),
    };
    let endpoint = Endpoint::from_shared(url.to_string())
        .map_err(|e| bad(with_causes(&e.to_string(), e.source())))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(KEEPALIVE_INTERVAL))
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX);
    if !secure {
        return Ok(endpoint);
    }
    endpoint
        .tls_config(tls::client_config(access.ca.as_deref())?)
        .map_err(|e| Failure::new(Code::Unreachable, with_causes("the certificates cannot be used", e.source())))
}

fn add_token(access: &Access) -> Result<AddToken, Failure> {
    let header = match &access.token {
        None => None,
        Some(token) => {
            let mut value = MetadataValue::try_from(format!("Bearer {}", token.secret()))
                .map_err(|_| Failure::new(Code::Unauthorised, "the token is not printable text"))?;
            value.set_sensitive(true);
            Some(value)
        }
    };
    Ok(AddToken { header })
}
