//! The exit codes, and which failure gives which. Scripts rely on them.

use crate::output::{self, Format};
use std::process::ExitCode;
use windrow_model::{Code, Failure, JobState, JobStatus};

/// How the program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done,
    JobFailed,
    Usage,
    Unreachable,
    Cancelled,
    TimedOut,
    Interrupted,
    /// What a job binary exited with when it was asked to describe its job.
    Passed(u8),
}

impl Exit {
    fn number(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::JobFailed => 1,
            Exit::Usage => 2,
            Exit::Unreachable => 3,
            Exit::Cancelled => 4,
            Exit::TimedOut => 5,
            Exit::Interrupted => 130,
            Exit::Passed(code) => code,
        }
    }

    fn of_code(code: Code) -> Exit {
        match code {
            Code::BadBinary | Code::NotAJob | Code::Insecure | Code::BadRequest => Exit::Usage,
            Code::Unreachable | Code::Unauthorised | Code::VersionMismatch => Exit::Unreachable,
            Code::CertificateNotTrusted | Code::CertificateWrongName | Code::CertificateExpired => Exit::Unreachable,
            Code::Cancelled => Exit::Cancelled,
            Code::DeadlineExceeded => Exit::TimedOut,
            Code::Interrupted => Exit::Interrupted,
            _ => Exit::JobFailed,
        }
    }

    /// How a job ended. A job fails with a code of its own, but a failed job that could not reach something is a
    /// failed job.
    pub fn of_job(status: &JobStatus) -> Exit {
        match (status.state, status.error.as_ref().map(|e| e.code)) {
            (JobState::Done, _) => Exit::Done,
            (JobState::Cancelled, _) | (_, Some(Code::Cancelled)) => Exit::Cancelled,
            (_, Some(Code::DeadlineExceeded)) => Exit::TimedOut,
            _ => Exit::JobFailed,
        }
    }

    /// Tells the user of this failure.
    pub fn of_failure(failure: &Failure, format: Format) -> Exit {
        output::failure(failure, format);
        Exit::of_code(failure.code)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_exit_as_scripts_expect() {
        for (code, number) in [
            (Code::UserPanic, 1),
            (Code::OutputExists, 1),
            (Code::NotAJob, 2),
            (Code::BadBinary, 2),
            (Code::Insecure, 2),
            (Code::Unreachable, 3),
            (Code::Unauthorised, 3),
            (Code::CertificateNotTrusted, 3),
            (Code::CertificateWrongName, 3),
            (Code::CertificateExpired, 3),
            (Code::Cancelled, 4),
            (Code::DeadlineExceeded, 5),
            (Code::Interrupted, 130),
        ] {
            assert_eq!(Exit::of_code(code).number(), number, "{code}");
        }
    }
}
