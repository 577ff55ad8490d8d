//! The trace of a run: a line for each thing that happens.

use std::io::Write;

/// Where the trace of a run goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trace {
    /// Nowhere: lines are not written.
    #[default]
    Off,
    /// Into the outcome.
    Kept,
    /// To stdout, line by line, so that a run that panics has a trace, too.
    Printed,
}

impl Trace {
    /// Adds a line. Calls `line` only if there is a trace.
    pub(crate) fn note(self, kept: &mut String, line: impl FnOnce() -> String) {
        match self {
            Trace::Off => {}
            Trace::Kept => {
                kept.push_str(&line());
                kept.push('\n');
            }
            // A reader that closes the pipe early is no reason to stop.
            Trace::Printed => drop(writeln!(std::io::stdout().lock(), "{}", line())),
        }
    }
}
