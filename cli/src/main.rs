//! The `windrow` binary: parses, settles settings, runs one verb, exits with its code.

mod args;
mod binary;
mod cmd;
mod exit;
mod init;
mod output;
mod settings;
mod signals;

use args::{Args, Verb};
use clap::Parser;
use exit::Exit;
use output::Format;
use settings::Settings;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;
use windrow_model::Failure;

fn main() -> ExitCode {
    let args = Args::parse();
    let is_daemon = matches!(args.verb, Verb::Coordinator(_) | Verb::Worker(_) | Verb::Up(_));
    if is_daemon && let Some(code) = init::run() {
        return code;
    }
    log_to_stderr(&args.verb);
    // Before settings are read, only the flag can say how a failure is shown.
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

fn run(verb: Verb, settings: Settings, format: Format) -> Result<Exit, Failure> {
    match verb {
        Verb::Submit(args) => on_one_thread(cmd::submit::run(args, settings, format)),
        Verb::Job(args) => on_one_thread(cmd::job::run(args, settings, format)),
        Verb::Data(args) => on_one_thread(cmd::data::run(args, settings, format)),
        Verb::Worker(args) => match args.verb {
            Some(verb) => on_one_thread(cmd::worker::manage(verb, settings, format)),
            None => on_one_thread(cmd::worker::run(args.run, settings)),
        },
        Verb::Coordinator(args) => match args.verb {
            Some(verb) => on_one_thread(cmd::backup::run(verb, settings, format)),
            None => on_one_thread(cmd::coordinator::run(args.run, settings)),
        },
        Verb::Up(args) => on_one_thread(cmd::up::run(args, settings)),
        Verb::Tls(args) => cmd::tls::run(args.verb),
        Verb::Completion { shell } => Ok(cmd::completion::run(shell)),
    }
}

/// One thread is enough to wait for answers, and starts fastest. It is enough for daemons, too: they decide and pass on, what
/// takes time has threads of its own, and a task of a job would cost a dozen wake-ups of one thread by another.
fn on_one_thread(work: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(exit::no_runtime)?;
    let result = runtime.block_on(work);
    // A read of a file that is still under way must not hold up the exit.
    runtime.shutdown_background();
    result
}

/// `WINDROW_LOG` says what is logged (`debug`, `windrow_worker=trace`, …); daemons say what they do, clients do not.
fn log_to_stderr(verb: &Verb) {
    let usual = match verb {
        Verb::Coordinator(_) | Verb::Worker(_) => "info",
        _ => "warn",
    };
    let filter = EnvFilter::try_from_env("WINDROW_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).init();
}
