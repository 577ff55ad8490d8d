//! Secrets of sessions, codes and tokens: random bytes as hex. The process keeps only digests of them, so that a look-up
//! compares no secret byte by byte, and a file of digests gives no access.

use std::fmt;
use std::io;
use windrow_format::durable;

/// A secret. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A new one of 128 bits.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub(crate) fn random() -> io::Result<Secret> {
        let bytes: [u8; 16] = durable::random()?;
        Ok(Secret(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    /// The same with a text before it.
    pub(crate) fn prefixed(prefix: &str, secret: &Secret) -> Secret {
        Secret(format!("{prefix}{}", secret.0))
    }

    /// The text that its holder sends.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn digest(&self) -> SecretDigest {
        SecretDigest::of(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The digest under which a secret is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SecretDigest([u8; 32]);

impl SecretDigest {
    pub(crate) fn of(text: &str) -> SecretDigest {
        SecretDigest(blake3::derive_key("windrow 2026 secrets of the page", text.as_bytes()))
    }

    pub(crate) fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The text that forms of a session carry, so that another site cannot send them: derived from the session's secret,
/// which that site cannot read either.
pub(crate) fn form_key(session: &str) -> String {
    let key = blake3::derive_key("windrow 2026 forms of the page", session.as_bytes());
    key[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}
