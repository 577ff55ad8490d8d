//! `--cluster` in a job binary that is built without the feature `client`: the program `windrow` submits the job in its place.
//!
//! The process becomes `windrow submit` (`exec`), so exit code, output, signals and process id are those of one program. The
//! binary's own arguments go along, without the flags that name the cluster and the output format, which `submit` takes itself.

use crate::error::{Error, Result};
use crate::run::flags::{OutputFormat, RunFlags};
use crate::run::windrow_program;
use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use windrow_model::{Code, Escape};

/// The latest coordinator that this user started.
const LATEST: &str = "auto";

/// Settings of `windrow` in the environment that have no effect on a job binary with a client, so they have none here.
const NOT_OURS: [&str; 3] = ["WINDROW_COORDINATOR", "WINDROW_CONFIG", "WINDROW_FORMAT"];

/// Flags with a value that `windrow submit` takes before the binary.
const SUBMITS_OWN: [&str; 4] = ["--cluster", "--token-file", "--tls-ca", "--format"];
const FORMAT_SHORT: &[u8] = b"-o";

/// Becomes `windrow submit` for the job of these arguments, of which the first is the program. `name` is the job's.
/// `is_same` parses arguments and says whether they are the same job, to be run in this process.
///
/// # Errors
/// `NO_CLIENT` if there is no such program; `EXEC_FAILED` if it does not start; `BAD_REQUEST` if the arguments cannot be
/// taken apart.
pub(crate) fn to_submit(
    args: &[OsString],
    flags: &RunFlags,
    name: &str,
    is_same: impl Fn(&[OsString]) -> bool,
) -> Result<Infallible> {
    let own = std::env::current_exe()
        .map_err(|e| Error::new(Code::IoError, format!("cannot find the file of this program: {e}")))?;
    let searched = std::env::var_os("PATH").unwrap_or_default();
    let Some(program) = windrow_program::find(&own, &searched) else {
        let message = "--cluster: this program is built without the feature `client` of windrow, and there is no program \
                       `windrow` beside it or on PATH that could submit it";
        return Err(Error::new(Code::NoClient, message));
    };
    let rest = without_submits_own(args);
    if !is_same(&rest) {
        let message = format!(
            "--cluster: the job's own arguments cannot be separated from Windrow's; run `windrow submit {} -- ARGUMENTS`",
            own.escaped()
        );
        return Err(Error::new(Code::BadRequest, message));
    }
    let mut command = Command::new(&program);
    for variable in NOT_OURS {
        command.env_remove(variable);
    }
    command.arg("--no-config").arg("-o").arg(match flags.format {
        OutputFormat::Table => "table",
        OutputFormat::Json => "json",
    });
    command.arg("submit").arg("--name").arg(name);
    if let Some(url) = flags.cluster.as_ref().filter(|url| *url != LATEST) {
        command.arg("--coordinator").arg(url);
    }
    for (flag, file) in [("--token-file", &flags.token_file), ("--tls-ca", &flags.tls_ca)] {
        if let Some(file) = file {
            command.arg(flag).arg(file);
        }
    }
    command.arg(&own).arg("--").args(rest.iter().skip(1));
    let error = command.exec();
    Err(Error::new(Code::ExecFailed, format!("cannot start {}: {error}", program.escaped())))
}

/// The arguments without flags that `submit` takes itself. Behind `--` there are no flags.
fn without_submits_own(args: &[OsString]) -> Vec<OsString> {
    let mut kept = Vec::with_capacity(args.len());
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let bytes = arg.as_bytes();
        if bytes == b"--" {
            kept.push(arg.clone());
            kept.extend(args.by_ref().cloned());
        } else if bytes == FORMAT_SHORT || SUBMITS_OWN.iter().any(|flag| bytes == flag.as_bytes()) {
            args.next();
        } else if !is_with_value(bytes) {
            kept.push(arg.clone());
        }
    }
    kept
}

/// Whether this is one of the flags and its value in one argument: `--cluster=URL`, `-ojson`.
fn is_with_value(arg: &[u8]) -> bool {
    let long = |flag: &&str| arg.strip_prefix(flag.as_bytes()).is_some_and(|rest| rest.starts_with(b"="));
    SUBMITS_OWN.iter().any(long) || arg.starts_with(FORMAT_SHORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(line: &str) -> String {
        let args: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let kept: Vec<String> = without_submits_own(&args).iter().map(|arg| arg.escaped().to_string()).collect();
        kept.join(" ")
    }

    #[test]
    fn flags_of_submit_are_taken_out_of_the_arguments() {
        assert_eq!(kept("job --cluster auto in --output out"), "job in --output out");
        assert_eq!(kept("job sort in --cluster=http://x:1 -o json"), "job sort in");
        assert_eq!(kept("job -ojson --token-file t --tls-ca=c in --overwrite"), "job in --overwrite");
        assert_eq!(kept("job --format json --clusters 3 in"), "job --clusters 3 in");
        assert_eq!(kept("job --cluster auto -- --cluster -o"), "job -- --cluster -o");
        assert_eq!(kept("job in --cluster"), "job in");
    }
}
