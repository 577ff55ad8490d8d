//! A channel from a URL: time-outs, keepalive, windows, and what shows that the caller has the token.
//!
//! It does not retry: who calls knows what a lost answer means ([`is_lost`] tells that one was lost).

use crate::access::Access;
use crate::contact::Contact;
use crate::dial::{DialError, Dialer};
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

/// An idle connection is asked this often whether the peer still lives …
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// … and given up when there is no answer for so long.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// A channel that generated clients are made from. Cheap to clone.
pub type Connection = InterceptedService<Channel, AddToken>;

/// Adds `authorization: Bearer TOKEN` to calls whose server has shown a trusted certificate: a proxy that ends TLS
/// passes calls on, but not the connection's own proof. Without a certificate the token is never sent.
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

/// Connects to the coordinator at `url` (`http://HOST:PORT` or `https://…`). After that, the channel connects again by
/// itself when the connection was lost.
///
/// # Errors
/// `UNREACHABLE` and the URL if no Windrow server answers within five seconds; `UNAUTHORISED` if what answers does not
/// have the token; one of `CERTIFICATE_NOT_TRUSTED`, `CERTIFICATE_WRONG_NAME` and `CERTIFICATE_EXPIRED`; `BAD_REQUEST`
/// for a URL that is none, or of the wrong scheme.
pub async fn channel(url: &str, access: &Access) -> Result<Connection, Failure> {
    channel_to(Role::Coordinator, url, access).await
}

/// [`channel`], which notes in `contact` that the server has shown that it has the token, also if it breaks the connection then.
///
/// # Errors
/// As [`channel`].
pub async fn channel_with(contact: &Contact, url: &str, access: &Access) -> Result<Connection, Failure> {
    connected(Target::of(Role::Coordinator, url, access, contact)?, url).await
}

/// [`channel`], to a server of this role.
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

/// A channel to the worker at `url`; the connection is made with the first call: the peer may not be up yet.
///
/// # Errors
/// Those of the URL and the certificates' files.
pub fn channel_lazy(url: &str, access: &Access) -> Result<Connection, Failure> {
    let target = Target::of(Role::Worker, url, access, &Contact::default())?;
    Ok(InterceptedService::new(target.endpoint.connect_with_connector_lazy(target.dialer), target.token))
}

/// True if the connection broke under this call, so that the server may or may not have done it.
pub fn is_lost(status: &Status) -> bool {
    broke(status)
}

/// What the dialer said, if it is a cause of this error.
pub(crate) fn dial_failure(error: &(dyn Error + 'static)) -> Option<Failure> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(DialError(failure)) = error.downcast_ref() {
            return Some(failure.clone());
        }
        cause = error.source();
    }
    None
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
            _ => return Err(bad("it begins with neither http:// nor https://".into())),
        };
        if uri.host().is_none_or(str::is_empty) {
            return Err(bad("it names no host".into()));
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
