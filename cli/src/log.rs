//! Logs on stderr: one line for each event, whatever names and messages contain.

use std::io::{self, Write};
use tracing_subscriber::EnvFilter;
use windrow_model::Escape;

/// Writes events to stderr from now on, without colours. `WINDROW_LOG` is the filter (`debug`, `windrow_worker=trace`,
/// …), with `usual` as its default.
pub(crate) fn to_stderr(usual: &str) {
    let filter = EnvFilter::try_from_env("WINDROW_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    let writer = || OneLine(io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(false).with_target(false).init();
}

/// Receives one event per call, as the subscriber writes them, and writes it as one line.
struct OneLine<W>(W);

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        // In one call, so that lines of several processes do not mix.
        let line = format!("{}\n", event.strip_suffix(b"\n").unwrap_or(event).escaped());
        self.0.write_all(line.as_bytes())?;
        Ok(event.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_without_control_characters() {
        let mut written = Vec::new();
        OneLine(&mut written).write_all(b"INFO host a\nINFO forged \x1b[31m left\n").unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), "INFO host a\\nINFO forged \\x1b[31m left\n");
    }
}
