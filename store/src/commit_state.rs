//! How far the commit of an output has come, as far as its storage shows.

/// What there is of an output whose commit has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitState {
    /// The staging is there: the commit can go on.
    Staged,
    /// The output of this job is at its place, or has been replaced there by another output.
    Visible,
    /// Neither is there, where an output could be.
    Gone,
    /// Not even the folder or bucket of the output exists.
    FolderGone,
}
