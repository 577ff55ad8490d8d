//! What a panic says on stderr: as the standard library's, but without control characters and forged lines, because the text
//! often holds a record.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;
use windrow_model::Escape;

/// From now on. The job's own code may set another hook.
pub(crate) fn tell_escaped() {
    std::panic::set_hook(Box::new(|info| {
        let backtrace = Backtrace::capture();
        let told = match backtrace.status() {
            BacktraceStatus::Captured => format!("{}\n{backtrace}", told(info)),
            _ => told(info),
        };
        eprintln!("{told}");
    }));
}

fn told(info: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let place = info.location().map(|place| format!(" at {place}")).unwrap_or_default();
    let message = info.payload_as_str().unwrap_or("no message");
    format!("thread '{}' panicked{place}:\n{}", thread.escaped(), message.escaped_lines())
}
