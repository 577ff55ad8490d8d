//! What a job has prepared for one of its outputs: names only.

use std::path::PathBuf;
use windrow_model::{JobId, Location};

/// The names under which a job collects the parts of one output. The storage of the output has made them, and finds everything
/// else by them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staging {
    /// The canonical name of the output (see [`crate::Output::canonical`]), so that another process that has resolved the output
    /// finds the same staging.
    pub output: PathBuf,
    /// Where attempts put their parts: a path or a URL, which workers get as text.
    pub area: PathBuf,
    /// The job.
    pub job: JobId,
}

impl Staging {
    /// Where the output lies.
    pub fn location(&self) -> Location<'_> {
        Location::of_name(&self.output)
    }
}
