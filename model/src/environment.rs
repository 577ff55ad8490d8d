//! Which variables of the environment a job sees: one rule for executors of a worker and for the commands that a run in one
//! process starts, so that the same command has the same variables in both.

/// Variables that an executor, or a command of `pipe`, has from the process that starts it. All others are left out: they
/// are those of a shell on one machine, and a command that depends on one would give another result elsewhere.
pub const INHERITED_VARIABLES: [&str; 6] = ["PATH", "HOME", "LANG", "TMPDIR", "RUST_BACKTRACE", "WINDROW_LOG"];

/// The variable that marks an executor and all that it starts, by which a worker finds what a killed one has left.
pub const EXECUTOR_VARIABLE: &str = "WINDROW_EXECUTOR";
