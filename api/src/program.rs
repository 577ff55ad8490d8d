//! The `main` of a job binary: one job, several under subcommands, or a driver that runs them; and all roles in which
//! the same binary is started.

use crate::describe::describe;
use crate::end::{self, print_failure};
use crate::error::{Error, Result};
use crate::flags::{OutputFormat, RunFlags};
use crate::flow::{Built, Flow};
use crate::job::{AnyJob, Job};
use crate::report::job_json;
use crate::session::{Explained, Session};
use crate::supervise::JsonEnd;
use crate::task_run::panic_message;
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
type FromParams = fn(&str) -> Result<Box<dyn AnyJob>>;

/// The jobs of a binary, by the names of their types.
#[derive(Default)]
pub(crate) struct Registry(Vec<(&'static str, FromParams)>);

impl Registry {
    pub fn make(&self, program: &str, params: &str) -> Result<Box<dyn AnyJob>> {
        let (_, make) = self
            .0
            .iter()
            .find(|(name, _)| *name == program)
            .ok_or_else(|| Error::new(Code::PlanMismatch, format!("this binary has no job `{program}`")))?;
        make(params)
    }
    fn add<J: Job>(&mut self) {
        fn from_params<J: Job>(params: &str) -> Result<Box<dyn AnyJob>> {
            Ok(Box::new(serde_json::from_str::<J>(params)?))
        }
        self.0.push((std::any::type_name::<J>(), from_params::<J>));
    }
}

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
        crate::panics::install_hook();
        let mut args: Vec<std::ffi::OsString> = std::env::args_os().collect();
        let mode = args.get(1).and_then(|a| a.to_str()).unwrap_or_default();
        if mode == EXECUTOR {
            return crate::executor::run(&self.registry);
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
                crate::supervise::guarded(end, || act(action, describe, matches))
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
        match crate::handover::to_submit(args, &flags, &binary_name(), is_same)? {}
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

pub(crate) fn build(job: &dyn AnyJob, overwrite: bool) -> Result<Built> {
    let base = std::env::current_dir()
        .map_err(|e| Error::new(Code::IoError, format!("cannot determine the current folder: {e}")))?;
    // A parameter that is not sent (`serde(skip)`) has its default in executors, so it has it here too.
    let elsewhere = job.elsewhere();
    plan(elsewhere.as_deref().unwrap_or(job), Flow::new(base, overwrite, None))
}

/// Builds the job's plan. A panic in its code is an error like any other.
fn plan(job: &dyn AnyJob, flow: Flow) -> Result<Built> {
    // The flow is dropped after a panic, so its half-built state is never seen.
    let made = catch_unwind(AssertUnwindSafe(|| job.plan(&flow).and_then(|()| flow.build())));
    made.unwrap_or_else(|payload| {
        let message = format!("the job's `plan` {}", panic_message(&*payload));
        Err(Error::new(Code::PlanInvalid, message))
    })
}

fn run_job(make: FromMatches, matches: &ArgMatches) -> Result<u8> {
    let flags = RunFlags::from_arg_matches(matches)?;
    let job = make(matches)?;
    if flags.explain {
        explain(&build(&*job, flags.overwrite)?, flags.format)?;
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

/// Prints a plan as text, or as JSON that contains the text.
pub(crate) fn explain(built: &Built, format: OutputFormat) -> Result<()> {
    let text = crate::explain::explain(&built.plan);
    match format {
        OutputFormat::Table => Ok(stdout::put(text.as_bytes()).map(drop)?),
        OutputFormat::Json => Ok(end::print_json(&serde_json::json!({ "explain": text }))?),
    }
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

    /// Does in `plan` what its input says.
    #[derive(clap::Args, serde::Serialize, serde::Deserialize)]
    struct Panics {
        what: String,
    }
    impl Job for Panics {
        fn plan(&self, _: &Flow) -> Result<()> {
            match self.what.as_str() {
                "static" => panic!("no such thing"),
                what => panic!("no {what}"),
            }
        }
    }

    #[test]
    fn panic_in_a_plan_is_an_error_with_its_text() {
        for (what, text) in [("static", "no such thing"), ("plan", "no plan")] {
            let error = build(&Panics { what: what.to_string() }, false).err().unwrap();
            assert_eq!(error.code(), Code::PlanInvalid);
            assert_eq!(error.failure().message, format!("the job's `plan` panicked: {text}"));
            assert_eq!(error.code().exit_code(), 1);
        }
    }

    /// Reports its parameters in `plan`.
    #[derive(clap::Args, serde::Serialize, serde::Deserialize)]
    struct Says {
        kept: Option<f64>,
        #[serde(skip)]
        skipped: u8,
    }
    impl Job for Says {
        fn plan(&self, _: &Flow) -> Result<()> {
            Err(Error::msg(format!("{:?} {}", self.kept, self.skipped)))
        }
    }

    #[test]
    fn local_plan_uses_the_parameters_of_executors() {
        let said = |kept| build(&Says { kept: Some(kept), skipped: 5 }, false).err().unwrap().failure().message.clone();
        assert_eq!(said(0.1), "Some(0.1) 0");
        // Parameters without a round trip are only used in this process.
        assert_eq!(said(f64::NAN), "Some(NaN) 5");
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
