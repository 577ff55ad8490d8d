//! The kinds of storage that outputs of jobs go to.
//!
//! ```text
//! coordinator   stage ─────────────────────────────▶ commit ──▶ visible
//!                 │  nonce                  receipts ▲  │
//! workers         └──────▶ check_nonce, place ───────┘  └─▶ abandon (also instead of the commit)
//! ```
//! Each kind is a module that implements [`Output`]. It decides how an output appears as a whole: a file system by one rename, an
//! object store by completing uploads and writing the manifest last. The coordinator, the workers and a run in one process know
//! only the names in [`Staging`] and the [`Receipt`]s of parts; [`Outputs`] finds the kind by the location in a name.
//!
//! Every call blocks, and may never return if the storage does not answer. A daemon makes it on a thread with a deadline
//! ([`crate::StorageCalls`]), never on its control thread.

mod bad_records;
mod complete;
mod files;

pub use bad_records::bad_record_lines;
pub use complete::complete_output;

use crate::commit_state::CommitState;
use crate::error::{Result, StoreError};
use crate::receipts::{Placed, Receipt};
use crate::staging::Staging;
use crate::steps::Steps;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use windrow_format::durable::Durability;
use windrow_model::{AttemptId, BadRecord, Code, JobId, Location, Manifest};

/// The part file of an attempt, on the worker's own disk.
#[derive(Clone, Copy, Debug)]
pub struct PartFile<'a> {
    /// The attempt that has written it.
    pub attempt: &'a AttemptId,
    /// What follows the number in the part's name, such as `.gz`.
    pub suffix: &'a str,
    /// The file. The storage may take it away, and may keep notes beside it under names that begin with its name.
    pub file: &'a Path,
}

/// A complete output that is to become visible.
#[derive(Clone, Copy, Debug)]
pub struct CompleteOutput<'a> {
    /// The parts.
    pub manifest: &'a Manifest,
    /// The placed part for each part of the manifest, in the same order.
    pub winners: &'a [Placed<'a>],
    /// Parts of attempts that have not won, as far as they have receipts: they are discarded.
    pub others: &'a [Placed<'a>],
    /// The records that are missing from the parts.
    pub bad_records: &'a [BadRecord],
    /// Replace an earlier Windrow output, and nothing else.
    pub overwrite: bool,
}

/// A kind of storage for outputs.
///
/// Every attempt places its parts under names or ids of its own, so that a fenced attempt that does not know it yet cannot touch
/// those of the winner. Until the commit an attempt may be granted again, so only `commit` and `abandon` discard parts. All calls
/// may be repeated after a crash at any point. Errors have the code `NO_SPACE` if there is no room and `OUTPUT_FAILED` if nothing
/// else is said; `away` is set if the same call may succeed later.
pub trait Output: Debug + Send + Sync {
    /// Returns whether outputs at this location are kept by this kind.
    fn holds(&self, location: Location<'_>) -> bool;

    /// The canonical name of an output, even where nothing exists yet: two locations are the same output exactly if these are
    /// equal, and one output contains another if its name begins the other's, component by component.
    ///
    /// # Errors
    /// The name cannot be resolved.
    fn canonical(&self, output: Location<'_>) -> Result<PathBuf>;

    /// Refuses an output that is one of the inputs (as the user named them), lies in one, or contains one. Errors of the inputs
    /// themselves are left to their listing.
    ///
    /// # Errors
    /// `OUTPUT_INSIDE_INPUT`; the work was cancelled.
    fn check_apart(&self, output: Location<'_>, inputs: &[String], steps: &Steps) -> Result<()>;

    /// Refuses an output that exists; with `overwrite`, unless it is empty or consists of a Windrow output only. Only reads;
    /// `commit` repeats the decisive check.
    ///
    /// # Errors
    /// `OUTPUT_EXISTS`, `OUTPUT_NOT_OURS`.
    fn check_free(&self, output: Location<'_>, overwrite: bool) -> Result<()>;

    /// The names that [`Output::stage`] gives this job. Makes and checks nothing, so that the staging of an earlier epoch is
    /// found when it is damaged or gone.
    ///
    /// # Errors
    /// The name cannot be resolved, or cannot be an output.
    fn staging(&self, output: Location<'_>, job: JobId) -> Result<Staging>;

    /// Claims the output for the job, and makes what attempts need to place their parts. Keeps what this job has staged before.
    /// `others`: the stagings of the job's other outputs, by sink. After an error nothing is left behind.
    ///
    /// # Errors
    /// `OUTPUT_IN_USE` if another job has claimed the output, where the storage can tell.
    fn stage(
        &self,
        output: Location<'_>,
        job: JobId,
        durability: Durability,
        others: &[(u32, Staging)],
    ) -> Result<Staging>;

    /// Random text in the staging: a machine that reads the same text sees the same storage.
    ///
    /// # Errors
    /// The staging is gone or damaged.
    fn nonce(&self, staging: &Staging) -> Result<String>;

    /// Checks that this machine sees the coordinator's staging, before its first task.
    ///
    /// # Errors
    /// `OUTPUT_NOT_SHARED`.
    fn check_nonce(&self, area: &Path, nonce: &str) -> Result<()>;

    /// Stores the part of a granted attempt under a name of its own, invisible to readers. May be repeated until the coordinator
    /// has the receipt, also after a crash: then the latest receipt counts, and the storage discards what the earlier call has
    /// placed. Calls for one attempt may overlap, since a call that does not return in time is abandoned.
    /// Calls `progress` at least after every [`PIECE_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// `IO_ERROR` if the file is gone.
    fn place(&self, area: &Path, part: PartFile<'_>, durability: Durability, progress: &dyn Fn()) -> Result<Receipt>;

    /// Looks how far the commit of an output has come. Changes nothing.
    ///
    /// # Errors
    /// The storage does not show it. This says nothing about the output: it may be whole.
    fn state(&self, staging: &Staging) -> Result<CommitState>;

    /// Makes the output visible: takes the parts of the winners, writes the manifest last, and removes everything else that was
    /// staged. A commit that was interrupted anywhere is continued by the next call with the same winners, and one that has
    /// succeeded changes nothing when it is repeated, even if another job has replaced the output since.
    ///
    /// # Errors
    /// `OUTPUT_EXISTS`, `OUTPUT_NOT_OURS` if the output appeared meanwhile; a part is missing or has another size.
    fn commit(&self, staging: &Staging, output: &CompleteOutput<'_>, durability: Durability) -> Result<()>;

    /// Removes the staging of a job that will not commit, with the parts in it and those of these receipts. Has no effect on the
    /// output of a job that has committed.
    ///
    /// # Errors
    /// Something stays; it is invisible to readers and does not prevent another job.
    fn abandon(&self, staging: &Staging, parts: &[Placed<'_>]) -> Result<()>;

    /// The staging areas of any jobs that lie beside this output and belong to the user of this process. For runs in one process,
    /// which have no journal: the next one cleans up after one that was killed.
    ///
    /// # Errors
    /// They cannot be listed.
    fn earlier(&self, output: Location<'_>) -> Result<Vec<(JobId, PathBuf)>>;

    /// Removes a staging area of which nothing but the name is known, with all that lies in it.
    ///
    /// # Errors
    /// Something stays.
    fn remove(&self, area: &Path) -> Result<()>;
}

/// Most bytes that a storage moves without a sign of progress.
pub const PIECE_BYTES_MAX: u64 = 64 << 20;

/// The kinds of storage of one process. Clones are cheap.
#[derive(Clone, Debug)]
pub struct Outputs(Arc<[Box<dyn Output>]>);

impl Default for Outputs {
    /// All kinds of this release.
    fn default() -> Self {
        Outputs(Arc::new([Box::new(files::Files)]))
    }
}

impl Outputs {
    /// All kinds of this release, and another one.
    pub fn with(kind: impl Output + 'static) -> Self {
        Outputs(Arc::new([Box::new(files::Files), Box::new(kind)]))
    }

    /// The kind that keeps outputs at this location.
    ///
    /// # Errors
    /// `OUTPUT_FAILED` for a location that no kind holds.
    pub fn at(&self, location: Location<'_>) -> Result<&dyn Output> {
        let kind = self.0.iter().find(|kind| kind.holds(location));
        kind.map(|kind| &**kind).ok_or_else(|| StoreError::new(Code::OutputFailed, format!("{location} is not a path")))
    }

    /// The kind of a staging.
    ///
    /// # Errors
    /// See [`Outputs::at`].
    pub fn of(&self, staging: &Staging) -> Result<&dyn Output> {
        self.at(staging.location())
    }

    /// The kind of a staging area.
    ///
    /// # Errors
    /// See [`Outputs::at`].
    pub fn of_area(&self, area: &Path) -> Result<&dyn Output> {
        self.at(Location::of_name(area))
    }

    /// Checks whether a location may become an output of a job with these inputs. Only reads.
    ///
    /// # Errors
    /// See [`Output::check_apart`], [`Output::check_free`].
    pub fn check(&self, output: Location<'_>, overwrite: bool, inputs: &[String], steps: &Steps) -> Result<()> {
        let kind = self.at(output)?;
        kind.check_apart(output, inputs, steps)?;
        kind.check_free(output, overwrite)
    }
}
