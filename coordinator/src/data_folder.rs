//! The names in a coordinator's data folder.

use std::path::{Path, PathBuf};

pub(crate) const JOURNAL: &str = "journal.redb";
/// Binaries and side values, also in a backup.
pub(crate) const ARTIFACTS: &str = "artifacts";
/// The bytes of collected results.
pub(crate) const RESULTS: &str = "results";
/// Logs and summaries of jobs.
pub(crate) const HISTORY: &str = "history";
/// Notes of jobs that may have stagings.
pub(crate) const STAGING: &str = "staging";

/// The mark beside a journal that was found damaged.
pub(crate) fn damage_mark(journal: &Path) -> PathBuf {
    journal.with_extension("damaged")
}
