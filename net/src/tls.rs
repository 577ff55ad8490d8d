//! Certificates: loads them for a server, sets whom a caller trusts, and decides when they are required.
//!
//! Uses rustls with aws-lc-rs. Knows nothing of the contents of a connection.

use crate::{SETTING_BYTES_MAX, read_setting};
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ClientConfig, Resumption, WebPkiServerVerifier};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ServerConfig;
use rustls::{CertificateError, Error as TlsError, RootCertStore};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use windrow_model::{Code, Escape, Failure};

/// ALPN name that a caller with a token and a server with a certificate agree on: a proof, then HTTP/2.
pub(crate) const PROVEN: &[u8] = b"windrow-token/1";
/// ALPN name of HTTP/2 without a proof; calls carry the token. For other tools, and for proxies that terminate TLS.
pub(crate) const HTTP2: &[u8] = b"h2";
/// ALPN name of HTTP/1.1, for the page.
const HTTP1: &[u8] = b"http/1.1";

/// The certificate files of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// Path of the certificate chain, PEM.
    pub cert: PathBuf,
    /// Path of its private key, PEM.
    pub key: PathBuf,
    /// Path of the authority that signed it, PEM; recorded for clients of this user.
    pub ca: Option<PathBuf>,
}

impl ServerTls {
    /// From three optional flags; all absent means no TLS.
    ///
    /// # Errors
    /// `BAD_REQUEST` for a certificate without a key, or a key without a certificate.
    pub fn from_flags(
        cert: Option<PathBuf>,
        key: Option<PathBuf>,
        ca: Option<PathBuf>,
    ) -> Result<Option<ServerTls>, Failure> {
        match (cert, key) {
            (Some(cert), Some(key)) => Ok(Some(ServerTls { cert, key, ca })),
            (None, None) if ca.is_none() => Ok(None),
            _ => Err(Failure::new(Code::BadRequest, "--tls-cert and --tls-key must be given together")),
        }
    }

    /// Reads the files, and verifies that the certificate is valid now, as far as `ca` can tell: a server that no caller can
    /// use must not start. Callers judge the name and the authority of the certificate. Blocks.
    ///
    /// # Errors
    /// A file cannot be used; or the certificate is not valid at this time (`CERTIFICATE_EXPIRED`).
    pub fn check(&self, ca: Option<&Path>) -> Result<(), Failure> {
        self.config()?;
        let Some(ca) = ca else { return Ok(()) };
        let unusable = |e: String| Failure::new(Code::BadRequest, format!("cannot use {}: {e}", ca.escaped()));
        let verifier = WebPkiServerVerifier::builder_with_provider(own_roots(ca)?, Arc::new(default_provider()))
            .build()
            .map_err(|e| unusable(e.to_string()))?;
        let chain = certificates(&self.cert)?;
        let Some((own, others)) = chain.split_first() else { return Ok(()) };
        // The verifier checks validity before names.
        let name = ServerName::try_from("localhost").map_err(|e| unusable(e.to_string()))?;
        match verifier.verify_server_cert(own, others, &name, &[], UnixTime::now()) {
            Err(TlsError::InvalidCertificate(e)) if is_untimely(&e) => Err(Failure::new(
                Code::CertificateExpired,
                format!("the certificate {} is not valid at this time: {e}", self.cert.escaped()),
            )),
            _ => Ok(()),
        }
    }

    /// The TLS settings of a server of HTTP/1.1 with these files, for browsers. Reads the files.
    ///
    /// # Errors
    /// A file cannot be used.
    pub fn http_config(&self) -> Result<ServerConfig, Failure> {
        let mut config = self.config()?;
        config.alpn_protocols = vec![HTTP1.to_vec()];
        Ok(config)
    }

    /// The TLS settings of a server with these files.
    pub(crate) fn config(&self) -> Result<ServerConfig, Failure> {
        let chain = certificates(&self.cert)?;
        let unusable = |path: &Path, why: String| {
            Failure::new(Code::BadRequest, format!("cannot use the TLS key {}: {why}", path.escaped()))
        };
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key)?)
            .map_err(|e| unusable(&self.key, format!("not a private key in PEM: {e}")))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(tls_failed)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|e| unusable(&self.key, format!("it does not belong to {}: {e}", self.cert.escaped())))?;
        config.alpn_protocols = vec![PROVEN.to_vec(), HTTP2.to_vec()];
        config.send_tls13_tickets = 0;
        Ok(config)
    }
}

/// The TLS settings of a caller of a server with a certificate: trusts the authority in `ca`, or those that this
/// machine trusts. Offers a proof only if the caller has a token.
pub(crate) fn client_config(ca: Option<&Path>, proves: bool) -> Result<ClientConfig, Failure> {
    let roots = match ca {
        Some(ca) => own_roots(ca)?,
        None => public_roots()?,
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(tls_failed)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = match proves {
        true => vec![PROVEN.to_vec(), HTTP2.to_vec()],
        false => vec![HTTP2.to_vec()],
    };
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Returns whether a certificate is expired or not valid yet.
pub(crate) fn is_untimely(e: &CertificateError) -> bool {
    matches!(
        e,
        CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. }
    )
}

fn own_roots(ca: &Path) -> Result<Arc<RootCertStore>, Failure> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots
            .add(certificate)
            .map_err(|e| Failure::new(Code::BadRequest, format!("cannot use the authority {}: {e}", ca.escaped())))?;
    }
    Ok(Arc::new(roots))
}

/// The authorities that this machine trusts (`SSL_CERT_FILE`, `SSL_CERT_DIR` or the system's store), read once.
fn public_roots() -> Result<Arc<RootCertStore>, Failure> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(roots)
    });
    if roots.is_empty() {
        let message = "this machine has no certificates of public authorities, and no --tls-ca is given";
        return Err(Failure::new(Code::CertificateNotTrusted, message));
    }
    Ok(roots.clone())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let bytes = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(Failure::new(Code::BadRequest, format!("no certificate in PEM in {}", path.escaped()))),
        Err(e) => Err(Failure::new(Code::BadRequest, format!("{} is not PEM: {e}", path.escaped()))),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    read_setting(path, SETTING_BYTES_MAX)
        .map_err(|e| Failure::new(Code::IoError, format!("cannot read {}: {e}", path.escaped())))
}

pub(crate) fn tls_failed(e: TlsError) -> Failure {
    Failure::new(Code::Internal, format!("TLS cannot be set up: {e}"))
}

/// Checks that an address that other machines can reach has TLS and a token, unless the user has declared the network
/// trusted.
///
/// # Errors
/// `INSECURE` with what is missing.
pub fn check_listen(addr: SocketAddr, tls: bool, token: bool, insecure: bool) -> Result<(), Failure> {
    if addr.ip().is_loopback() || insecure || (tls && token) {
        return Ok(());
    }
    let lacks = match (tls, token) {
        (false, false) => "neither TLS nor a token",
        (false, true) => "no TLS",
        _ => "no token",
    };
    Err(Failure::new(Code::Insecure, format!("{addr} can be reached from other machines, and there is {lacks}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_open_without_tls_and_token() {
        for (addr, tls, token, insecure, fine) in [
            ("127.0.0.1:1", false, true, false, true),
            ("127.9.9.9:1", false, false, false, true),
            ("[::1]:1", false, true, false, true),
            ("0.0.0.0:1", false, true, false, false),
            ("[::]:1", false, true, false, false),
            ("10.0.0.1:1", true, false, false, false),
            ("10.0.0.1:1", true, true, false, true),
            ("10.0.0.1:1", false, true, true, true),
        ] {
            let result = check_listen(addr.parse().unwrap(), tls, token, insecure);
            assert_eq!(result.is_ok(), fine, "{addr} {tls} {token} {insecure}");
            if let Err(failure) = result {
                assert_eq!(failure.code, Code::Insecure);
            }
        }
    }

    #[test]
    fn certificate_without_its_key_is_refused() {
        assert_eq!(ServerTls::from_flags(None, None, None), Ok(None));
        assert!(ServerTls::from_flags(Some("c".into()), None, None).is_err());
        assert!(ServerTls::from_flags(None, None, Some("ca".into())).is_err());
        assert!(ServerTls::from_flags(Some("c".into()), Some("k".into()), None).unwrap().is_some());
    }
}
