//! Exit codes of the programs: one rule for the command line, job binaries and drivers. Scripts rely on them.

use crate::{Code, JobState, JobStatus};

/// The program did what it was asked for.
pub const EXIT_DONE: u8 = 0;
/// A job failed, or the program could not do its work.
pub const EXIT_FAILED: u8 = 1;
/// The command line, the settings or the job binary are wrong.
pub const EXIT_USAGE: u8 = 2;
/// The cluster cannot be reached, or does not accept this client.
pub const EXIT_UNREACHABLE: u8 = 3;
/// The job was cancelled.
pub const EXIT_CANCELLED: u8 = 4;
/// A time limit of the job or the command ran out.
pub const EXIT_TIMED_OUT: u8 = 5;
/// The program was interrupted by a signal: 128 and SIGINT.
pub const EXIT_INTERRUPTED: u8 = 130;

impl Code {
    /// The exit code of a program that ends with this failure.
    pub fn exit_code(self) -> u8 {
        match self {
            Code::BadBinary | Code::NotAJob | Code::NoClient | Code::Insecure | Code::BadRequest => EXIT_USAGE,
            Code::Unreachable | Code::Unauthorised | Code::VersionMismatch => EXIT_UNREACHABLE,
            Code::CertificateNotTrusted | Code::CertificateWrongName | Code::CertificateExpired => EXIT_UNREACHABLE,
            Code::Cancelled => EXIT_CANCELLED,
            Code::DeadlineExceeded => EXIT_TIMED_OUT,
            Code::Interrupted => EXIT_INTERRUPTED,
            _ => EXIT_FAILED,
        }
    }
}

impl JobStatus {
    /// The exit code of a program that waited for the end of this job on a cluster. The causes of a job's own failure do not
    /// count as failures of the program: a job that could not reach a service has failed, and the cluster was reached.
    pub fn exit_code(&self) -> u8 {
        match (self.state, self.error.as_ref().map(|error| error.code)) {
            (JobState::Done, _) => EXIT_DONE,
            (JobState::Cancelled, _) | (_, Some(Code::Cancelled)) => EXIT_CANCELLED,
            (_, Some(Code::DeadlineExceeded)) => EXIT_TIMED_OUT,
            _ => EXIT_FAILED,
        }
    }
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
            (Code::NoClient, 2),
            (Code::BadBinary, 2),
            (Code::BadRequest, 2),
            (Code::Insecure, 2),
            (Code::Unreachable, 3),
            (Code::Unauthorised, 3),
            (Code::VersionMismatch, 3),
            (Code::CertificateNotTrusted, 3),
            (Code::CertificateWrongName, 3),
            (Code::CertificateExpired, 3),
            (Code::Cancelled, 4),
            (Code::DeadlineExceeded, 5),
            (Code::Interrupted, 130),
        ] {
            assert_eq!(code.exit_code(), number, "{code}");
        }
    }
}
