//! What a run in one process tells its user besides its result, such as files that it could not remove.

use windrow_model::Escape;

/// Prints one line on stderr.
pub(crate) fn warn(text: &str) {
    eprintln!("warning: {}", text.escaped());
}
