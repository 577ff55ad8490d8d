//! Certificates: loading them, and the rule when they must be there.
//!
//! rustls with aws-lc-rs, through tonic. What a connection carries is none of this file's business.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};
use windrow_model::{Code, Failure};

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

    pub(crate) fn config(&self) -> Result<ServerTlsConfig, Failure> {
        Ok(ServerTlsConfig::new().identity(Identity::from_pem(read(&self.cert)?, read(&self.key)?)))
    }
}

/// What a client checks a server's certificate against.
pub(crate) fn client_config(ca: Option<&Path>) -> Result<ClientTlsConfig, Failure> {
    Ok(match ca {
        Some(ca) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?)),
        None => ClientTlsConfig::new().with_enabled_roots(),
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|e| Failure::new(Code::IoError, format!("cannot read {}: {e}", path.display())))
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
