//! The `main` of a job binary: one job, several under subcommands, or a driver that runs them; and all roles in which
//! the same binary is started.

use crate::error::{Error, Result};
use crate::plan::build::build;
use crate::plan::describe::describe;
use crate::plan::job::{AnyJob, Job};
use crate::report::job_json;
use crate::run::end::{self, print_failure};
use crate::run::flags::{OutputFormat, RunFlags};
use crate::run::panics::panic_message;
use crate::run::registry::Registry;
use crate::run::session::{Explained, Session};
use crate::run::show_plan::explain;
use crate::run::supervise::JsonEnd;
use crate::{stdout, usage};
use clap::builder::Resettable;
use clap::{ArgMatches, Command, FromArgMatches};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use windrow_model::{Code, Escape, JobState};

/// The worker starts a job binary with this argument.
const EXECUTOR: &str = "__windrow-executor";
/// `windrow submit` starts a job binary with this argument, followed by the job's own arguments.
const DESCRIBE: &str = "__windrow-describe";

/// Marks a binary as a Windrow job, with the version of this interface; `submit` searches it in the file.
#[used]
static MARKER: [u8; 21] = *b"windrow-job-marker:v1";

type FromMatches = fn(&ArgMatches) -> Result<Box<dyn AnyJob>>;
fn from_matches<J: Job>(matches: &ArgMatches) -> Result<Box<dyn AnyJob>> {
    Ok(Box::new(J::from_arg_matches(matches)?))
}

/// A command that is not a job: it runs in this process at once.
type Plain = Box<dyn Fn(&ArgMatches) -> Result<()>>;
type Drive = Box<dyn Fn(&ArgMatches, &Session) -> Result<()>>;

enum Action {
    Job(FromMatches),
    Plain(Plain),
    Drive(Drive),
}

/// The `main` of a job binary with more than one job, other commands, or a driver. `windrow::main` is the short form
/// for one job.
///
/// ```no_run
/// use windrow::prelude::*;
/// # #[derive(clap::Args, Serialize, Deserialize)] struct Sort { input: Vec<String>, #[arg(long)] output: String }
/// # impl Job for Sort { fn plan(&self, _: &Flow) -> Result<()> { Ok(()) } }
/// # #[derive(clap::Args)] struct Check { folder: String }
/// # fn check(_: Check) -> Result<()> { Ok(()) }
/// fn main() -> std::process::ExitCode {
///     windrow::Program::new().job::<Sort>("sort").command::<Check>("check", check).run()
/// }
/// ```
#[derive(Default)]
pub struct Program {
    registry: Registry,
    /// Actions by subcommand; the empty name is the binary itself.
    actions: Vec<(&'static str, Command, Action)>,
}

impl Program {
    /// A program without jobs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a job under a subcommand; the empty name is the binary itself.
    pub fn job<J: Job>(mut self, name: &'static str) -> Self {
        self.registry.add::<J>();
        let command = RunFlags::augment(J::augment_args(Command::new(name)));
        self.actions.push((name, command, Action::Job(from_matches::<J>)));
        self
    }

    /// Adds a job that only a driver runs.
    pub fn internal_job<J: Job>(mut self) -> Self {
        self.registry.add::<J>();
        self
    }

    /// Adds a command that is not a job.
    pub fn command<A: clap::Args>(mut self, name: &'static str, run: impl Fn(A) -> Result<()> + 'static) -> Self {
        let plain: Plain = Box::new(move |matches| run(A::from_arg_matches(matches)?));
        self.actions.push((name, A::augment_args(Command::new(name)), Action::Plain(plain)));
        self
    }

    /// Adds a driver: a function that runs jobs and uses their results, in this process or with `--cluster`. The jobs
    /// that it runs are registered with `internal_job`.
    pub fn driver<A: clap::Args>(
        mut self,
        name: &'static str,
        run: impl Fn(A, &Session) -> Result<()> + 'static,
    ) -> Self {
        let drive: Drive = Box::new(move |matches, session| run(A::from_arg_matches(matches)?, session));
        let command = RunFlags::augment(A::augment_args(Command::new(name)));
        self.actions.push((name, command, Action::Drive(drive)));
        self
    }

    /// Parses the command line and runs its action. Must be the first thing in `main`, because executors run the same
    /// `main`.
    pub fn run(self) -> ExitCode {
        std::hint::black_box(&MARKER);
        crate::run::panics::install_hook();
        let mut args: Vec<std::ffi::OsString> = std::env::args_os().collect();
        let mode = args.get(1).and_then(|a| a.to_str()).unwrap_or_default();
        if mode == EXECUTOR {
            return crate::run::executor::run(&self.registry);
        }
        let describe = mode == DESCRIBE;
        if describe {
            args.remove(1);
        }
        let matches = match self.parser().try_get_matches_from(&args) {
            Ok(matches) => matches,
            Err(e) => {
                let answered = usage::answer(e, &args, |args| self.parser().try_get_matches_from(args).err());
                return ExitCode::from(answered.unwrap_or_else(|failure| {
                    print_failure(&failure);
                    failure.code.exit_code()
                }));
            }
        };
        let (action, matches) = self.chosen(&matches);
        #[cfg(not(feature = "client"))]
        if let Action::Job(make) = action
            && !describe
            && let Err(e) = self.hand_over(*make, matches, &args)
        {
            print_failure(e.failure());
            if wants_json(matches) {
                // The program fails anyway.
                let _ = end::print_json(&end::no_job_json(e.failure()));
            }
            return ExitCode::from(e.code().exit_code());
        }
        match action {
            Action::Job(_) | Action::Drive(_) if !describe && runs_here(matches) => {
                let end = wants_json(matches).then_some(match action {
                    Action::Drive(_) => JsonEnd::Driver,
                    _ => JsonEnd::Job,
                });
                crate::run::supervise::guarded(end, || act(action, describe, matches))
            }
            _ => act(action, describe, matches),
        }
    }

    /// Becomes `windrow submit` if the job is to run on a cluster, which this build cannot reach.
    #[cfg(not(feature = "client"))]
    fn hand_over(&self, make: FromMatches, matches: &ArgMatches, args: &[std::ffi::OsString]) -> Result<()> {
        let flags = RunFlags::from_arg_matches(matches)?;
        if flags.cluster.is_none() || flags.explain {
            return Ok(());
        }
        let identity = |make: FromMatches, matches: &ArgMatches| {
            let (job, options) = (make(matches)?, RunFlags::from_arg_matches(matches)?.job_options());
            Ok::<_, Error>((job.program(), job.params()?, options))
        };
        let this = identity(make, matches)?;
        let is_same = |args: &[std::ffi::OsString]| {
            let Ok(matches) = self.parser().try_get_matches_from(args) else { return false };
            let (action, matches) = self.chosen(&matches);
            let Action::Job(make) = action else { return false };
            runs_here(matches) && identity(*make, matches).is_ok_and(|other| other == this)
        };
        match crate::run::handover::to_submit(args, &flags, &binary_name(), is_same)? {}
    }

    fn parser(&self) -> Command {
        let named = |c: Command| c.version(env!("CARGO_PKG_VERSION"));
        match &self.actions[..] {
            [("", command, _)] => named(command.clone().name(binary_name())),
            actions => named(Command::new(binary_name()).subcommand_required(true).arg_required_else_help(true))
                .subcommands(actions.iter().map(|(_, command, _)| command.clone())),
        }
    }

    fn chosen<'m>(&self, matches: &'m ArgMatches) -> (&Action, &'m ArgMatches) {
        match matches.subcommand() {
            Some((name, inner)) => match self.actions.iter().find(|(n, _, _)| *n == name) {
                Some((_, _, action)) => (action, inner),
                None => (&self.actions[0].2, inner),
            },
            None => (&self.actions[0].2, matches),
        }
    }
}

/// Returns whether user code will process records in this process.
fn runs_here(matches: &ArgMatches) -> bool {
    RunFlags::from_arg_matches(matches).is_ok_and(|flags| flags.cluster.is_none() && !flags.explain)
}

/// Returns whether results are printed to stdout as JSON.
fn wants_json(matches: &ArgMatches) -> bool {
    RunFlags::from_arg_matches(matches).is_ok_and(|flags| flags.format == OutputFormat::Json)
}

/// Runs the action and returns the exit code. A result that cannot be written is a failure too.
fn act(action: &Action, describe: bool, matches: &ArgMatches) -> ExitCode {
    let json = matches!(action, Action::Job(_) | Action::Drive(_)) && !describe && wants_json(matches);
    let reserved = if json { stdout::reserve().map_err(Error::from_failure) } else { Ok(()) };
    let result = reserved.and_then(|()| match (action, describe) {
        (Action::Job(make), false) => run_job(*make, matches),
        (Action::Job(make), true) => describe_job(*make, matches),
        (Action::Plain(run), false) => command(run, matches),
        (Action::Drive(run), false) => drive(run, matches),
        (_, true) => {
            let message = "this command is not a job: run it by itself (a driver with --cluster URL)";
            Err(Error::new(Code::NotAJob, message))
        }
    });
    let code = result.unwrap_or_else(|e| {
        print_failure(e.failure());
        if json {
            // The program fails anyway.
            let _ = end::print_json(&end::no_job_json(e.failure()));
        }
        e.code().exit_code()
    });
    match stdout::flush() {
        Err(failure) if code == 0 => {
            print_failure(&failure);
            ExitCode::from(failure.code.exit_code())
        }
        _ => ExitCode::from(code),
    }
}

fn describe_job(make: FromMatches, matches: &ArgMatches) -> Result<u8> {
    let flags = RunFlags::from_arg_matches(matches)?;
    describe(&*make(matches)?, &binary_name(), &flags)?;
    Ok(0)
}

fn command(run: &Plain, matches: &ArgMatches) -> Result<u8> {
    let ran = catch_unwind(AssertUnwindSafe(|| run(matches)));
    ran.unwrap_or_else(|payload| {
        Err(Error::new(Code::UserPanic, format!("the command {}", panic_message(&*payload))))
    })?;
    Ok(0)
}

trait Augment {
    fn augment(command: Command) -> Command;
}
impl Augment for RunFlags {
    /// Adds the flags; the command's own description stays that of the job.
    fn augment(command: Command) -> Command {
        let about = Resettable::from(command.get_about().cloned());
        let long_about = Resettable::from(command.get_long_about().cloned());
        <RunFlags as clap::Args>::augment_args(command).about(about).long_about(long_about)
    }
}

/// The `main` of a binary with one job: runs it in this process on all cores, or with `--cluster URL` on a cluster.
pub fn main<J: Job>() -> ExitCode {
    Program::new().job::<J>("").run()
}

fn binary_name() -> String {
    let name = std::env::args_os().next().map(PathBuf::from);
    name.and_then(|p| Some(p.file_name()?.escaped().to_string())).unwrap_or_else(|| "job".to_string())
}

fn run_job(make: FromMatches, matches: &ArgMatches) -> Result<u8> {
    let flags = RunFlags::from_arg_matches(matches)?;
    let job = make(matches)?;
    if flags.explain {
        explain(&build(&*job, flags.overwrite, None)?, flags.format)?;
        return Ok(0);
    }
    let json = flags.format == OutputFormat::Json;
    let session = Session::open(&binary_name(), flags)?;
    let ran = session.run_any(&*job).map(drop);
    if json && let Some(status) = session.ended().first() {
        // One document, even if something failed after the job.
        let mut status = status.clone();
        if let (JobState::Done, Err(e)) = (status.state, &ran) {
            (status.state, status.error) = (JobState::Failed, Some(e.failure().clone()));
        }
        end::print_json(&job_json(&status))?;
        return Ok(exit_unless_reported(&session, &ran));
    }
    ran.map(|()| 0).or_else(|e| if session.has_reported() { Ok(e.code().exit_code()) } else { Err(e) })
}

/// The exit code of a run. Prints the error to stderr unless the report has shown it already.
fn exit_unless_reported(session: &Session, ran: &Result<()>) -> u8 {
    let Err(e) = ran else { return 0 };
    if !session.has_reported() {
        print_failure(e.failure());
    }
    e.code().exit_code()
}

/// Runs the driver's function. With `--explain` it ends at its first job.
fn drive(run: &Drive, matches: &ArgMatches) -> Result<u8> {
    let flags = RunFlags::from_arg_matches(matches)?;
    let json = flags.format == OutputFormat::Json;
    let session = Session::open(&binary_name(), flags)?;
    // A panic leaves half-done state only in the function itself.
    let ran = match catch_unwind(AssertUnwindSafe(|| run(matches, &session))) {
        Ok(ran) => ran,
        Err(payload) if payload.is::<Explained>() => {
            eprintln!(
                "this is the driver's first job; what it does next depends on its result, so the driver ends here"
            );
            return Ok(0);
        }
        Err(payload) => Err(Error::new(Code::UserPanic, format!("the driver {}", panic_message(&*payload)))),
    };
    if json {
        end::print_json(&end::driver_json(&session.ended(), ran.as_ref().err().map(Error::failure)))?;
    }
    Ok(exit_unless_reported(&session, &ran))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::flow::Flow;

    /// Count what there is.
    #[derive(clap::Args, serde::Serialize, serde::Deserialize)]
    struct Documented {
        input: Vec<String>,
    }
    #[derive(clap::Args, serde::Serialize, serde::Deserialize)]
    struct Undocumented {
        input: Vec<String>,
    }
    impl Job for Documented {
        fn plan(&self, _: &Flow) -> Result<()> {
            Ok(())
        }
    }
    impl Job for Undocumented {
        fn plan(&self, _: &Flow) -> Result<()> {
            Ok(())
        }
    }

    #[test]
    fn help_of_a_job_begins_with_its_own_description() {
        let program = Program::new()
            .job::<Documented>("documented")
            .job::<Undocumented>("undocumented")
            .driver::<Documented>("driver", |_, _| Ok(()));
        let help = |name: &str| {
            let mut parser = program.parser();
            parser.find_subcommand_mut(name).unwrap().render_long_help().to_string()
        };
        for name in ["documented", "driver"] {
            assert!(help(name).starts_with("Count what there is"), "{}", help(name));
            assert!(help(name).contains("--threads"), "{}", help(name));
        }
        assert!(help("undocumented").starts_with("Usage:"), "{}", help("undocumented"));
        let all = program.parser().render_help().to_string();
        assert!(all.contains("Count what there is") && !all.contains("Flags of every job"), "{all}");
    }
}
