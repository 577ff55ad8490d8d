//! Who may use the page: codes, sessions and tokens behind one lock, with the clocks of the process. The page's thread
//! asks it for every request; the coordinator's calls issue and revoke.

use crate::secret::{Secret, SecretDigest, form_key};
use crate::sign_in::SignIns;
use crate::tokens::Tokens;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use windrow_model::{Code, Failure, PageRole, PageToken};
use windrow_net::Clock;

/// The keys of one page.
#[derive(Debug)]
pub struct Keys {
    clock: Clock,
    sign_ins: Mutex<SignIns>,
    tokens: Mutex<Tokens>,
}

/// A session that has begun.
#[derive(Debug)]
pub(crate) struct Session {
    pub secret: Secret,
}

/// A caller that has shown a valid key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub role: PageRole,
    /// Of a browser's session: what its forms must carry.
    pub form_key: Option<String>,
}

impl Keys {
    /// Reads the file of tokens. Blocks.
    ///
    /// # Errors
    /// `IO_ERROR` if the file is there and cannot be used.
    pub fn open(tokens: PathBuf) -> Result<Keys, Failure> {
        let tokens = Mutex::new(Tokens::open(tokens)?);
        Ok(Keys { clock: Clock::new(), sign_ins: Mutex::default(), tokens })
    }

    /// A new one-time code.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub fn new_code(&self, role: PageRole) -> Result<Secret, Failure> {
        let code = random()?;
        self.sign_ins().add_code(code.digest(), role, self.clock.now());
        Ok(code)
    }

    /// Uses up a code. `None` if it is unknown, used or expired.
    pub(crate) fn begin_session(&self, code: &str) -> Result<Option<Session>, Failure> {
        let secret = random()?;
        let began = self.sign_ins().begin(SecretDigest::of(code), secret.digest(), self.clock.now());
        Ok(began.map(|_| Session { secret }))
    }

    pub(crate) fn end_session(&self, secret: &str) {
        self.sign_ins().end(SecretDigest::of(secret));
    }

    pub(crate) fn of_session(&self, secret: &str) -> Option<Caller> {
        let role = self.sign_ins().role(SecretDigest::of(secret), self.clock.now())?;
        Some(Caller { role, form_key: Some(form_key(secret)) })
    }

    pub(crate) fn of_token(&self, token: &str) -> Option<Caller> {
        let role = self.tokens().role(token, unix_ms())?;
        Some(Caller { role, form_key: None })
    }

    /// Makes a token that is valid for `valid_ms` milliseconds. Blocks on the disk.
    ///
    /// # Errors
    /// `BAD_REQUEST` beyond the limits, `IO_ERROR`.
    pub fn issue(&self, role: PageRole, name: &str, valid_ms: u64) -> Result<(Secret, PageToken), Failure> {
        self.tokens().issue(role, name, valid_ms, unix_ms())
    }

    /// Ends a token. Blocks on the disk.
    ///
    /// # Errors
    /// `BAD_REQUEST` if no valid token has this id; `IO_ERROR`.
    pub fn revoke(&self, id: &str) -> Result<(), Failure> {
        match self.tokens().revoke(id, unix_ms())? {
            true => Ok(()),
            false => Err(Failure::new(Code::BadRequest, "there is no valid token with this id")),
        }
    }

    /// The valid tokens, oldest first.
    pub fn tokens_listed(&self) -> Vec<PageToken> {
        self.tokens().valid(unix_ms()).map(PageToken::from).collect()
    }

    fn sign_ins(&self) -> MutexGuard<'_, SignIns> {
        // Each change is one step, so the state behind a poisoned lock is whole.
        self.sign_ins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tokens(&self) -> MutexGuard<'_, Tokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn random() -> Result<Secret, Failure> {
    Secret::random().map_err(|e| Failure::new(Code::IoError, format!("the system has no random bytes: {e}")))
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
