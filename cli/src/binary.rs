//! Job binaries: asks one for its job. `file.rs` checks that a file is one.

mod file;

pub(crate) use file::read;

use crate::exit::Exit;
use crate::output;
use rustix::fs::{MemfdFlags, memfd_create};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};
use windrow_model::{Code, Escape, Failure, JobSpec};
use windrow_proto::{FrameError, read_frame, v1};

/// The first argument that makes a job binary print its job.
const DESCRIBE: &str = "__windrow-describe";

/// Arguments to which a job binary answers with a text on stdout instead of a job.
const ASKS_FOR_TEXT: [&str; 5] = ["--help", "-h", "help", "--version", "-V"];

/// The variable with the file descriptor that the binary writes its answer to.
const ANSWER_FD: &str = "WINDROW_DESCRIBE_FD";

/// The answer of a binary.
pub(crate) enum Described {
    Job {
        /// Without id and binary.
        spec: Box<JobSpec>,
        /// Contents of the plan's side values.
        sides: Vec<Vec<u8>>,
    },
    /// The plan as text, if the job's own arguments ask for it.
    Explained(String),
}

/// Runs the binary to learn its job. Its stderr goes to the user unchanged; if it fails, its exit code is returned. It
/// answers in a file of its own, so its printed output is no part of the answer; a binary of an earlier release answers
/// on stdout.
pub(crate) fn describe(path: &Path, args: &[OsString]) -> Result<Result<Described, Exit>, Failure> {
    let shown = path.escaped();
    let no_file = |e: io::Error| Failure::new(Code::IoError, format!("cannot make a file in memory: {e}"));
    // The child inherits the first one by number and opens it anew, so it writes from the beginning.
    let mut answer = memory_file(MemfdFlags::empty()).map_err(no_file)?;
    let mut stdout = memory_file(MemfdFlags::CLOEXEC).map_err(no_file)?;
    let mut command = Command::new(path);
    command.arg(DESCRIBE).args(args).env(ANSWER_FD, answer.as_raw_fd().to_string());
    command.stdin(Stdio::null()).stdout(stdout.try_clone().map_err(no_file)?);
    let mut child = command.spawn().map_err(|e| {
        let what = match e.kind() {
            ErrorKind::PermissionDenied => format!("{shown} may not be executed: run `chmod +x {shown}`"),
            _ => format!("{shown} does not start: {e}"),
        };
        Failure::new(Code::BadBinary, what)
    })?;
    let status = child.wait().map_err(|e| Failure::new(Code::IoError, format!("lost sight of {shown}: {e}")))?;
    if !status.success() {
        return Ok(Err(match status.code() {
            Some(code) => Exit::Passed(u8::try_from(code).unwrap_or(2)),
            None => {
                return Err(Failure::new(
                    Code::ExecutorCrashed,
                    format!("{shown} died while it built its plan: {status}"),
                ));
            }
        }));
    }
    let odd =
        |why: String| Failure::new(Code::NotAJob, format!("{shown} does not answer as a Windrow job does: {why}"));
    let mut described = read_answer(&mut answer).map_err(|e| odd(e.to_string()))?;
    if described.is_none() {
        stdout.rewind().map_err(no_file)?;
        if args.iter().any(|arg| ASKS_FOR_TEXT.iter().any(|asks| arg == asks)) {
            // The arguments ask for the text, and there is no job.
            let mut text = Vec::new();
            stdout.read_to_end(&mut text).map_err(no_file)?;
            output::put_bytes(&text)?;
            return Ok(Err(Exit::Passed(0)));
        }
        described = read_answer(&mut stdout).map_err(|e| odd(e.to_string()))?;
    }
    let Some((described, sides)) = described else {
        return Err(odd("it printed nothing; is `windrow::main` the first thing in its main?".into()));
    };
    windrow_proto::check_range(described.protocol.as_ref())?;
    if !described.explained.is_empty() {
        return Ok(Ok(Described::Explained(described.explained)));
    }
    let spec = described.spec.ok_or_else(|| odd("there is no job in it".into()))?;
    Ok(Ok(Described::Job { spec: Box::new(JobSpec::try_from(spec)?), sides }))
}

fn memory_file(flags: MemfdFlags) -> io::Result<File> {
    Ok(File::from(memfd_create(c"windrow-describe", flags)?))
}

/// The description, and the contents of its side values.
type Answer = (v1::Describe, Vec<Vec<u8>>);

/// A frame, and the side values that follow it or are in it.
fn read_answer(from: &mut impl Read) -> Result<Option<Answer>, FrameError> {
    let Some(mut described) = read_frame::<v1::Describe>(from)? else { return Ok(None) };
    let mut sides = std::mem::take(&mut described.sides);
    for length in &described.side_lengths {
        let mut side = Vec::new();
        // It grows with the available bytes, whatever the frame says.
        if from.take(*length).read_to_end(&mut side)? as u64 != *length {
            return Err(io::Error::from(ErrorKind::UnexpectedEof).into());
        }
        sides.push(side);
    }
    Ok(Some((described, sides)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn side_values_follow_the_frame_or_lie_in_it() {
        let frame = |described: &v1::Describe| windrow_proto::frame::encode_frame(described).unwrap();
        let inside = v1::Describe { sides: vec![b"one".to_vec()], ..Default::default() };
        assert_eq!(read_answer(&mut &frame(&inside)[..]).unwrap().unwrap().1, [b"one"]);
        let behind = v1::Describe { side_lengths: vec![3, 0, 2], ..Default::default() };
        let answer = [frame(&behind), b"onexy".to_vec()].concat();
        assert_eq!(read_answer(&mut &answer[..]).unwrap().unwrap().1, [&b"one"[..], b"", b"xy"]);
        assert!(read_answer(&mut &answer[..answer.len() - 1]).is_err());
        let endless = v1::Describe { side_lengths: vec![u64::MAX], ..Default::default() };
        assert!(read_answer(&mut &frame(&endless)[..]).is_err());
    }
}
