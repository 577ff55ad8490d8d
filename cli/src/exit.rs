//! The exit of a command. `windrow_model::Code::exit_code` has the rule for exit codes.

use crate::output::{self, Format};
use std::process::ExitCode;
use windrow_model::{Code, EXIT_DONE, EXIT_INTERRUPTED, EXIT_USAGE, Failure, JobStatus};

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    Usage,
    Interrupted,
    /// The code of a failure or a job, or the exit code of a job binary.
    Passed(u8),
}

impl Exit {
    fn number(self) -> u8 {
        match self {
            Exit::Done => EXIT_DONE,
            Exit::Usage => EXIT_USAGE,
            Exit::Interrupted => EXIT_INTERRUPTED,
            Exit::Passed(code) => code,
        }
    }

    /// The exit of a job.
    pub(crate) fn of_job(status: &JobStatus) -> Exit {
        Exit::Passed(status.exit_code())
    }

    /// Shows this failure to the user.
    pub(crate) fn of_failure(failure: &Failure, format: Format) -> Exit {
        output::failure(failure, format);
        Exit::Passed(failure.code.exit_code())
    }

    /// Shows this failure to the user, as a usage error.
    pub(crate) fn usage(failure: &Failure, format: Format) -> Exit {
        output::failure(failure, format);
        Exit::Usage
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.number())
    }
}

/// The system has no threads or no epoll left.
pub(crate) fn no_runtime(error: std::io::Error) -> Failure {
    Failure::new(Code::IoError, format!("cannot start: {error}"))
}
