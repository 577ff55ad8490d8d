//! What a user writes: a job.

use crate::error::Result;
use crate::flow::Flow;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A job: parameters that are command-line arguments and travel as data, and a plan that follows from them alone.
///
/// ```no_run
/// use windrow::prelude::*;
///
/// /// Count words.
/// #[derive(clap::Args, Serialize, Deserialize)]
/// struct WordCount {
///     /// Files, folders or globs.
///     #[arg(required = true)]
///     input: Vec<String>,
///     /// Folder to write.
///     #[arg(long)]
///     output: String,
/// }
///
/// impl Job for WordCount {
///     fn plan(&self, flow: &Flow) -> Result<()> {
///         flow.read(lines(&self.input))
///             .map(|line, out| for word in words(line) { out.emit(word, 1u64) })
///             .combine(Sum)
///             .write(tsv(&self.output))
///     }
/// }
///
/// fn main() -> std::process::ExitCode { windrow::main::<WordCount>() }
/// ```
pub trait Job: clap::Args + Serialize + DeserializeOwned + 'static {
    /// Builds the plan. It is called in every process of the job, and must depend on nothing but `self`: no clock, no
    /// randomness, no files (`Flow::side` is for those).
    fn plan(&self, flow: &Flow) -> Result<()>;

    /// What the binary calls itself in its `--help`; the doc comment of the type by default.
    fn name() -> &'static str {
        let name = std::any::type_name::<Self>();
        name.rsplit("::").next().unwrap_or(name)
    }
}

/// A job whose type is not known statically.
pub(crate) trait AnyJob {
    fn plan(&self, flow: &Flow) -> Result<()>;
    /// The type's name: which of a binary's jobs this is.
    fn program(&self) -> &'static str;
    fn params(&self) -> Result<String>;
}

impl<J: Job> AnyJob for J {
    fn plan(&self, flow: &Flow) -> Result<()> {
        Job::plan(self, flow)
    }
    fn program(&self) -> &'static str {
        std::any::type_name::<J>()
    }
    fn params(&self) -> Result<String> {
        Ok(serde_json::to_string(self)?)
    }
}
