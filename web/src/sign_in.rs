//! One-time codes and the sessions that they begin. Pure: time and secrets are arguments.
//!
//! A code is printed or sent once, works once, and expires soon. A session lives in the memory of this process, so it
//! ends with it.

use crate::secret::SecretDigest;
use std::collections::BTreeMap;
use windrow_model::{PageRole, Time};

/// How long a code is valid, in milliseconds: it may be in a terminal's history or a log.
pub(crate) const CODE_MS: u64 = 15 * 60 * 1000;
/// How long a session is valid, in milliseconds. Cookies are sent to every port of a host, so sessions are short.
pub(crate) const SESSION_MS: u64 = 8 * 3600 * 1000;
/// Most valid codes; the oldest is dropped for a new one.
const CODES_MAX: usize = 64;
/// Most sessions; the oldest ends for a new one.
const SESSIONS_MAX: usize = 256;

/// Something that is valid for a while.
#[derive(Clone, Copy, Debug)]
struct Granted {
    role: PageRole,
    until: Time,
}

/// Valid codes and sessions.
#[derive(Debug, Default)]
pub(crate) struct SignIns {
    codes: BTreeMap<SecretDigest, Granted>,
    sessions: BTreeMap<SecretDigest, Granted>,
}

impl SignIns {
    /// A new code begins sessions of this role.
    pub(crate) fn add_code(&mut self, code: SecretDigest, role: PageRole, now: Time) {
        insert(&mut self.codes, CODES_MAX, code, Granted { role, until: now.plus_ms(CODE_MS) }, now);
    }

    /// Uses up a code, and begins a session. `None` for a code that is unknown, used or expired.
    pub(crate) fn begin(&mut self, code: SecretDigest, session: SecretDigest, now: Time) -> Option<PageRole> {
        let role = self.codes.remove(&code).filter(|granted| granted.until > now)?.role;
        insert(&mut self.sessions, SESSIONS_MAX, session, Granted { role, until: now.plus_ms(SESSION_MS) }, now);
        Some(role)
    }

    /// The role of a valid session.
    pub(crate) fn role(&self, session: SecretDigest, now: Time) -> Option<PageRole> {
        self.sessions.get(&session).filter(|granted| granted.until > now).map(|granted| granted.role)
    }

    /// Ends a session.
    pub(crate) fn end(&mut self, session: SecretDigest) {
        self.sessions.remove(&session);
    }
}

fn insert(into: &mut BTreeMap<SecretDigest, Granted>, max: usize, key: SecretDigest, granted: Granted, now: Time) {
    into.retain(|_, granted| granted.until > now);
    while into.len() >= max {
        let oldest = into.iter().min_by_key(|(_, granted)| granted.until).map(|(key, _)| *key);
        oldest.and_then(|key| into.remove(&key));
    }
    into.insert(key, granted);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: usize) -> SecretDigest {
        SecretDigest::of(&n.to_string())
    }

    #[test]
    fn code_begins_one_session() {
        let mut all = SignIns::default();
        all.add_code(digest(1), PageRole::View, Time(0));
        assert_eq!(all.begin(digest(2), digest(9), Time(1)), None);
        assert_eq!(all.begin(digest(1), digest(8), Time(1)), Some(PageRole::View));
        assert_eq!(all.begin(digest(1), digest(7), Time(1)), None, "it was used");
        assert_eq!(all.role(digest(8), Time(1)), Some(PageRole::View));
        assert_eq!(all.role(digest(7), Time(1)), None);
        all.end(digest(8));
        assert_eq!(all.role(digest(8), Time(1)), None);
    }

    #[test]
    fn codes_and_sessions_expire() {
        let mut all = SignIns::default();
        all.add_code(digest(1), PageRole::Steer, Time(0));
        assert_eq!(all.begin(digest(1), digest(8), Time(CODE_MS)), None);
        all.add_code(digest(1), PageRole::Steer, Time(0));
        assert_eq!(all.begin(digest(1), digest(8), Time(CODE_MS - 1)), Some(PageRole::Steer));
        let end = CODE_MS - 1 + SESSION_MS;
        assert_eq!(all.role(digest(8), Time(end - 1)), Some(PageRole::Steer));
        assert_eq!(all.role(digest(8), Time(end)), None);
    }

    #[test]
    fn oldest_session_ends_when_there_are_too_many() {
        let mut all = SignIns::default();
        for n in 0..=SESSIONS_MAX {
            all.add_code(digest(n), PageRole::View, Time(n as u64));
            assert!(all.begin(digest(n), digest(10_000 + n), Time(n as u64)).is_some());
        }
        assert_eq!(all.sessions.len(), SESSIONS_MAX);
        assert_eq!(all.role(digest(10_000), Time(300)), None);
        assert!(all.role(digest(10_001), Time(300)).is_some());
    }
}
