//! Opens one connection: TCP, the kind of TLS that the URL requires, and the proof that the caller has the token.
//!
//! This module never sends the token itself. Each kind of failure has an error of its own, because each has another
//! remedy.

use crate::access::Access;
use crate::contact::Contact;
use crate::dial_error::DialError;
use crate::token::Token;
use crate::token_key::{EXPORTER_LABEL, Role, proof};
use crate::{sealed, tls};
use hyper_util::rt::TokioIo;
use rustls::client::ClientConfig;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, Error as TlsError};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use windrow_model::{Code, Failure};

/// Timeout of the TCP and TLS handshakes together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens connections to one URL.
#[derive(Clone)]
pub(crate) struct Dialer {
    url: Arc<str>,
    host: Arc<str>,
    port: u16,
    role: Role,
    security: Security,
    contact: Contact,
}

#[derive(Clone)]
enum Security {
    /// No token: HTTP/2 in the clear.
    Open,
    /// `http://`: both ends prove the token.
    Sealed(Arc<ClientConfig>, Token),
    /// `https://`: a certificate, and the caller's proof.
    Certified(Arc<ClientConfig>, Option<Token>, ServerName<'static>),
}

impl Dialer {
    /// A dialer for a server of this role at `uri`, whose scheme is `https` if `secure` is set, else `http`.
    pub(crate) fn new(
        uri: &http::Uri,
        secure: bool,
        role: Role,
        access: &Access,
        contact: &Contact,
    ) -> Result<Dialer, Failure> {
        let url: Arc<str> = uri.to_string().trim_end_matches('/').into();
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let security = match (&access.token, secure) {
            (token, true) => {
                let name = ServerName::try_from(host.to_string())
                    .map_err(|_| Failure::new(Code::BadRequest, format!("invalid host name `{host}` in {url}")))?;
                let config = tls::client_config(access.ca.as_deref(), token.is_some())?;
                Security::Certified(Arc::new(config), token.clone(), name)
            }
            (Some(token), false) => {
                let config = sealed::client_config(token, role).map_err(tls::tls_failed)?;
                Security::Sealed(Arc::new(config), token.clone())
            }
            (None, false) => Security::Open,
        };
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        Ok(Dialer { url, host: host.into(), port, role, security, contact: contact.clone() })
    }

    /// Opens one connection, ready for HTTP/2.
    async fn dial(self) -> Result<Wire, DialError> {
        let url = &self.url;
        let late = |_| DialError(Failure::new(Code::Unreachable, format!("{url} does not answer within the timeout")));
        tokio::time::timeout(CONNECT_TIMEOUT, self.connect()).await.map_err(late)?.map_err(DialError)
    }

    async fn connect(&self) -> Result<Wire, Failure> {
        let tcp = TcpStream::connect((&*self.host, self.port)).await.and_then(crate::link::prepare);
        let tcp = tcp.map_err(|e| Failure::new(Code::Unreachable, format!("{} does not answer: {e}", self.url)))?;
        match &self.security {
            Security::Open => Ok(Wire::Plain(tcp)),
            Security::Sealed(config, token) => {
                // The name is not checked: the key is.
                let name = ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
                let stream = self.handshake(config, name, tcp).await.map_err(|e| self.not_sealed(&e))?;
                self.prove(token, stream).await
            }
            Security::Certified(config, token, name) => {
                let stream = self.handshake(config, name.clone(), tcp).await.map_err(|e| self.not_certified(&e))?;
                match token {
                    Some(token) if stream.get_ref().1.alpn_protocol() == Some(tls::PROVEN) => {
                        self.prove(token, stream).await
                    }
                    _ => Ok(Wire::Tls(Box::new(stream))),
                }
            }
        }
    }

    async fn handshake(
        &self,
        config: &Arc<ClientConfig>,
        name: ServerName<'static>,
        tcp: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        TlsConnector::from(config.clone()).connect(name, tcp).await
    }

    /// Sends the proof with the end of the handshake, and does not wait for an answer.
    async fn prove(&self, token: &Token, mut stream: TlsStream<TcpStream>) -> Result<Wire, Failure> {
        self.contact.make();
        let exported =
            stream.get_ref().1.export_keying_material([0; 32], EXPORTER_LABEL, None).map_err(tls::tls_failed)?;
        let broke = |e| Failure::new(Code::Unreachable, format!("{} broke the connection: {e}", self.url));
        stream.write_all(&proof(token, &exported)).await.map_err(broke)?;
        Ok(Wire::Tls(Box::new(stream)))
    }

    fn not_sealed(&self, error: &io::Error) -> Failure {
        let (url, role) = (&self.url, self.role.as_str());
        match tls_error(error) {
            Some(TlsError::InvalidCertificate(CertificateError::ApplicationVerificationFailure)) => Failure::new(
                Code::Unauthorised,
                format!(
                    "the server at {url} is not a {role} with this token: the token belongs to another cluster, or \
                     another program has the port"
                ),
            ),
            Some(TlsError::AlertReceived(AlertDescription::NoApplicationProtocol)) => Failure::new(
                Code::BadRequest,
                format!("the {role} at {url} uses TLS with a certificate: use a URL that begins with https://"),
            ),
            None if is_cut(error) => self.cut(error),
            _ => Failure::new(
                Code::Unreachable,
                format!(
                    "the server at {url} does not prove that it has the token, as a {role} of this release does: {error}"
                ),
            ),
        }
    }

    fn not_certified(&self, error: &io::Error) -> Failure {
        let (url, role) = (&self.url, self.role.as_str());
        let failure = |code, what: &str| Failure::new(code, format!("the certificate of {url} {what}: {error}"));
        match tls_error(error) {
            Some(TlsError::InvalidCertificate(why)) => match why {
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                    failure(Code::CertificateWrongName, "is for another name")
                }
                e if tls::is_untimely(e) => failure(Code::CertificateExpired, "is not valid at this time"),
                _ => failure(Code::CertificateNotTrusted, "is not trusted"),
            },
            Some(TlsError::AlertReceived(AlertDescription::NoApplicationProtocol)) => Failure::new(
                Code::BadRequest,
                format!("the {role} at {url} has no certificate: use a URL that begins with http://"),
            ),
            None if is_cut(error) => self.cut(error),
            _ => Failure::new(Code::Unreachable, format!("the server at {url} does not use TLS: {error}")),
        }
    }

    /// The failure of a connection that was closed during the handshake. It proves nothing about the other side: a server
    /// that is stopping or starting, or has too many connections, also closes them.
    fn cut(&self, error: &io::Error) -> Failure {
        self.contact.note_cut();
        let (url, role) = (&self.url, self.role.as_str());
        let what = format!(
            "the connection to {url} was closed during the handshake: the {role} may be stopping, or have too many connections"
        );
        Failure::new(Code::Unreachable, format!("{what}: {error}"))
    }
}

/// Returns whether the other side closed the connection without a protocol error.
fn is_cut(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe)
}

fn tls_error(error: &io::Error) -> Option<&TlsError> {
    error.get_ref()?.downcast_ref()
}

impl tower::Service<http::Uri> for Dialer {
    type Response = TokioIo<Wire>;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, DialError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let dialer = self.clone();
        Box::pin(async move { dialer.dial().await.map(TokioIo::new) })
    }
}

/// The stream of a caller's connection.
pub(crate) enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

macro_rules! either {
    ($self:ident, $io:ident => $does:expr) => {
        match $self.get_mut() {
            Wire::Plain(io) => {
                let $io = Pin::new(io);
                $does
            }
            Wire::Tls(io) => {
                let $io = Pin::new(io);
                $does
            }
        }
    };
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self, io => io.poll_read(cx, into))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, io => io.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self, io => io.poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Wire::Plain(io) => io.is_write_vectored(),
            Wire::Tls(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, io => io.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, io => io.poll_shutdown(cx))
    }
}
