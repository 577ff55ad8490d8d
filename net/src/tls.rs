//! Certificates: loading them for a server, whom a caller trusts, and the rule when they must be there.
//!
//! rustls with aws-lc-rs. What a connection carries is none of this file's business.

use crate::setting_file::{SETTING_BYTES_MAX, read_setting};
use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ServerConfig;
use rustls::{Error as TlsError, RootCertStore};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use windrow_model::{Code, Escape, Failure};

/// What a caller with a token and a server with a certificate agree on (ALPN): a proof, then HTTP/2.
pub(crate) const PROVEN: &[u8] = b"windrow-token/1";
/// HTTP/2 from the first byte; calls carry the token. For other tools, and for proxies that end TLS.
pub(crate) const HTTP2: &[u8] = b"h2";

/// Files of a server that speaks TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// Certificate chain, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// The authority that signed it, PEM: what clients of this user are told to check against.
    pub ca: Option<PathBuf>,
}

impl ServerTls {
    /// From three optional flags: all absent is no TLS; a certificate without key is a mistake.
    pub fn from_flags(
        cert: Option<PathBuf>,
        key: Option<PathBuf>,
        ca: Option<PathBuf>,
    ) -> Result<Option<ServerTls>, Failure> {
        match (cert, key) {
            (Some(cert), Some(key)) => Ok(Some(ServerTls { cert, key, ca })),
            (None, None) if ca.is_none() => Ok(None),
            _ => Err(Failure::new(Code::BadRequest, "--tls-cert and --tls-key come together")),
        }
    }

    /// How a server with these files answers handshakes.
    pub(crate) fn config(&self) -> Result<ServerConfig, Failure> {
        let chain = certificates(&self.cert)?;
        let unusable = |path: &Path, why: String| {
            Failure::new(Code::BadRequest, format!("cannot use the TLS key {}: {why}", path.escaped()))
        };
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key)?)
            .map_err(|e| unusable(&self.key, format!("it is no private key in PEM: {e}")))?;
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

/// How a caller checks a server with a certificate: against the authority in `ca`, or against those that this machine
/// trusts. Only with a token does it offer to prove that it has one.
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

fn own_roots(ca: &Path) -> Result<Arc<RootCertStore>, Failure> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots
            .add(certificate)
            .map_err(|e| Failure::new(Code::BadRequest, format!("cannot use the authority {}: {e}", ca.escaped())))?;
    }
    Ok(Arc::new(roots))
}

/// What this machine trusts (`SSL_CERT_FILE`, `SSL_CERT_DIR` or the system's own store), read once.
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
        Ok(_) => Err(Failure::new(Code::BadRequest, format!("{} has no certificate in PEM", path.escaped()))),
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

/// An address that other machines reach needs TLS and a token, unless the user says that the network is trusted.
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
    fn a_certificate_without_its_key_is_refused() {
        assert_eq!(ServerTls::from_flags(None, None, None), Ok(None));
        assert!(ServerTls::from_flags(Some("c".into()), None, None).is_err());
        assert!(ServerTls::from_flags(None, None, Some("ca".into())).is_err());
        assert!(ServerTls::from_flags(Some("c".into()), Some("k".into()), None).unwrap().is_some());
    }
}
