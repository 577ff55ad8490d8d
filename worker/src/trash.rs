//! When a chunk in the trash is deleted for good. Pure.
//!
//! The name of its file holds the wall clock time at which it came there: it stays for its time whether or not the
//! worker runs. Wall clocks jump, so nothing is deleted before this process has been up for a while; a chunk from the
//! future counts as new.

use windrow_model::Digest;

/// A clock that is set after boot is set by then.
const UP_MS: u64 = 3_600_000;

/// The name of a chunk's file in the trash.
pub(crate) fn name(digest: Digest, unix_ms: u64) -> String {
    format!("{digest}-{unix_ms}")
}

/// The digest and time in such a name; `None` for any other.
pub(crate) fn parse(name: &str) -> Option<(Digest, u64)> {
    let (digest, unix_ms) = name.split_once('-')?;
    Some((digest.parse().ok()?, unix_ms.parse().ok()?))
}

/// Whether a chunk that came into the trash at `since` is deleted at `now` (both wall clock), by a process that has
/// been up for `up_ms`, if it is kept for `kept_ms`.
pub(crate) fn is_over(since_unix_ms: u64, now_unix_ms: u64, up_ms: u64, kept_ms: u64) -> bool {
    up_ms >= UP_MS.min(kept_ms) && now_unix_ms.checked_sub(since_unix_ms).is_some_and(|age| age >= kept_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3_600_000;

    #[test]
    fn names_in_the_trash_read_back() {
        let digest = Digest::of(b"x");
        assert_eq!(parse(&name(digest, 17)), Some((digest, 17)));
        for other in ["", "x-1", &digest.to_string(), &format!("{digest}-x")] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn trash_is_kept_for_its_time_whatever_the_clock_does() {
        for (since, now, up, is) in [
            (1_000, 1_000 + DAY, DAY, true),
            (1_000, 999 + DAY, DAY, false),
            // The clock was far behind when it came, and has been set since.
            (0, 60 * 365 * DAY, UP_MS - 1, false),
            (0, 60 * 365 * DAY, UP_MS, true),
            (2 * DAY, DAY, DAY, false),
        ] {
            assert_eq!(is_over(since, now, up, DAY), is, "{since} {now} {up}");
        }
        assert!(is_over(5, 5, 0, 0), "a test's setting");
    }
}
