//! Channels from URLs: timeouts, keepalive, windows, and the caller's proof of the token.
//!
//! Channels do not retry calls: only the caller knows whether a call may be repeated ([`is_lost`] tells that an answer
//! was lost).

use crate::access::Access;
use crate::contact::Contact;
use crate::dial::Dialer;
use crate::dial_error::dial_failure;
use crate::status::{broke, with_causes};
use crate::token_key::Role;
use crate::{CONNECTION_WINDOW_BYTES, FRAME_BYTES_MAX, HEADER_BYTES_MAX, STREAM_WINDOW_BYTES};
use std::error::Error;
use std::time::Duration;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use windrow_model::{Code, Failure};

/// Interval of keepalive pings on an idle connection.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// A connection is closed if a ping is not answered within this time.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// A channel for generated clients. Cheap to clone.
pub type Connection = InterceptedService<Channel, AddToken>;

/// Adds `authorization: Bearer TOKEN` to calls whose server has a trusted certificate: a proxy that terminates TLS
/// forwards calls, but not the connection's proof. Without a certificate the token is never sent.
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

/// Connects to the coordinator at `url` (`http://HOST:PORT` or `https://…`). Afterwards the channel reconnects on its
/// own when the connection is lost.
///
/// # Errors
/// `UNREACHABLE` with the URL if no Windrow server answers within five seconds; `UNAUTHORISED` if the server does not
/// have the token; `CERTIFICATE_NOT_TRUSTED`, `CERTIFICATE_WRONG_NAME` or `CERTIFICATE_EXPIRED`; `BAD_REQUEST` for an
/// invalid URL or the wrong scheme.
pub async fn channel(url: &str, access: &Access) -> Result<Connection, Failure> {
    channel_to(Role::Coordinator, url, access).await
}

/// Connects as [`channel`] does, and records in `contact` that the server has shown that it has the token, even if it
/// then breaks the connection.
///
/// # Errors
/// As [`channel`].
pub async fn channel_with(contact: &Contact, url: &str, access: &Access) -> Result<Connection, Failure> {
    connected(Target::of(Role::Coordinator, url, access, contact)?, url).await
}

/// Connects as [`channel`] does, to a server of this role.
///
/// # Errors
/// As [`channel`].
pub async fn channel_to(role: Role, url: &str, access: &Access) -> Result<Connection, Failure> {
    connected(Target::of(role, url, access, &Contact::default())?, url).await
}

async fn connected(target: Target, url: &str) -> Result<Connection, Failure> {
    let channel = target.endpoint.connect_with_connector(target.dialer).await.map_err(|e| {
        dial_failure(&e).unwrap_or_else(|| {
            Failure::new(Code::Unreachable, with_causes(&format!("{url} does not answer"), e.source()))
        })
    })?;
    Ok(InterceptedService::new(channel, target.token))
}

/// A channel to the worker at `url`. It connects with the first call, because the peer may not be up yet.
///
/// # Errors
/// The URL or the certificate files are invalid.
pub fn channel_lazy(url: &str, access: &Access) -> Result<Connection, Failure> {
    let target = Target::of(Role::Worker, url, access, &Contact::default())?;
    Ok(InterceptedService::new(target.endpoint.connect_with_connector_lazy(target.dialer), target.token))
}

/// Returns whether the connection broke during this call, so that the server may or may not have executed it.
pub fn is_lost(status: &Status) -> bool {
    broke(status)
}

struct Target {
    endpoint: Endpoint,
    dialer: Dialer,
    token: AddToken,
}

impl Target {
    fn of(role: Role, url: &str, access: &Access, contact: &Contact) -> Result<Target, Failure> {
        let bad = |why: String| {
            Failure::new(Code::BadRequest, format!("`{url}` is not the URL of a {}: {why}", role.as_str()))
        };
        let uri: http::Uri = url.parse().map_err(|e: http::uri::InvalidUri| bad(e.to_string()))?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(bad("it does not begin with http:// or https://".into())),
        };
        if uri.host().is_none_or(str::is_empty) {
            return Err(bad("it has no host".into()));
        }
        let endpoint = Endpoint::from_shared(url.to_string())
            .map_err(|e| bad(with_causes(&e.to_string(), e.source())))?
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES_MAX)
            .http2_max_header_list_size(HEADER_BYTES_MAX);
        let token = match &access.token {
            Some(token) if secure => {
                let mut value = MetadataValue::try_from(format!("Bearer {}", token.secret()))
                    .map_err(|_| Failure::new(Code::Unauthorised, "the token is not printable text"))?;
                value.set_sensitive(true);
                Some(value)
            }
            _ => None,
        };
        let dialer = Dialer::new(&uri, secure, role, access, contact)?;
        Ok(Target { endpoint, dialer, token: AddToken { header: token } })
    }
}
