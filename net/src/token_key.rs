//! Proofs of a token that do not send it: keys derived from the token, and the proof of a caller.
//!
//! A server of a cluster has an Ed25519 key that is derived from the token and the server's role, so each side that
//! knows the token knows the key, and only such a side can sign the TLS handshake with it. A caller proves possession
//! by a keyed hash (BLAKE3) of the handshake's exported secret (RFC 5705). Both are worthless on another connection: a
//! program between the two ends has two handshakes with different secrets. A token that is short enough to be guessed
//! can be guessed by a program that takes part in a handshake; tokens made by coordinators have 256 bits.

use crate::token::Token;
use rustls::Error as TlsError;
use rustls::crypto::aws_lc_rs::sign::any_eddsa_type;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// Bytes of a caller's proof.
pub(crate) const PROOF_BYTES: usize = 32;
/// Label of the exported secret, which separates it from those of other protocols.
pub(crate) const EXPORTER_LABEL: &[u8] = b"EXPORTER-windrow-token-1";
/// Prefix of an Ed25519 private key in PKCS #8 (RFC 8410); its 32 bytes follow.
const PKCS8_HEAD: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// The kind of server that a caller expects. The servers of a cluster share one token, so the role is part of the key:
/// a worker cannot impersonate the coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The server that accepts jobs.
    Coordinator,
    /// A server for peers.
    Worker,
}

impl Role {
    /// The name in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Coordinator => "coordinator",
            Role::Worker => "worker",
        }
    }

    fn context(self) -> &'static str {
        match self {
            Role::Coordinator => "windrow 2026 key of a coordinator",
            Role::Worker => "windrow 2026 key of a worker",
        }
    }
}

/// The key pair of a server of this role.
pub(crate) fn server_key(token: &Token, role: Role) -> Result<Arc<CertifiedKey>, TlsError> {
    let seed = blake3::derive_key(role.context(), token.secret().as_bytes());
    let mut pkcs8 = PKCS8_HEAD.to_vec();
    pkcs8.extend_from_slice(&seed);
    let key = any_eddsa_type(&PrivatePkcs8KeyDer::from(pkcs8))?;
    let public = key.public_key().map(|spki| spki.to_vec());
    let public = public.ok_or_else(|| TlsError::General("a key of Ed25519 has no public half".into()))?;
    Ok(Arc::new(CertifiedKey::new(vec![CertificateDer::from(public)], key)))
}

/// The proof that the caller of a handshake with this exported secret sends.
pub(crate) fn proof(token: &Token, exported: &[u8; 32]) -> [u8; PROOF_BYTES] {
    let key = blake3::derive_key("windrow 2026 proof of a caller", token.secret().as_bytes());
    *blake3::keyed_hash(&key, exported).as_bytes()
}

/// Returns whether `given` is the proof for this handshake, in constant time.
pub(crate) fn proves(token: &Token, exported: &[u8; 32], given: &[u8; PROOF_BYTES]) -> bool {
    proof(token, exported).ct_eq(given).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(token: &str, role: Role) -> Vec<u8> {
        server_key(&Token::parse(token).unwrap(), role).unwrap().cert[0].to_vec()
    }

    #[test]
    fn keys_differ_by_token_and_by_role() {
        let (one, other) = ("0123456789abcdef", "0123456789abcdee");
        assert_eq!(public(one, Role::Worker), public(one, Role::Worker));
        assert_ne!(public(one, Role::Worker), public(one, Role::Coordinator));
        assert_ne!(public(one, Role::Worker), public(other, Role::Worker));
    }

    #[test]
    fn proof_holds_for_one_token_and_one_handshake() {
        let (token, other) = (Token::parse("0123456789abcdef").unwrap(), Token::parse("0123456789abcdee").unwrap());
        let given = proof(&token, &[1; 32]);
        assert!(proves(&token, &[1; 32], &given));
        assert!(!proves(&token, &[2; 32], &given));
        assert!(!proves(&other, &[1; 32], &given));
    }
}
