//! The secret by which a caller proves that it belongs to the cluster: 32 random bytes as hex, in a file that only its
//! owner can read.
//!
//! It is made once, at a coordinator's first start. It is never printed: `Debug` hides it.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use subtle::ConstantTimeEq;
use windrow_format::{durable, regular_file};
use windrow_model::{Code, Escape, Failure};

/// Most bytes of a token file.
const LENGTH_MAX: u64 = 4096;

/// A cluster's token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Reads the token from `path`, or creates one there if the file does not exist. Two processes that do this at the
    /// same time get the same token.
    ///
    /// # Errors
    /// The file cannot be read or created, is readable by others, or holds no token.
    pub fn read_or_make(path: &Path) -> Result<Token, Failure> {
        match fs::symlink_metadata(path) {
            Ok(_) => Token::read(path),
            Err(e) if e.kind() == ErrorKind::NotFound => Token::make(path),
            Err(e) => Err(unreadable(path, &e.to_string())),
        }
    }

    /// Reads the token from a file that only its owner can read or write.
    ///
    /// # Errors
    /// `UNAUTHORISED` if the file cannot be read, is accessible to others, or holds no token.
    pub fn read(path: &Path) -> Result<Token, Failure> {
        let file = regular_file::open(path).map_err(|e| unreadable(path, &e.to_string()))?;
        let meta = file.metadata().map_err(|e| unreadable(path, &e.to_string()))?;
        if meta.mode() & 0o077 != 0 {
            let what = format!("others may read or write it: run `chmod 600 {}`", path.escaped());
            return Err(unreadable(path, &what));
        }
        let mut text = String::new();
        file.take(LENGTH_MAX + 1).read_to_string(&mut text).map_err(|e| unreadable(path, &e.to_string()))?;
        if text.len() as u64 > LENGTH_MAX {
            return Err(unreadable(path, &format!("it has more than {LENGTH_MAX} bytes")));
        }
        Token::parse(&text).ok_or_else(|| unreadable(path, "it does not hold a token"))
    }

    /// Parses a token: at least 16 characters of printable ASCII without spaces.
    pub fn parse(text: &str) -> Option<Token> {
        let text = text.trim();
        let printable = text.bytes().all(|b| b.is_ascii_graphic());
        (text.len() >= 16 && printable).then(|| Token(text.to_string()))
    }

    /// The secret itself, for key derivation, and for the metadata of calls under a trusted certificate.
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// Compares in constant time.
    pub fn matches(&self, given: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(given).into()
    }

    fn make(path: &Path) -> Result<Token, Failure> {
        let bytes: [u8; 32] =
            durable::random().map_err(|e| unwritable(path, &format!("the system has no random bytes: {e}")))?;
        let secret: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        // Written to another name and linked, so that a reader never sees half a token and the first of two writers
        // wins.
        let aside = beside(path);
        let written = write_private(&aside, secret.as_bytes()).and_then(|()| match fs::hard_link(&aside, path) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
            other => other,
        });
        let _ = fs::remove_file(&aside);
        written.map_err(|e| unwritable(path, &e.to_string()))?;
        Token::read(path)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Writes a new file of mode 0600 and syncs it.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// A name in the same folder that no other process uses.
pub(crate) fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.new", std::process::id()));
    path.with_file_name(name)
}

fn unreadable(path: &Path, why: &str) -> Failure {
    Failure::new(Code::Unauthorised, format!("cannot read the token file {}: {why}", path.escaped()))
}

fn unwritable(path: &Path, why: &str) -> Failure {
    Failure::new(Code::IoError, format!("cannot make the token file {}: {why}", path.escaped()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn token_is_made_once_and_readable_by_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let made = Token::read_or_make(&path).unwrap();
        assert_eq!(made.secret().len(), 64);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(Token::read_or_make(&path).unwrap(), made);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn token_readable_by_others_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        Token::read_or_make(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let failure = Token::read(&path).unwrap_err();
        assert_eq!(failure.code, Code::Unauthorised);
        assert!(failure.message.contains("chmod 600"));
    }

    #[test]
    fn pipe_in_place_of_a_token_is_an_error_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        for failure in [Token::read(&path).unwrap_err(), Token::read_or_make(&path).unwrap_err()] {
            assert!(failure.message.contains("not a regular file"), "{failure}");
        }
    }

    #[test]
    fn only_equal_bytes_match_and_debug_hides_them() {
        let token = Token::parse("0123456789abcdef0123").unwrap();
        assert!(token.matches(b"0123456789abcdef0123"));
        assert!(!token.matches(b"0123456789abcdef012"));
        assert!(!token.matches(b"0123456789abcdef0124"));
        assert!(!format!("{token:?}").contains("0123"));
        assert!(Token::parse("short").is_none());
        assert!(Token::parse("0123456789 abcdef0123").is_none());
    }
}
