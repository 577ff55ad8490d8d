//! Describes a job for `windrow submit`: its spec, and the contents of its side values.
//!
//! `submit` starts the binary with a hidden argument and passes the number of a file descriptor for the answer: one
//! frame, followed by the bytes of each side value, whose lengths are in the frame. So an answer has no size limit, and
//! output of the job's code does not mix with it. A `submit` of an earlier release passes no descriptor; then the
//! answer is one frame on standard output, and other output goes to stderr.

use crate::error::{Error, Result};
use crate::plan::build::build;
use crate::plan::explain::explain;
use crate::plan::job::AnyJob;
use crate::plan::stored::Datasets;
use crate::run::flags::{Run, RunFlags};
use crate::stdout;
use std::fs::File;
use std::io::{BufWriter, Write};
use windrow_model::{Code, Digest, JobId, JobSpec};
use windrow_proto::frame::encode_frame;
use windrow_proto::v1;

/// Environment variable with the file descriptor for the answer.
const ANSWER_FD: &str = "WINDROW_DESCRIBE_FD";

/// Answers `windrow submit`; with `--explain`, with the plan as text.
pub(crate) fn describe(job: &dyn AnyJob, name: &str, flags: &RunFlags) -> Result<()> {
    stdout::reserve()?;
    flags.warn_without_effect(Run::Submitted);
    let mut described = v1::Describe { protocol: Some(windrow_proto::own_range()), ..Default::default() };
    let mut sides = Vec::new();
    if flags.explain {
        described.explained = explain(&build(job, flags.overwrite, None)?.plan);
    } else {
        let (spec, contents) = specify(job, name, flags, None)?;
        described.spec = Some(spec.into());
        sides = contents;
    }
    match answer_file()? {
        Some(file) => {
            described.side_lengths = sides.iter().map(|side| side.len() as u64).collect();
            let mut file = BufWriter::new(file);
            let written = sides.iter().fold(file.write_all(&encode(&described)?), |written, side| {
                written.and_then(|()| file.write_all(side))
            });
            written.and_then(|()| file.flush()).map_err(|e| unanswered(&e))
        }
        None if flags.explain => Ok(stdout::put(described.explained.as_bytes()).map(drop)?),
        None => {
            described.sides = sides;
            Ok(stdout::put(&encode(&described)?).map(drop)?)
        }
    }
}

fn encode(described: &v1::Describe) -> Result<Vec<u8>> {
    encode_frame(described).map_err(|e| Error::new(Code::PlanInvalid, format!("the job's description: {e}")))
}

fn unanswered(e: &std::io::Error) -> Error {
    Error::new(Code::IoError, format!("cannot describe the job to `windrow submit`: {e}"))
}

/// Opens the answer file anew, so that child processes of the job's code cannot write to it by accident.
fn answer_file() -> Result<Option<File>> {
    let Ok(number) = std::env::var(ANSWER_FD) else { return Ok(None) };
    let number: u32 =
        number.parse().map_err(|_| Error::new(Code::BadRequest, format!("{ANSWER_FD} is not a file descriptor")))?;
    let file = File::options().write(true).open(format!("/proc/self/fd/{number}"));
    file.map(Some).map_err(|e| unanswered(&e))
}

/// The spec of a job without its id and its binary, and the side values.
pub(crate) fn specify(
    job: &dyn AnyJob,
    name: &str,
    flags: &RunFlags,
    datasets: Option<Datasets>,
) -> Result<(JobSpec, Vec<Vec<u8>>)> {
    let built = build(job, flags.overwrite, datasets)?;
    let spec = JobSpec {
        id: JobId(uuid::Uuid::nil()),
        name: name.to_string(),
        program: job.program().to_string(),
        params: job.params()?,
        plan: built.plan,
        binary: Digest([0; 32]),
        options: flags.job_options(),
    };
    Ok((spec, built.sides))
}
