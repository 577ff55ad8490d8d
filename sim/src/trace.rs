//! The trace of a run: a line for each thing that happens.

use std::io::Write;

/// What becomes of a run's trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trace {
    /// There is none.
    #[default]
    Off,
    /// It is a part of the outcome.
    Kept,
    /// Each line goes to stdout at once, so that a run that panics has one, too.
    Printed,
}

impl Trace {
    /// One line, made only if there is a trace.
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
