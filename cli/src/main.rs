//! The `windrow` binary: parses, settles settings, runs one verb, exits with its code.

#![warn(unreachable_pub)]

mod args;
mod binary;
mod cmd;
mod exit;
mod init;
mod log;
mod output;
mod process_limits;
mod settings;
mod signals;

use args::{Args, Verb};
use clap::Parser;
use exit::Exit;
use output::Format;
use settings::Settings;
use std::ffi::OsString;
use std::process::ExitCode;
use tokio::runtime::{Builder, Runtime};
use windrow_model::Failure;
use windrow_net::daemon_runtime;

fn main() -> ExitCode {
    let given: Vec<OsString> = std::env::args_os().collect();
    let args = match Args::try_parse_from(&given) {
        Ok(args) => args,
        Err(e) => return refused(e, &given),
    };
    let is_daemon = matches!(args.verb, Verb::Coordinator(_) | Verb::Worker(_) | Verb::Up(_));
    if is_daemon && let Some(code) = init::run() {
        return code;
    }
    log::to_stderr(usual_log(&args.verb));
    // Before settings are read, only the flag can set the format of a failure.
    let asked = args.format.unwrap_or(Format::Table);
    let (format, result) = match Settings::load(args.config.as_deref(), args.no_config) {
        Err(failure) => (asked, Ok(Exit::usage(&failure, asked))),
        Ok(settings) => {
            let format = args.format.or(settings.client.format).unwrap_or(Format::Table);
            (format, run(args.verb, settings, format))
        }
    };
    result.unwrap_or_else(|failure| Exit::of_failure(&failure, format)).into()
}

/// Prints help, or the error of the command line.
fn refused(error: clap::Error, given: &[OsString]) -> ExitCode {
    match windrow::usage::answer(error, given, |args| Args::try_parse_from(args).err()) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => Exit::of_failure(&failure, Format::Table).into(),
    }
}

fn run(verb: Verb, settings: Settings, format: Format) -> Result<Exit, Failure> {
    match verb {
        Verb::New(args) => cmd::new::run(args, format),
        Verb::Submit(args) => on_one_thread(cmd::submit::run(args, settings, format)),
        Verb::Job(args) => on_one_thread(cmd::job::run(args, settings, format)),
        Verb::Data(args) => on_one_thread(cmd::data::run(args, settings, format)),
        Verb::Worker(args) => match args.verb {
            Some(verb) => on_one_thread(cmd::worker::manage(verb, settings, format)),
            None => as_daemon("a worker", cmd::worker::run(args.run, settings)),
        },
        Verb::Coordinator(args) => match args.verb {
            Some(verb) => on_one_thread(cmd::backup::run(verb, settings, format)),
            None => as_daemon("a coordinator", cmd::coordinator::run(args.run, settings)),
        },
        Verb::Up(args) => as_daemon("a coordinator", cmd::up::run(args, settings)),
        Verb::Dashboard(args) => on_one_thread(cmd::page::sign_in(args, settings, format)),
        Verb::Token(args) => on_one_thread(cmd::page::tokens(args, settings, format)),
        Verb::Tls(args) => cmd::tls::run(args.verb),
        Verb::Completion { shell } => cmd::completion::run(shell),
    }
}

/// One thread is enough to wait for answers, and starts fastest.
fn on_one_thread(work: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(exit::no_runtime)?;
    block_on(runtime, work)
}

/// One thread is enough for daemons, too: blocking work has threads of its own, and with more threads each task of a job
/// would cost a dozen wake-ups between them. The limits of the process are checked before anything is touched.
fn as_daemon(name: &str, work: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    process_limits::prepare(name)?;
    block_on(daemon_runtime(&mut Builder::new_current_thread()).map_err(exit::no_runtime)?, work)
}

fn block_on(runtime: Runtime, work: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    let result = runtime.block_on(work);
    // A running read of a file must not hold up the exit.
    runtime.shutdown_background();
    result
}

/// The default log filter: daemons log their events, clients do not.
fn usual_log(verb: &Verb) -> &'static str {
    match verb {
        Verb::Coordinator(_) | Verb::Worker(_) => "info",
        _ => "warn",
    }
}
