//! Answers to a command line that asks for help or is refused.

use crate::stdout;
use std::ffi::OsString;
use windrow_model::{Escape, Failure};

/// Prints what clap has to say, and gives the exit code: help goes to standard output (0), everything else to stderr (2).
/// `parse` parses other arguments in the same way. It is asked once more, with the arguments escaped, if one of them holds
/// control characters, so that the message shows no others.
///
/// # Errors
/// Help that cannot be written.
pub fn answer(
    error: clap::Error,
    args: &[OsString],
    parse: impl FnOnce(Vec<OsString>) -> Option<clap::Error>,
) -> Result<u8, Failure> {
    if !error.use_stderr() {
        // Not by clap, which prints nothing that a full disk is told by.
        stdout::put(error.render().to_string().as_bytes())?;
        return Ok(0);
    }
    let escaped: Vec<OsString> = args.iter().map(|arg| arg.escaped().to_string().into()).collect();
    let error = if escaped == args { error } else { parse(escaped).unwrap_or(error) };
    let text = error.render().to_string();
    let shown: Vec<String> = text.lines().map(|line| line.escaped_lines().to_string()).collect();
    let shown = shown.join("\n");
    if shown == text.trim_end() {
        // With colours where there is a terminal. A closed stderr is no reason to fail otherwise.
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
    fn help_is_a_result_and_a_refusal_is_two() {
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
