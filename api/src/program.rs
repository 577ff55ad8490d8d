//! What a job binary can be: one job, several under subcommands, or a driver that runs them; and every role in which the
//! same binary is started.

use crate::error::{Error, Result};
use crate::flags::{OutputFormat, RunFlags};
use crate::flow::{Built, Flow};
use crate::job::{AnyJob, Job};
use crate::session::Session;
use crate::task_run::panic_message;
use clap::builder::Resettable;
use clap::{ArgMatches, Command, FromArgMatches};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use windrow_model::{Code, Digest, Failure, JobId, JobSpec};
use windrow_proto::v1;

/// The worker starts a job binary with this argument.
const EXECUTOR: &str = "__windrow-executor";
/// `windrow submit` starts it with this one, and the job's own arguments.
const DESCRIBE: &str = "__windrow-describe";

/// Found in a binary by whoever submits it: that it is a Windrow job, and of which version of this interface.
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

/// A command that is no job: it runs here, at once.
type Plain = Box<dyn Fn(&ArgMatches) -> Result<()>>;
type Drive = Box<dyn Fn(&ArgMatches, &Session) -> Result<()>>;

enum Action {
    Job(FromMatches),
    Plain(Plain),
    Drive(Drive),
}

/// The `main` of a job binary with more than one job, other commands, or a driver. `windrow::main` is the short form for
/// one job.
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
    /// By subcommand; the empty name is the binary itself.
    actions: Vec<(&'static str, Command, Action)>,
}

impl Program {
    pub fn new() -> Self {
        Self::default()
    }

    /// A job under a subcommand.
    pub fn job<J: Job>(mut self, name: &'static str) -> Self {
        self.registry.add::<J>();
        let command = RunFlags::augment(J::augment_args(Command::new(name)));
        self.actions.push((name, command, Action::Job(from_matches::<J>)));
        self
    }

    /// A job that only a driver runs.
    pub fn internal_job<J: Job>(mut self) -> Self {
        self.registry.add::<J>();
        self
    }

    /// A command that is no job.
    pub fn command<A: clap::Args>(mut self, name: &'static str, run: impl Fn(A) -> Result<()> + 'static) -> Self {
        let plain: Plain = Box::new(move |matches| run(A::from_arg_matches(matches)?));
        self.actions.push((name, A::augment_args(Command::new(name)), Action::Plain(plain)));
        self
    }

    /// A driver: a function that runs jobs, looks at their results and goes on, in-process or with `--cluster`. The
    /// jobs it runs are registered with `internal_job`.
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

    /// Does what the command line says. Must be the first thing in `main`: executors run the same `main`.
    pub fn run(self) -> ExitCode {
        std::hint::black_box(&MARKER);
        let mut args: Vec<std::ffi::OsString> = std::env::args_os().collect();
        let mode = args.get(1).and_then(|a| a.to_str()).unwrap_or_default();
        if mode == EXECUTOR {
            return crate::executor::run(&self.registry);
        }
        let describe = mode == DESCRIBE;
        if describe {
            args.remove(1);
        }
        let matches = match self.parser().try_get_matches_from(args) {
            Ok(matches) => matches,
            Err(e) => {
                // Help goes to stdout and is a success; everything else is a usage error.
                let _ = e.print();
                return ExitCode::from(if e.use_stderr() { 2 } else { 0 });
            }
        };
        let (action, matches) = self.chosen(&matches);
        match action {
            Action::Job(_) | Action::Drive(_) if !describe && runs_here(matches) => {
                crate::supervise::guarded(wants_json(matches), || act(action, describe, matches))
            }
            _ => act(action, describe, matches),
        }
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

/// Whether user code will work on records in this process.
fn runs_here(matches: &ArgMatches) -> bool {
    RunFlags::from_arg_matches(matches).is_ok_and(|flags| flags.cluster.is_none() && !flags.explain)
}

/// Whether results of these flags go to stdout as JSON.
fn wants_json(matches: &ArgMatches) -> bool {
    RunFlags::from_arg_matches(matches).is_ok_and(|flags| flags.format == OutputFormat::Json)
}

fn act(action: &Action, describe: bool, matches: &ArgMatches) -> ExitCode {
    let result = match (action, describe) {
        (Action::Job(make), false) => run_job(*make, matches),
        (Action::Job(make), true) => describe_job(*make, matches),
        (Action::Plain(run), false) => run(matches).map(|()| ExitCode::SUCCESS),
        (Action::Drive(run), false) => drive(run, matches),
        (_, true) => {
            let message = "this command is not a job: run it by itself (a driver with --cluster URL)";
            Err(Error::new(Code::NotAJob, message))
        }
    };
    result.unwrap_or_else(|e| {
        print_failure(e.failure());
        if matches!(action, Action::Job(_) | Action::Drive(_)) && !describe && wants_json(matches) {
            print_failure_json(e.failure());
        }
        ExitCode::from(exit_code(e.code()))
    })
}

trait Augment {
    fn augment(command: Command) -> Command;
}
impl Augment for RunFlags {
    /// Adds the flags; what the command says about itself stays the job's.
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
    name.and_then(|p| Some(p.file_name()?.to_string_lossy().into_owned())).unwrap_or_else(|| "job".to_string())
}

pub(crate) fn build(job: &dyn AnyJob, overwrite: bool) -> Result<Built> {
    let base = std::env::current_dir()
        .map_err(|e| Error::new(Code::IoError, format!("the current folder cannot be told: {e}")))?;
    plan(job, Flow::new(base, overwrite, None))
}

/// Builds the job's plan. A panic in its code is an error like any other.
fn plan(job: &dyn AnyJob, flow: Flow) -> Result<Built> {
    // The flow is given up with the panic, so nobody sees what it left half done.
    let made = catch_unwind(AssertUnwindSafe(|| job.plan(&flow).and_then(|()| flow.build())));
    made.unwrap_or_else(|payload| {
        let message = format!("the job's `plan` {}", panic_message(&*payload));
        Err(Error::new(Code::PlanInvalid, message))
    })
}

fn run_job(make: FromMatches, matches: &ArgMatches) -> Result<ExitCode> {
    let flags = RunFlags::from_arg_matches(matches)?;
    let job = make(matches)?;
    if flags.explain {
        let built = build(&*job, flags.overwrite)?;
        print!("{}", crate::explain::explain(&built.plan));
        return Ok(ExitCode::SUCCESS);
    }
    let session = Session::open(&binary_name(), flags)?;
    told(&session, session.run_any(&*job).map(drop))
}

/// The exit code of a run; an error that the report has shown already is not shown again.
fn told(session: &Session, result: Result<()>) -> Result<ExitCode> {
    match result {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(e) if session.has_reported() => Ok(ExitCode::from(exit_code(e.code()))),
        Err(e) => Err(e),
    }
}

fn drive(run: &Drive, matches: &ArgMatches) -> Result<ExitCode> {
    let flags = RunFlags::from_arg_matches(matches)?;
    let session = Session::open(&binary_name(), flags)?;
    told(&session, run(matches, &session))
}

/// Answers `windrow submit`: the job as data, in one frame on stdout.
fn describe_job(make: FromMatches, matches: &ArgMatches) -> Result<ExitCode> {
    let flags = RunFlags::from_arg_matches(matches)?;
    let job = make(matches)?;
    if flags.explain {
        let built = build(&*job, flags.overwrite)?;
        print!("{}", crate::explain::explain(&built.plan));
        return Ok(ExitCode::SUCCESS);
    }
    let (spec, sides) = specify(&*job, &binary_name(), &flags)?;
    for (flag, instead) in flags.without_effect_in_submit() {
        eprintln!("warning: {flag} after `--` has no effect: {instead}");
    }
    let described =
        v1::Describe { spec: Some(spec.into()), sides, env: Vec::new(), protocol: Some(windrow_proto::own_range()) };
    windrow_proto::frame::write_frame(&mut std::io::stdout().lock(), &described)?;
    std::io::stdout().flush()?;
    Ok(ExitCode::SUCCESS)
}

/// A job as it is submitted, but for its id and its binary; and its side values.
pub(crate) fn specify(job: &dyn AnyJob, name: &str, flags: &RunFlags) -> Result<(JobSpec, Vec<Vec<u8>>)> {
    let built = build(job, flags.overwrite)?;
    let spec = JobSpec {
        id: JobId(uuid::Uuid::nil()),
        name: name.to_string(),
        program: job.program().to_string(),
        params: job.params()?,
        plan: built.plan,
        binary: Digest([0; 32]),
        options: flags.job_options(),
    };
    Ok((spec, built.sides))
}

/// The exit code of a failure that is not a job's own.
pub(crate) fn exit_code(code: Code) -> u8 {
    match code {
        Code::BadRequest => 2,
        Code::Cancelled => 4,
        Code::DeadlineExceeded => 5,
        Code::Interrupted => 130,
        Code::Unreachable | Code::Unauthorised | Code::VersionMismatch => 3,
        Code::CertificateNotTrusted | Code::CertificateWrongName | Code::CertificateExpired => 3,
        _ => 1,
    }
}

/// The end of a run that came to no job, or of which no more is known: on stdout, in the shape of a job that failed.
pub(crate) fn print_failure_json(failure: &Failure) {
    let end = serde_json::json!({ "state": "failed", "error": crate::report::failure_json(failure) });
    let mut stdout = std::io::stdout().lock();
    // A reader that has gone away is no reason to fail.
    let _ = writeln!(stdout, "{end:#}").and_then(|()| stdout.flush());
}

/// The cause first, then what to do.
pub(crate) fn print_failure(failure: &Failure) {
    eprintln!("error: {failure}");
    if !failure.stderr_tail.is_empty() {
        eprintln!("  last lines of the task's stderr:");
        failure.stderr_tail.lines().for_each(|l| eprintln!("  | {l}"));
    }
    eprintln!("  hint: {}", failure.code.hint());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Count what there is.
    #[derive(clap::Args, serde::Serialize, serde::Deserialize)]
    struct Told {
        input: Vec<String>,
    }
    #[derive(clap::Args, serde::Serialize, serde::Deserialize)]
    struct Untold {
        input: Vec<String>,
    }
    impl Job for Told {
        fn plan(&self, _: &Flow) -> Result<()> {
            Ok(())
        }
    }
    impl Job for Untold {
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
    fn a_panic_in_a_plan_is_an_error_with_its_text() {
        for (what, text) in [("static", "no such thing"), ("plan", "no plan")] {
            let error = build(&Panics { what: what.to_string() }, false).err().unwrap();
            assert_eq!(error.code(), Code::PlanInvalid);
            assert_eq!(error.failure().message, format!("the job's `plan` panicked: {text}"));
            assert_eq!(exit_code(error.code()), 1);
        }
    }

    #[test]
    fn the_help_of_a_job_begins_with_the_jobs_own_words() {
        let program =
            Program::new().job::<Told>("told").job::<Untold>("untold").driver::<Told>("driver", |_, _| Ok(()));
        let help = |name: &str| {
            let mut parser = program.parser();
            parser.find_subcommand_mut(name).unwrap().render_long_help().to_string()
        };
        for name in ["told", "driver"] {
            assert!(help(name).starts_with("Count what there is"), "{}", help(name));
            assert!(help(name).contains("--threads"), "{}", help(name));
        }
        assert!(help("untold").starts_with("Usage:"), "{}", help("untold"));
        let all = program.parser().render_help().to_string();
        assert!(all.contains("Count what there is") && !all.contains("Flags of every job"), "{all}");
    }
}
