//! Glob patterns over paths as bytes.
//!
//! `*` and `?` match any characters and any one character of a name, `[a-z]` and `[!a-z]` one character that is (not)
//! in a set, and `**` as a whole name any number of folders, including none. Names that begin with `.` or `_` match only
//! a pattern that begins with the same character, because they are also skipped in folders. A `[` without `]` matches
//! itself.

use crate::error::Result;
use crate::steps::Steps;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Returns whether the text contains a wildcard.
pub fn is_pattern(text: &str) -> bool {
    text.bytes().any(|b| matches!(b, b'*' | b'?' | b'['))
}

/// Returns whether a name matches only if it is spelled out: `_SUCCESS`, `.git`.
pub fn is_hidden(name: &OsStr) -> bool {
    matches!(name.as_bytes().first(), Some(b'.' | b'_'))
}

/// All existing paths that match, in bytewise order, each once. Calls `unreadable` for folders that have to be listed
/// and cannot be. Every entry takes a step. `**` does not follow symbolic links, so the search terminates.
pub fn expand(pattern: &str, steps: &Steps, unreadable: &mut dyn FnMut(&Path, io::Error)) -> Result<Vec<PathBuf>> {
    let root = if pattern.starts_with('/') { PathBuf::from("/") } else { PathBuf::new() };
    let mut found = vec![root];
    let mut names = pattern.split('/').filter(|n| !n.is_empty()).peekable();
    while let Some(name) = names.next() {
        let last = names.peek().is_none();
        let mut next = Vec::new();
        for base in &found {
            steps.step(base)?;
            match name {
                "**" => descend(base, last, steps, &mut next, unreadable)?,
                _ if !is_pattern(name) => {
                    let path = base.join(name);
                    // Dangling links are kept: they are reported by name later, instead of as a pattern without a
                    // match.
                    if path.symlink_metadata().is_ok() {
                        next.push(path);
                    }
                }
                _ => matching(base, name, steps, &mut next, unreadable)?,
            }
        }
        next.sort_unstable_by(|a, b| a.as_os_str().as_bytes().cmp(b.as_os_str().as_bytes()));
        next.dedup();
        found = next;
    }
    Ok(found)
}

fn matching(
    base: &Path,
    pattern: &str,
    steps: &Steps,
    next: &mut Vec<PathBuf>,
    unreadable: &mut dyn FnMut(&Path, io::Error),
) -> Result<()> {
    // If this is not a folder (`data/*/x` where `data/a` is a file), there is no match.
    if folder_of(base).metadata().is_ok_and(|m| m.is_dir()) {
        for name in names_in(base, steps, unreadable)? {
            if matches(pattern, &name) {
                next.push(base.join(name));
            }
        }
    }
    Ok(())
}

/// The folder itself and all folders below it; with `files`, everything below it instead.
fn descend(
    base: &Path,
    files: bool,
    steps: &Steps,
    next: &mut Vec<PathBuf>,
    unreadable: &mut dyn FnMut(&Path, io::Error),
) -> Result<()> {
    let mut folders = match folder_of(base).metadata() {
        Ok(m) if m.is_dir() => vec![base.to_path_buf()],
        _ => return Ok(()),
    };
    while let Some(folder) = folders.pop() {
        for name in names_in(&folder, steps, unreadable)? {
            if is_hidden(&name) {
                continue;
            }
            let path = folder.join(name);
            match path.symlink_metadata() {
                Ok(m) if m.is_dir() => folders.push(path),
                _ if files => next.push(path),
                _ => {}
            }
        }
        if !files {
            next.push(folder);
        }
    }
    Ok(())
}

fn folder_of(base: &Path) -> &Path {
    if base.as_os_str().is_empty() { Path::new(".") } else { base }
}

fn names_in(base: &Path, steps: &Steps, unreadable: &mut dyn FnMut(&Path, io::Error)) -> Result<Vec<OsString>> {
    let mut names = Vec::new();
    let entries = match fs::read_dir(folder_of(base)) {
        Ok(entries) => entries,
        Err(e) => {
            unreadable(base, e);
            return Ok(names);
        }
    };
    for entry in entries {
        steps.step(base)?;
        match entry {
            Ok(entry) => names.push(entry.file_name()),
            Err(e) => {
                unreadable(base, e);
                return Ok(Vec::new());
            }
        }
    }
    Ok(names)
}

/// Returns whether one name matches one component of a pattern.
///
/// ```
/// use windrow_store::glob::matches;
/// assert!(matches("2024-0[1-3].*", "2024-02.csv".as_ref()));
/// assert!(!matches("*", "_SUCCESS".as_ref()));
/// ```
pub fn matches(pattern: &str, name: &OsStr) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    if is_hidden(OsStr::from_bytes(name)) && pattern.first() != name.first() {
        return false;
    }
    // After a mismatch the latest star takes one character more. That is enough, because another choice for an earlier
    // star would only leave fewer characters to the later one.
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() || p < pattern.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p + 1, n));
            p += 1;
            continue;
        }
        if n < name.len()
            && let Some((p_next, n_next)) = step(pattern, p, name, n)
        {
            (p, n) = (p_next, n_next);
            continue;
        }
        match star {
            Some((after, taken)) if taken < name.len() => {
                let taken = taken + character(&name[taken..]).1;
                star = Some((after, taken));
                (p, n) = (after, taken);
            }
            _ => return false,
        }
    }
    true
}

/// Matches one element of the pattern (not a star) against one character of the name.
fn step(pattern: &[u8], p: usize, name: &[u8], n: usize) -> Option<(usize, usize)> {
    let (have, have_len) = character(&name[n..]);
    match *pattern.get(p)? {
        b'?' => Some((p + 1, n + have_len)),
        b'[' => match set(&pattern[p + 1..], have) {
            Some((inside, len)) => inside.then_some((p + 1 + len, n + have_len)),
            None => (have == b'[' as u32).then_some((p + 1, n + 1)),
        },
        _ => {
            let (want, want_len) = character(&pattern[p..]);
            (want == have).then_some((p + want_len, n + have_len))
        }
    }
}

/// Whether a set (after its `[`) contains a character, and the length of the set including its `]`; none if it is not
/// closed.
fn set(text: &[u8], have: u32) -> Option<(bool, usize)> {
    let negated = matches!(text.first(), Some(b'!' | b'^'));
    let first = negated as usize;
    let mut at = first;
    let mut inside = false;
    loop {
        // A `]` at the start is a member of the set.
        if *text.get(at)? == b']' && at > first {
            return Some((inside != negated, at + 1));
        }
        let (low, len) = character(&text[at..]);
        at += len;
        let mut high = low;
        if text.get(at) == Some(&b'-') && text.get(at + 1).is_some_and(|b| *b != b']') {
            let (to, len) = character(&text[at + 1..]);
            high = to;
            at += 1 + len;
        }
        inside |= (low..=high).contains(&have);
    }
}

/// The first character and its length in bytes. A byte that is not UTF-8 is a character of its own, distinct from any
/// other.
fn character(bytes: &[u8]) -> (u32, usize) {
    let head = &bytes[..bytes.len().min(4)];
    let valid = match std::str::from_utf8(head) {
        Ok(s) => s,
        Err(e) => std::str::from_utf8(&head[..e.valid_up_to()]).unwrap_or(""),
    };
    match valid.chars().next() {
        Some(c) => (c as u32, c.len_utf8()),
        None => (0x11_0000 + head.first().copied().unwrap_or(0) as u32, 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    fn name(bytes: &[u8]) -> OsString {
        OsString::from_vec(bytes.to_vec())
    }

    #[test]
    fn names_match_as_in_a_shell() {
        let yes = [
            ("*", "a"),
            ("a*", "a"),
            ("*a*b", "xaxaxb"),
            ("?", "ä"),
            ("[a-c]x", "bx"),
            ("[!a-c]", "d"),
            ("[^a]", "b"),
            ("[]]", "]"),
            ("[!]]", "a"),
            ("[a-]", "-"),
            ("a[", "a["),
            ("[ab", "[ab"),
            ("_*", "_SUCCESS"),
            (".*", ".x"),
            ("*.gz", "a.b.gz"),
            ("**", "ab"),
            ("[ä-ü]", "ö"),
        ];
        let no = [
            ("*", ".x"),
            ("*", "_x"),
            ("?x", "_x"),
            ("[_]x", "_x"),
            ("?", "ab"),
            ("?", ""),
            ("[a-c]", "d"),
            ("a*b", "abc"),
            ("[!a]", "a"),
            ("a", "A"),
            ("*a", "b"),
            ("[]", "]"),
        ];
        for (pattern, text) in yes {
            assert!(matches(pattern, OsStr::new(text)), "{pattern} {text}");
        }
        for (pattern, text) in no {
            assert!(!matches(pattern, OsStr::new(text)), "{pattern} {text}");
        }
    }

    #[test]
    fn names_that_are_not_utf8_match_by_byte() {
        assert!(matches("a?c", &name(b"a\xffc")));
        assert!(matches("*c", &name(b"\xff\xfec")));
        assert!(!matches("a\u{ff}c", &name(b"a\xffc")));
    }

    #[test]
    fn pattern_of_many_stars_ends_soon() {
        assert!(!matches(&"*a".repeat(40), OsStr::new(&"a".repeat(39))));
        assert!(!matches(&format!("{}b", "*a".repeat(30)), OsStr::new(&"a".repeat(250))));
    }
}
