//! How a command ends. The rule for exit codes is `windrow_model::Code::exit_code`.

use crate::output::{self, Format};
use std::process::ExitCode;
use windrow_model::{Code, EXIT_DONE, EXIT_INTERRUPTED, EXIT_USAGE, Failure, JobStatus};

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Done,
    Usage,
    Interrupted,
    /// What a failure or a job calls for, or what a job binary exited with.
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

    /// How a job ended.
    pub fn of_job(status: &JobStatus) -> Exit {
        Exit::Passed(status.exit_code())
    }

    /// Tells the user of this failure.
    pub fn of_failure(failure: &Failure, format: Format) -> Exit {
        output::failure(failure, format);
        Exit::Passed(failure.code.exit_code())
    }

    /// Tells the user of this failure, which is a mistake in what was typed.
    pub fn usage(failure: &Failure, format: Format) -> Exit {
        output::failure(failure, format);
        Exit::Usage
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.number())
    }
}

/// The system gives no threads or no epoll.
pub fn no_runtime(error: std::io::Error) -> Failure {
    Failure::new(Code::IoError, format!("cannot start: {error}"))
}
