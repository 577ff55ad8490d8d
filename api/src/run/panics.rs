//! Panic messages on stderr: as those of the standard library, but without control characters and forged lines, because
//! they often contain a record.

use std::any::Any;
use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;
use windrow_model::Escape;

/// Installs the panic hook. The job's own code may replace it.
pub(crate) fn install_hook() {
    std::panic::set_hook(Box::new(|info| {
        let backtrace = Backtrace::capture();
        let text = match backtrace.status() {
            BacktraceStatus::Captured => format!("{}\n{backtrace}", message(info)),
            _ => message(info),
        };
        eprintln!("{text}");
    }));
}

fn message(info: &PanicHookInfo<'_>) -> String {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    let place = info.location().map(|place| format!(" at {place}")).unwrap_or_default();
    let message = info.payload_as_str().unwrap_or("no message");
    format!("thread '{}' panicked{place}:\n{}", thread.escaped(), message.escaped_lines())
}

/// The message of a panic as a part of a sentence.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|s| s.to_string());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    format!("panicked: {}", text.unwrap_or_else(|| "no message".to_string()))
}
