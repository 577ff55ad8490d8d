//! What a run tells its user besides its result, on stderr: warnings, such as of files that it could not remove.
//!
//! On a cluster the stderr of a job's process is part of the job's logs.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use windrow_model::Escape;

/// Warnings that are shown. Each is a line about a file or a command, of which a job may have any number.
const SHOWN_MAX: usize = 100;

static SHOWN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Prints one line on stderr.
pub(crate) fn warn(text: &str) {
    eprintln!("warning: {}", text.escaped());
}

/// Shows a warning unless it was shown before. Of these no more than [`SHOWN_MAX`] are shown in a process.
pub(crate) fn warn_once(text: &str) {
    let mut shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(line) = line(&mut shown, text) {
        eprintln!("{}", line.escaped_lines());
    }
}

/// What is shown now.
fn line(shown: &mut BTreeSet<String>, text: &str) -> Option<String> {
    if shown.len() > SHOWN_MAX || !shown.insert(text.to_string()) {
        return None;
    }
    match shown.len() > SHOWN_MAX {
        true => Some("warning: there are more warnings, which are not shown".to_string()),
        false => Some(format!("warning: {text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warning_is_shown_once_and_their_number_is_bounded() {
        let mut shown = BTreeSet::new();
        assert_eq!(line(&mut shown, "a").as_deref(), Some("warning: a"));
        assert_eq!(line(&mut shown, "a"), None);
        let lines: Vec<String> = (0..10_000).filter_map(|n| line(&mut shown, &n.to_string())).collect();
        assert_eq!(lines.len(), SHOWN_MAX);
        assert!(lines[SHOWN_MAX - 1].contains("not shown") && shown.len() == SHOWN_MAX + 1);
    }
}
