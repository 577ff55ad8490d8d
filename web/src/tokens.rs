//! Tokens for programs: named, of one role, with an expiry, revocable. A private file keeps their digests, so they hold
//! over a restart; the tokens themselves are shown once and kept nowhere.
//!
//! The file is JSON, `{"version": 1, "tokens": [{"id", "role", "name", "digest", "expires_unix_ms"}]}`, replaced as a
//! whole. All calls that change it block on the disk.

use crate::secret::{Secret, SecretDigest};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use windrow_format::durable::{self, Durability};
use windrow_format::regular_file;
use windrow_model::{Code, Escape, Failure, PageRole, PageToken};

/// The version of the file.
const VERSION: u32 = 1;
/// Most bytes of the file.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Most valid tokens.
pub(crate) const TOKENS_MAX: usize = 256;
/// Most bytes of the name of a token.
const NAME_BYTES_MAX: usize = 100;
/// The longest validity in milliseconds: 366 days.
pub(crate) const VALID_MS_MAX: u64 = 366 * 24 * 3600 * 1000;
/// Begins every token, so that scanners for leaked secrets can find it.
const PREFIX: &str = "wdp_";

/// A row of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TokenRecord {
    id: String,
    role: PageRole,
    name: String,
    digest: String,
    expires_unix_ms: u64,
}

impl From<&TokenRecord> for PageToken {
    fn from(record: &TokenRecord) -> PageToken {
        let TokenRecord { id, role, name, digest: _, expires_unix_ms } = record.clone();
        PageToken { id, role, name, expires_unix_ms }
    }
}

#[derive(Serialize, Deserialize)]
struct File {
    version: u32,
    tokens: Vec<TokenRecord>,
}

/// The tokens of one coordinator.
#[derive(Debug)]
pub(crate) struct Tokens {
    path: PathBuf,
    all: Vec<TokenRecord>,
}

impl Tokens {
    /// Reads the file; it need not exist.
    ///
    /// # Errors
    /// `IO_ERROR` if it cannot be read, or was written by a later release.
    pub(crate) fn open(path: PathBuf) -> Result<Tokens, Failure> {
        let bytes = match regular_file::read(&path, FILE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Tokens { path, all: Vec::new() }),
            Err(e) => return Err(unusable(&path, &e.to_string())),
        };
        let file: File = serde_json::from_slice(&bytes).map_err(|e| unusable(&path, &e.to_string()))?;
        if file.version != VERSION {
            return Err(unusable(&path, &format!("it has version {}, not {VERSION}", file.version)));
        }
        Ok(Tokens { path, all: file.tokens })
    }

    /// Makes a token. It counts when the file holds it.
    ///
    /// # Errors
    /// `BAD_REQUEST` for a validity or a name that is too long, or too many tokens; `IO_ERROR`.
    pub(crate) fn issue(
        &mut self,
        role: PageRole,
        name: &str,
        valid_ms: u64,
        now_unix_ms: u64,
    ) -> Result<(Secret, PageToken), Failure> {
        let refuse = |what: String| Err(Failure::new(Code::BadRequest, what));
        if valid_ms == 0 || valid_ms > VALID_MS_MAX {
            return refuse("a token is valid for at most 366 days".into());
        }
        if name.len() > NAME_BYTES_MAX {
            return refuse(format!("the name of a token has more than {NAME_BYTES_MAX} bytes"));
        }
        let random = || Secret::random().map_err(|e| unusable(&self.path, &e.to_string()));
        let secret = Secret::prefixed(PREFIX, &random()?);
        let id = format!("token-{}", &random()?.as_str()[..12]);
        let record = TokenRecord {
            id,
            role,
            name: name.to_string(),
            digest: secret.digest().to_hex(),
            expires_unix_ms: now_unix_ms.saturating_add(valid_ms),
        };
        let mut all: Vec<TokenRecord> = self.valid(now_unix_ms).cloned().collect();
        if all.len() >= TOKENS_MAX {
            return refuse(format!("there are {TOKENS_MAX} valid tokens: revoke some"));
        }
        let token = PageToken::from(&record);
        all.push(record);
        self.replace(all)?;
        Ok((secret, token))
    }

    /// Ends a token. False if there is none with this id.
    ///
    /// # Errors
    /// `IO_ERROR`: then it may be valid again after a restart.
    pub(crate) fn revoke(&mut self, id: &str, now_unix_ms: u64) -> Result<bool, Failure> {
        let left: Vec<TokenRecord> = self.valid(now_unix_ms).filter(|token| token.id != id).cloned().collect();
        let found = self.valid(now_unix_ms).count() > left.len();
        // At once for this process, whatever the disk does.
        self.all.retain(|token| token.id != id);
        if found {
            self.replace(left)?;
        }
        Ok(found)
    }

    /// The valid tokens.
    pub(crate) fn valid(&self, now_unix_ms: u64) -> impl Iterator<Item = &TokenRecord> {
        self.all.iter().filter(move |token| token.expires_unix_ms > now_unix_ms)
    }

    /// The role of a valid token.
    pub(crate) fn role(&self, token: &str, now_unix_ms: u64) -> Option<PageRole> {
        let digest = SecretDigest::of(token).to_hex();
        self.valid(now_unix_ms).find(|token| token.digest == digest).map(|token| token.role)
    }

    fn replace(&mut self, all: Vec<TokenRecord>) -> Result<(), Failure> {
        let file = File { version: VERSION, tokens: all };
        let bytes = serde_json::to_vec_pretty(&file).map_err(|e| unusable(&self.path, &e.to_string()))?;
        durable::write_private(&self.path, &bytes, Durability::Sync)
            .map_err(|e| unusable(&self.path, &e.to_string()))?;
        self.all = file.tokens;
        Ok(())
    }
}

fn unusable(path: &Path, why: &str) -> Failure {
    Failure::new(Code::IoError, format!("cannot use the page's tokens in {}: {why}", path.escaped()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_expire_are_revoked_and_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("page_tokens.json");
        let mut tokens = Tokens::open(path.clone()).unwrap();
        let (view, record) = tokens.issue(PageRole::View, "scraper", 1000, 5).unwrap();
        let (steer, _) = tokens.issue(PageRole::Steer, "", 2000, 5).unwrap();
        let mut again = Tokens::open(path.clone()).unwrap();
        for tokens in [&tokens, &again] {
            assert_eq!(tokens.role(view.as_str(), 1004), Some(PageRole::View));
            assert_eq!(tokens.role(view.as_str(), 1005), None, "it has expired");
            assert_eq!(tokens.role(steer.as_str(), 1005), Some(PageRole::Steer));
            assert_eq!(tokens.role("wdp_", 6), None);
        }
        assert!(!String::from_utf8(std::fs::read(&path).unwrap()).unwrap().contains(&view.as_str()[4..]));
        assert_eq!(again.revoke(&record.id, 6), Ok(true));
        assert_eq!(again.revoke(&record.id, 6), Ok(false));
        assert_eq!(again.role(view.as_str(), 6), None);
        assert_eq!(Tokens::open(path).unwrap().role(view.as_str(), 6), None);
    }

    #[test]
    fn tokens_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let mut tokens = Tokens::open(folder.path().join("t")).unwrap();
        assert!(tokens.issue(PageRole::View, "", VALID_MS_MAX + 1, 0).is_err());
        assert!(tokens.issue(PageRole::View, &"n".repeat(101), 10, 0).is_err());
        tokens.all = (0..TOKENS_MAX)
            .map(|n| TokenRecord {
                id: n.to_string(),
                role: PageRole::View,
                name: String::new(),
                digest: n.to_string(),
                expires_unix_ms: 10,
            })
            .collect();
        assert_eq!(tokens.issue(PageRole::View, "", 10, 9).unwrap_err().code, Code::BadRequest);
        assert!(tokens.issue(PageRole::View, "", 10, 10).is_ok(), "expired ones do not count");
        std::fs::write(folder.path().join("t"), "{\"version\": 2, \"tokens\": []}").unwrap();
        assert!(Tokens::open(folder.path().join("t")).unwrap_err().message.contains("version 2"));
    }
}
