//! Answers a command line that asks for help or is invalid.

use crate::stdout;
use std::ffi::OsString;
use windrow_model::{Escape, Failure};

/// Prints clap's message and returns the exit code: help goes to standard output (0), everything else to stderr (2). If
/// an argument contains control characters, `parse` parses the escaped arguments again, so that the message contains
/// none.
///
/// # Errors
/// The help cannot be written.
pub fn answer(
    error: clap::Error,
    args: &[OsString],
    parse: impl FnOnce(Vec<OsString>) -> Option<clap::Error>,
) -> Result<u8, Failure> {
    if !error.use_stderr() {
        // Not printed by clap, which ignores a full disk.
        stdout::put(error.render().to_string().as_bytes())?;
        return Ok(0);
    }
    let escaped: Vec<OsString> = args.iter().map(|arg| arg.escaped().to_string().into()).collect();
    let error = if escaped == args { error } else { parse(escaped).unwrap_or(error) };
    let text = error.render().to_string();
    let shown: Vec<String> = text.lines().map(|line| line.escaped_lines().to_string()).collect();
    let shown = shown.join("\n");
    if shown == text.trim_end() {
        // With colours on a terminal. A closed stderr does not change the exit code.
        let _ = error.print();
    } else {
        eprintln!("{shown}");
    }
    Ok(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Command;

    #[test]
    fn help_exits_with_zero_and_a_refusal_with_two() {
        let parse = |args: &[OsString]| Command::new("job").try_get_matches_from(args).err();
        let args: Vec<OsString> = vec!["job".into(), "x\nfake\u{1b}[2K".into()];
        let error = parse(&args).unwrap();
        assert!(error.to_string().contains("x\nfake"), "{error:?}");
        let mut again = String::new();
        let code = answer(error, &args, |escaped| {
            let error = parse(&escaped)?;
            again = error.to_string();
            Some(error)
        });
        assert_eq!(code, Ok(2));
        assert!(again.contains(r"'x\nfake\x1b[2K'"), "{again}");
    }
}
