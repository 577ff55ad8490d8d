//! The server side of a handshake: detects TLS, and verifies the caller's proof of the token.
//!
//! A TLS connection gets a handshake with the server's certificate, or with the key derived from the token
//! (`crate::sealed`); in both cases the caller's proof comes first inside. Any other connection is HTTP/2 in the clear,
//! on which only greeting and health calls are answered; a server with a certificate closes it.

use crate::admission::Ticket;
use crate::link::Wire;
use crate::sealed;
use crate::sealed::SEALED;
use crate::tls::{PROVEN, ServerTls, tls_failed};
use crate::token::Token;
use crate::token_key::{EXPORTER_LABEL, PROOF_BYTES, Role, proves};
use rustls::server::{Acceptor, ServerConfig};
use std::io;
use std::sync::Arc;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use windrow_model::Failure;

/// The first byte of a TLS handshake.
const TLS_HANDSHAKE: u8 = 0x16;

/// The handshake settings of a server.
#[derive(Clone)]
pub(crate) struct Handshake {
    token: Option<Token>,
    config: Option<Arc<ServerConfig>>,
    certified: bool,
}

impl Handshake {
    /// Settings for a server of this role. Without a token no proof is needed.
    pub(crate) fn new(role: Role, token: Option<Token>, tls: Option<&ServerTls>) -> Result<Handshake, Failure> {
        let config: Option<ServerConfig> = match (tls, &token) {
            (Some(tls), _) => Some(tls.config()?),
            (None, Some(token)) => Some(sealed::server_config(token, role).map_err(tls_failed)?),
            (None, None) => None,
        };
        Ok(Handshake { token, config: config.map(Arc::new), certified: tls.is_some() })
    }

    /// Runs the handshake; returns the stream for HTTP/2, and whether the caller has proven the token.
    /// `ticket` gets to know when the caller has sent its greeting.
    pub(crate) async fn take(&self, stream: TcpStream, ticket: &Ticket) -> io::Result<(Wire, bool)> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some(config) = self.config.as_ref().filter(|_| first[0] == TLS_HANDSHAKE) else {
            return match self.certified {
                true => Err(io::ErrorKind::InvalidData.into()),
                false => Ok((Wire::Plain(stream), self.token.is_none())),
            };
        };
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        ticket.greet();
        let mut stream = start.into_stream(config.clone()).await?;
        let proof_follows = stream.get_ref().1.alpn_protocol().is_some_and(|name| name == SEALED || name == PROVEN);
        let mut proven = self.token.is_none();
        if proof_follows {
            let mut given = [0; PROOF_BYTES];
            stream.read_exact(&mut given).await?;
            let exported = stream.get_ref().1.export_keying_material([0; 32], EXPORTER_LABEL, None);
            let exported = exported.map_err(io::Error::other)?;
            proven |= self.token.as_ref().is_some_and(|token| proves(token, &exported, &given));
        }
        Ok((Wire::Tls(Box::new(stream)), proven))
    }
}
