//! TLS without certificates, for `http://` URLs: both ends prove that they have the cluster's token.
//!
//! The server shows a raw public key (RFC 7250) derived from the token, see [`crate::token_key`]; the caller sends its
//! proof as the first bytes inside. Nothing that a program learns in such a handshake helps it in another one. TLS 1.3
//! only.

use crate::token::Token;
use crate::token_key::{Role, server_key};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider};
use rustls::crypto::{CryptoProvider, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, ServerConfig};
use rustls::version::TLS13;
use rustls::{CertificateError, DigitallySignedStruct, Error as TlsError, PeerIncompatible, SignatureScheme};
use std::sync::Arc;

/// ALPN name of this mode: a proof, then HTTP/2. It differs from the name that servers with a certificate use, so that
/// `http://` to one of those is distinguished from a wrong token.
pub(crate) const SEALED: &[u8] = b"windrow-sealed/1";

/// TLS settings of a server with this token.
pub(crate) fn server_config(token: &Token, role: Role) -> Result<ServerConfig, TlsError> {
    let key = server_key(token, role)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(key)));
    config.alpn_protocols = vec![SEALED.to_vec()];
    // Connections live long; tickets would cost a message each.
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// TLS settings of a caller with this token, for a server of that role.
pub(crate) fn client_config(token: &Token, role: Role) -> Result<ClientConfig, TlsError> {
    let expected = server_key(token, role)?.cert[0].to_vec();
    let provider = provider();
    let verifier = TokenVerifier { expected, provider: provider.clone() };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![SEALED.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Ok(config)
}

/// The cheapest suite first, because segments may be sent here.
fn provider() -> Arc<CryptoProvider> {
    let suites = vec![cipher_suite::TLS13_AES_128_GCM_SHA256, cipher_suite::TLS13_CHACHA20_POLY1305_SHA256];
    Arc::new(CryptoProvider { cipher_suites: suites, ..default_provider() })
}

/// Accepts exactly one key.
#[derive(Debug)]
struct TokenVerifier {
    expected: Vec<u8>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for TokenVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        if end_entity.as_ref() == self.expected {
            return Ok(ServerCertVerified::assertion());
        }
        Err(TlsError::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        Err(TlsError::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        let key = SubjectPublicKeyInfoDer::from(cert.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
