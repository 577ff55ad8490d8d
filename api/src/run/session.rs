//! Runs jobs in this process or on a cluster, for drivers.

mod kept;
#[cfg(feature = "client")]
mod kept_there;
#[cfg(not(feature = "client"))]
mod no_client;
#[cfg(feature = "client")]
mod remote;

use crate::error::Result;
use crate::plan::build::build;
use crate::plan::job::{AnyJob, Job};
use crate::report::{Report, Style};
use crate::run::finished::Finished;
use crate::run::flags::{OutputFormat, RunFlags};
use crate::run::local::{self, LocalOptions};
use crate::run::show_plan::explain;
use crate::run::task_run::StageTable;
use crate::run::under_test::UnderTest;
use kept::{Kept, check_name};
#[cfg(not(feature = "client"))]
use no_client::Remote;
#[cfg(feature = "client")]
use remote::Remote;
use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use windrow_model::{Failure, JobState, JobStatus, Location};
use windrow_store::{Outputs, Steps};

/// Runs jobs one after the other, in this process or on a cluster, as the command line of the binary selects.
///
/// ```no_run
/// use windrow::prelude::*;
/// # #[derive(clap::Args, Serialize, Deserialize)] struct Round { shift: f64 }
/// # impl Job for Round { fn plan(&self, _: &Flow) -> Result<()> { Ok(()) } }
/// # #[derive(clap::Args)] struct Args {}
/// /// Runs rounds until the result stands still.
/// fn drive(_: Args, session: &Session) -> Result<()> {
///     let mut shift = 1.0;
///     while shift > 1e-6 {
///         let done = session.run(&Round { shift })?;
///         shift = done.collected::<f64>("shift")?.into_iter().sum();
///     }
///     Ok(())
/// }
/// fn main() -> std::process::ExitCode {
///     windrow::Program::new().internal_job::<Round>().driver("", drive).run()
/// }
/// ```
pub struct Session {
    name: String,
    flags: RunFlags,
    cluster: Option<Rc<Remote>>,
    /// Set once the report has shown how a job failed.
    reported: Cell<bool>,
    /// The latest status of each job that has begun.
    statuses: RefCell<Vec<JobStatus>>,
    /// Set if the jobs run in the process of a test.
    under_test: Option<UnderTest>,
    /// Intermediate results, once there is one. They are removed with it.
    kept: RefCell<Option<Kept>>,
    /// The folder of the output that was checked.
    output_folder: RefCell<Option<PathBuf>>,
}

/// Panic payload that ends an explaining driver at its first job, because it cannot go on without a result.
pub(crate) struct Explained;

impl Session {
    pub(crate) fn open(name: &str, flags: RunFlags) -> Result<Session> {
        flags.warn_without_effect(flags.run());
        let cluster = match &flags.cluster {
            _ if flags.explain => None,
            None => None,
            Some(url) => Some(Rc::new(Remote::connect(url, &flags)?)),
        };
        Ok(Session { cluster, ..Session::new(name, flags) })
    }

    /// A session whose jobs run in the process of a test.
    pub(crate) fn under_test(under_test: UnderTest) -> Session {
        Session { under_test: Some(under_test), ..Session::new("test", RunFlags::default()) }
    }

    fn new(name: &str, flags: RunFlags) -> Session {
        Session {
            name: name.to_string(),
            flags,
            cluster: None,
            reported: Cell::new(false),
            statuses: RefCell::default(),
            under_test: None,
            kept: RefCell::default(),
            output_folder: RefCell::default(),
        }
    }

    /// Runs a job to its end and returns its collected results. Progress goes to stderr. With `--explain` the plan is
    /// printed instead, and the driver ends: this call does not return then.
    ///
    /// # Errors
    /// The failure of the job, or of the connection to the cluster.
    pub fn run<J: Job>(&self, job: &J) -> Result<Finished> {
        self.run_any(job)
    }

    pub(crate) fn run_any(&self, job: &dyn AnyJob) -> Result<Finished> {
        if let Some(under_test) = &self.under_test {
            return under_test.run(job);
        }
        if self.flags.explain {
            explain(&build(job, self.flags.overwrite, None)?, self.flags.format)?;
            // Skips the driver's error handling, but runs its destructors.
            std::panic::resume_unwind(Box::new(Explained));
        }
        match &self.cluster {
            None => self.run_here(job),
            Some(remote) => remote.run(job, &self.name, &self.flags, self.progress()),
        }
    }

    fn run_here(&self, job: &dyn AnyJob) -> Result<Finished> {
        let built = build(job, self.flags.overwrite, None)?;
        let program = StageTable { plan: built.plan, functions: built.functions, counters: built.counters };
        let options = LocalOptions {
            name: self.name.clone(),
            threads: self.flags.threads(),
            memory_bytes: self.flags.memory_bytes(),
            scratch: self.flags.scratch.clone(),
            durable: self.flags.durable,
            job: self.flags.job_options(),
        };
        local::run(program, options, &mut self.progress())
    }

    /// A new place for an intermediate result: a folder in one process, a dataset on a cluster. One job writes it, with
    /// `records_sink(&place)` or another sink, and later ones read it. So the place is a parameter of all of them.
    ///
    /// Each call returns another place. The latest two of a name stay: a round reads one and writes the other. Older ones
    /// are removed by the next call, and all of them at the end of the session, also if it fails. If the program is killed,
    /// the next session of this user finds and removes them: in one process one that keeps its results in the same
    /// folder, on a cluster one on the same machine that uses the same cluster.
    ///
    /// In one process the folder is that of `--scratch`, else the one with the output that [`check_output`] has checked,
    /// else the system's for temporary files.
    ///
    /// ```no_run
    /// use windrow::prelude::*;
    /// # #[derive(clap::Args, Serialize, Deserialize)] struct Start { to: String }
    /// # impl Job for Start { fn plan(&self, _: &Flow) -> Result<()> { Ok(()) } }
    /// # #[derive(clap::Args, Serialize, Deserialize)] struct Round { from: String, to: String }
    /// # impl Job for Round { fn plan(&self, _: &Flow) -> Result<()> { Ok(()) } }
    /// fn drive(session: &Session) -> Result<String> {
    ///     let mut ranks = session.keep("ranks")?;
    ///     session.run(&Start { to: ranks.clone() })?;
    ///     for _ in 0..10 {
    ///         let next = session.keep("ranks")?;
    ///         session.run(&Round { from: ranks, to: next.clone() })?;
    ///         ranks = next;
    ///     }
    ///     Ok(ranks)
    /// }
    /// ```
    ///
    /// [`check_output`]: Session::check_output
    ///
    /// # Errors
    /// `BAD_REQUEST` for a name that is not made of up to 64 letters, digits, `.`, `_` and `-`; the folder cannot be made.
    pub fn keep(&self, name: &str) -> Result<String> {
        check_name(name)?;
        if self.flags.explain {
            return Ok(format!("kept-{name}"));
        }
        let mut kept = self.kept.borrow_mut();
        let kept = match &mut *kept {
            Some(kept) => kept,
            none => none.insert(match &self.cluster {
                None => Kept::here(self.scratch_folder())?,
                Some(remote) => Kept::there(remote.clone())?,
            }),
        };
        kept.place(name)
    }

    /// The folder in which a run in one process may keep files.
    fn scratch_folder(&self) -> PathBuf {
        let of_test = self.under_test.as_ref().map(|under_test| under_test.scratch.clone());
        let chosen = of_test.or_else(|| self.flags.scratch.clone()).or_else(|| self.output_folder.borrow().clone());
        let folder = chosen.unwrap_or_else(std::env::temp_dir);
        std::path::absolute(&folder).unwrap_or(folder)
    }

    /// Checks that a job could write to this output, for drivers that compute for long before they write. It checks
    /// from this machine; the job checks again.
    ///
    /// # Errors
    /// The output exists, and `--overwrite` was not given or would not replace it.
    pub fn check_output(&self, path: &str) -> Result<()> {
        if self.under_test.is_some() {
            // A job under test replaces what is there.
            return Ok(());
        }
        let location = Location::of(path);
        if let Some(path) = location.path() {
            let folder = std::path::absolute(path)
                .ok()
                .and_then(|path| path.ancestors().skip(1).find(|folder| folder.is_dir()).map(Path::to_path_buf));
            *self.output_folder.borrow_mut() = folder;
        }
        if self.flags.explain || location.dataset().is_some() {
            return Ok(());
        }
        Ok(Outputs::default().check(location, self.flags.overwrite, &[], &Steps::default()).map_err(Failure::from)?)
    }

    pub(crate) fn has_reported(&self) -> bool {
        self.reported.get()
    }

    /// The jobs that have ended.
    pub(crate) fn ended(&self) -> Vec<JobStatus> {
        self.statuses.borrow().iter().filter(|status| status.state.is_final()).cloned().collect()
    }

    /// Records the latest status of a job.
    fn note(&self, status: &JobStatus) {
        let mut statuses = self.statuses.borrow_mut();
        match statuses.last_mut().filter(|last| last.id == status.id) {
            Some(last) => last.clone_from(status),
            None => statuses.push(status.clone()),
        }
        crate::run::supervise::note_statuses(&statuses);
    }

    /// Shows one job on stderr.
    fn progress(&self) -> impl FnMut(&JobStatus) {
        let mut report = Report::new(Style::detect());
        let json = self.flags.format == OutputFormat::Json;
        move |status: &JobStatus| {
            if json {
                self.note(status);
            }
            if status.state.is_final() {
                self.reported.set(status.state != JobState::Done);
                report.finish_quietly(status)
            } else {
                report.update(status)
            }
        }
    }
}
