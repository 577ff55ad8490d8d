//! Files in memory as the inputs of jobs under test, and what the jobs have made of them.

use crate::data::datum::Datum;
use crate::error::{Error, Result};
use crate::plan::captured::Captured;
use crate::plan::flow::Flow;
use crate::plan::job::Job;
use crate::run::finished::Finished;
use crate::run::session::Session;
use crate::run::under_test::{Limits, UnderTest, run_built};
use crate::source::Source;
use crate::testing::folder::Folder;
use clap::Command;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use windrow_format::private;
use windrow_model::{Code, Escape, JobOptions};

/// Inputs of jobs under test, in a private temporary folder that the drop of this value removes. Jobs run in the process of the
/// test, with the real scheduler and engine. Relative paths of a job begin in the folder, and outputs are written there.
///
/// ```
/// use windrow::prelude::*;
/// use windrow::testing::Files;
/// # #[derive(clap::Args, Serialize, Deserialize)] struct WordCount { input: Vec<String>, #[arg(long)] output: String }
/// # impl Job for WordCount {
/// #     fn plan(&self, flow: &Flow) -> Result<()> {
/// #         let ones = flow.read(lines(&self.input)).map(|line, out| for word in words(line) { out.emit(word, 1u64) });
/// #         ones.combine(Sum).write(tsv(&self.output))
/// #     }
/// # }
/// # fn main() -> Result<()> {
/// let files = Files::new().lines("in", ["a b", "a"]);
/// files.run(&WordCount { input: vec!["in".into()], output: "out".into() })?;
/// assert_eq!(files.records::<(String, u64)>("out")?, [("a".to_string(), 2), ("b".to_string(), 1)]);
/// assert_eq!(files.text("out")?, "a\t2\nb\t1\n");
/// # Ok(())
/// # }
/// ```
///
/// A job under test replaces what it has written before. A crash of its code (not a panic) ends the test's process.
pub struct Files {
    /// The folder, or the first error, which every call returns that can.
    made: Result<Folder>,
    limits: Limits,
    captured: Arc<Captured>,
}

impl Default for Files {
    fn default() -> Self {
        Files::new()
    }
}

impl Files {
    /// No files. Jobs have two threads and 64 MiB.
    pub fn new() -> Self {
        let made = Folder::create().and_then(|folder| {
            private::create_new_folder(&folder.path().join(FILES))?;
            private::create_new_folder(&folder.path().join(SCRATCH))?;
            Ok(folder)
        });
        Files { made, limits: Limits::default(), captured: Arc::default() }
    }

    /// Adds a file of lines. The name may have folders: `logs/monday`.
    pub fn lines(self, name: &str, lines: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.write(name, |file| lines.into_iter().try_for_each(|line| writeln!(file, "{}", line.as_ref())))
    }

    /// Adds a file with these bytes.
    pub fn file(self, name: &str, bytes: impl AsRef<[u8]>) -> Self {
        self.write(name, |file| file.write_all(bytes.as_ref()))
    }

    /// Sets the options of the jobs: the result must not depend on `chunk_bytes`, of which 1 makes a task of each line.
    pub fn options(mut self, options: JobOptions) -> Self {
        self.limits.job = options;
        self
    }

    /// Sets the number of threads of the jobs, at least 1.
    pub fn threads(mut self, threads: usize) -> Self {
        self.limits.threads = threads.max(1);
        self
    }

    /// Sets the memory of the jobs in bytes. With little memory they spill.
    pub fn memory_bytes(mut self, bytes: u64) -> Self {
        self.limits.memory_bytes = bytes;
        self
    }

    /// The absolute path of a name, for code of a job that opens files itself.
    ///
    /// # Errors
    /// The folder or a file could not be created, or `BAD_REQUEST` for a name that is no relative path.
    pub fn path(&self, name: &str) -> Result<PathBuf> {
        Ok(self.folder()?.join(relative(name)?))
    }

    /// Runs a job to its end.
    ///
    /// # Errors
    /// The failure of the job, as its program would report it, or that of a file.
    pub fn run<J: Job>(&self, job: &J) -> Result<Finished> {
        self.under_test()?.run(job)
    }

    /// Runs a job with the arguments of its command line.
    ///
    /// # Errors
    /// `BAD_REQUEST` for arguments that the job refuses, and those of [`run`](Self::run).
    ///
    /// ```
    /// # use windrow::prelude::*;
    /// # use windrow::testing::Files;
    /// # #[derive(clap::Args, Serialize, Deserialize)] struct Long { input: Vec<String>, #[arg(long)] min: usize }
    /// # impl Job for Long {
    /// #     fn plan(&self, flow: &Flow) -> Result<()> {
    /// #         let min = self.min;
    /// #         flow.read(lines(&self.input)).filter(move |line| line.len() >= min).write(text("out"))
    /// #     }
    /// # }
    /// # fn main() -> Result<()> {
    /// let files = Files::new().lines("in", ["a", "bcd"]);
    /// files.run_args::<Long>(["in", "--min", "2"])?;
    /// assert_eq!(files.text("out")?, "bcd\n");
    /// # Ok(())
    /// # }
    /// ```
    pub fn run_args<J: Job>(&self, args: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Finished> {
        let parser = J::augment_args(Command::new("job").no_binary_name(true));
        let parsed = parser.try_get_matches_from(args).and_then(|matches| J::from_arg_matches(&matches));
        self.run(&parsed.map_err(|e| Error::new(Code::BadRequest, e.to_string()))?)
    }

    /// A session for a driver. Its jobs run as by [`run`](Self::run), one after the other.
    ///
    /// # Errors
    /// The folder or a file could not be created.
    ///
    /// ```
    /// use windrow::prelude::*;
    /// use windrow::testing::Files;
    /// # #[derive(clap::Args, Serialize, Deserialize)] struct Round { input: String, output: String }
    /// # impl Job for Round {
    /// #     fn plan(&self, flow: &Flow) -> Result<()> {
    /// #         let halves = flow.read(lines(self.input.as_str())).map(|line, out| { out.push(line.parse::<u64>()? / 2); Ok(()) });
    /// #         halves.combine_all(Sum).collect("sum");
    /// #         halves.write(tsv(&self.output))
    /// #     }
    /// # }
    /// /// Halves the numbers until their sum is small.
    /// fn drive(mut input: String, session: &Session) -> Result<String> {
    ///     for round in 0.. {
    ///         let output = format!("round-{round}");
    ///         let done = session.run(&Round { input: input.clone(), output: output.clone() })?;
    ///         input = output;
    ///         if done.collected::<u64>("sum")?.into_iter().sum::<u64>() < 10 {
    ///             break;
    ///         }
    ///     }
    ///     Ok(input)
    /// }
    /// # fn main() -> Result<()> {
    /// let files = Files::new().lines("in", ["40", "8"]);
    /// let last = drive("in".to_string(), &files.session()?)?;
    /// assert_eq!((last.as_str(), files.records::<u64>(&last)?), ("round-2", vec![5, 1]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn session(&self) -> Result<Session> {
        Ok(Session::under_test(self.under_test()?))
    }

    /// The records of an output in the order of its parts, as they were before the sink formatted them. For jobs that ran in
    /// this process.
    ///
    /// # Errors
    /// `OUTPUT_FAILED` if there is no complete output of this name; `BAD_REQUEST` if its records have another type, or were
    /// written by another process: [`read`](Self::read) it.
    pub fn records<R: Datum>(&self, output: &str) -> Result<Vec<R>> {
        let path = self.path(output)?;
        crate::parts(&path)?;
        let text = path.to_str().ok_or_else(|| not_utf8(&path))?;
        self.captured.records(text)
    }

    /// All records of a source. Its relative paths begin in the folder: `files.read(lines("out"))`.
    ///
    /// # Errors
    /// The error of the source; `COLLECT_TOO_LARGE` for results of more than 32 MiB in one task.
    pub fn read<S: Source>(&self, source: S) -> Result<Vec<S::Item>> {
        let flow = Flow::new(self.folder()?, false, None);
        flow.read(source).collect("read");
        let limits = Limits { job: JobOptions::default(), ..self.limits.clone() };
        run_built(flow.build()?, &self.scratch()?, &limits)?.collected("read")
    }

    /// The bytes of each part of an output, as they are stored.
    ///
    /// # Errors
    /// `OUTPUT_FAILED` if there is no complete output of this name.
    pub fn parts(&self, output: &str) -> Result<Vec<Vec<u8>>> {
        crate::parts(self.path(output)?)?.iter().map(|part| Ok(std::fs::read(part)?)).collect()
    }

    /// All parts of an output as one text.
    ///
    /// # Errors
    /// Those of [`parts`](Self::parts), and bytes that are not UTF-8.
    pub fn text(&self, output: &str) -> Result<String> {
        Ok(String::from_utf8(self.parts(output)?.concat())?)
    }

    /// The folder in which relative paths begin.
    pub(super) fn folder(&self) -> Result<PathBuf> {
        Ok(self.root()?.join(FILES))
    }

    fn scratch(&self) -> Result<PathBuf> {
        Ok(self.root()?.join(SCRATCH))
    }

    fn root(&self) -> Result<&Path> {
        match &self.made {
            Ok(folder) => Ok(folder.path()),
            Err(e) => Err(Error::from_failure(e.failure().clone())),
        }
    }

    fn under_test(&self) -> Result<UnderTest> {
        let (limits, captured) = (self.limits.clone(), self.captured.clone());
        Ok(UnderTest { base: self.folder()?, scratch: self.scratch()?, limits, captured })
    }

    /// Creates a file. An error is kept: a chain of these calls cannot return it.
    fn write(mut self, name: &str, content: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Self {
        let create = || {
            let path = self.path(name)?;
            let written = private::create_folders(windrow_format::durable::parent(&path)).and_then(|()| {
                let mut file = std::io::BufWriter::new(private::create_new(&path)?);
                content(&mut file)?;
                file.flush()
            });
            written.map_err(|e| Error::new(Code::IoError, format!("cannot write {}: {e}", path.escaped())))
        };
        if let Err(e) = create() {
            self.made = Err(e);
        }
        self
    }
}

/// Folder of the inputs and outputs, beside that of temporary files.
const FILES: &str = "files";
const SCRATCH: &str = "scratch";

/// A name as a path below the folder.
fn relative(name: &str) -> Result<&Path> {
    let path = Path::new(name);
    match !name.is_empty() && path.components().all(|part| matches!(part, Component::Normal(_))) {
        true => Ok(path),
        false => {
            Err(Error::new(Code::BadRequest, format!("`{}` is no path below the folder of a test", name.escaped())))
        }
    }
}

fn not_utf8(path: &Path) -> Error {
    Error::new(Code::BadRequest, format!("{}: the folder for temporary files is not UTF-8", path.escaped()))
}
