//! Names of files and folders that more than one crate builds or parses: each only here.
//!
//! There are four groups: an output (parts, `_SUCCESS`), hidden folders beside it (staging, trash), the folder of a local
//! run, and the folder of a job's scratch files, whose attempts each have a prefix. What only one daemon names in its data
//! folder is named by that daemon. Works on text only: touches no file.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use windrow_model::{AttemptId, Digest, JobId, WorkerId};

/// The manifest: the last file to be written to an output.
pub const SUCCESS: &str = "_SUCCESS";
/// In a data folder: the file that its owner locks.
pub const LOCK: &str = "lock";
/// In a staging folder: random text that shows whether two machines see the same folder.
pub const NONCE: &str = "nonce";

/// In a staging folder: the path of the topmost folder that was created to hold the output, if there was one.
pub const MADE: &str = "made";

const PART: &str = "part-";
const STAGING: &str = ".windrow-";
const TRASH: &str = ".windrow-trash-";
/// Most bytes of a name on local file systems.
const NAME_BYTES_MAX: usize = 255;

/// Least number of digits in the names of numbered files.
const DIGITS_MIN: usize = 5;

/// A number below `count`, padded with zeros so that such numbers sort bytewise: to five digits, or to more if `count` is above
/// 100,000.
pub fn numbered(number: u32, count: usize) -> String {
    let digits = count.saturating_sub(1).checked_ilog10().map_or(1, |log| log as usize + 1).max(DIGITS_MIN);
    format!("{number:0digits$}")
}

/// The name of a part in an output of `parts` parts: `part-00007.gz`. Names sort bytewise in the order of the parts.
pub fn part(index: u32, parts: usize, suffix: &str) -> String {
    format!("{PART}{}{suffix}", numbered(index, parts))
}

/// In an output: the records that were set aside, as JSON lines. Absent if there are none.
pub const BAD_RECORDS: &str = "_bad_records.jsonl";

/// In a staging folder: the parts of all attempts, until the commit takes those of the winners.
pub const PARTS: &str = "_parts";

/// File name in [`PARTS`] of a part of this attempt; unique to the attempt.
pub fn attempt_part(attempt: &AttemptId, suffix: &str) -> String {
    // How many there will be is not known where a part is staged.
    format!("{}.{}", part(attempt.task.index, 0, suffix), attempt_name(attempt))
}

/// Index and suffix of a part file name. In outputs of earlier releases, numbers from 100,000 on have more digits than
/// others.
pub fn parse_part(name: &str) -> Option<(u32, &str)> {
    let rest = name.strip_prefix(PART)?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (number, suffix) = rest.split_at(digits);
    let index = number.parse().ok()?;
    // A suffix with a slash could lead out of the folder.
    (digits >= DIGITS_MIN && !suffix.contains('/')).then_some((index, suffix))
}

/// The hidden folder beside an output in which a job collects its parts: `.NAME.windrow-job-…`.
pub fn staging_folder(output: &Path, job: JobId) -> PathBuf {
    beside(output, STAGING, job)
}

/// The name of a local run's folder for temporary files: `.windrow-job-…`.
pub fn local_run_folder(job: JobId) -> String {
    format!("{STAGING}{job}")
}

/// The job of a local run's folder for temporary files, given its name.
pub fn parse_local_run_folder(name: &OsStr) -> Option<JobId> {
    name.to_str()?.strip_prefix(STAGING)?.parse().ok()
}

/// The hidden folder beside an output to which the old output is moved while a new one replaces it.
pub fn trash_folder(output: &Path, job: JobId) -> PathBuf {
    beside(output, TRASH, job)
}

/// The job of a staging folder, given the folder's name.
pub fn parse_staging(name: &OsStr) -> Option<JobId> {
    parse_hidden(name, STAGING)
}

fn beside(output: &Path, infix: &str, job: JobId) -> PathBuf {
    let name = output.file_name().unwrap_or_default().as_bytes();
    let tail = format!("{infix}{job}");
    let room = NAME_BYTES_MAX - 1 - tail.len();
    let mut hidden = b".".to_vec();
    if name.len() <= room {
        hidden.extend(name);
    } else {
        // Outputs that differ only after the cut must not share a folder.
        let digest = Digest::of(name).to_string();
        hidden.extend(&name[..room - 16]);
        hidden.extend(&digest.as_bytes()[..16]);
    }
    hidden.extend(tail.as_bytes());
    output.with_file_name(OsString::from_vec(hidden))
}

fn parse_hidden(name: &OsStr, infix: &str) -> Option<JobId> {
    let name = name.as_bytes().strip_prefix(b".")?;
    let at = memchr::memmem::rfind(name, infix.as_bytes())?;
    std::str::from_utf8(&name[at + infix.len()..]).ok()?.parse().ok()
}

/// A hidden name for a file that will be renamed to `name`; readers never take it for a finished file.
pub fn temporary(name: &OsStr, unique: u64) -> OsString {
    let mut hidden = b".".to_vec();
    hidden.extend(&name.as_bytes()[..name.len().min(NAME_BYTES_MAX - 22)]);
    hidden.extend(format!(".tmp-{unique:016x}").as_bytes());
    OsString::from_vec(hidden)
}

/// Returns whether [`temporary`] made this name.
pub fn is_temporary(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.first() == Some(&b'.')
        && memchr::memmem::rfind(name, b".tmp-")
            .map(|at| &name[at + 5..])
            .is_some_and(|n| n.len() == 16 && n.iter().all(u8::is_ascii_hexdigit))
}

/// Name of the folder of all scratch files of a job on one node.
pub fn job_folder(job: JobId) -> String {
    job.to_string()
}

/// An attempt in the names of files of its job: `STAGE-TASK-ATTEMPT-EPOCH`.
pub fn attempt_name(attempt: &AttemptId) -> String {
    format!("{}-{}-{}-{}", attempt.task.stage, attempt.task.index, attempt.number, attempt.epoch)
}

/// In a folder that attempts share: the prefix of the names of an attempt's files.
pub fn attempt_prefix(attempt: &AttemptId) -> String {
    format!("{}.", attempt_name(attempt))
}

/// After an attempt's prefix: the shuffle file of output `output`.
pub fn edge_file(output: u32) -> String {
    format!("edge-{output}")
}

/// After an attempt's prefix: the part file of a sink of the plan; a task has at most one for each.
pub fn sink_file(sink: u32) -> String {
    format!("sink-{sink}")
}

/// After an attempt's prefix: what a worker has fetched from `holder` for port `port` of input `input`.
pub fn fetched_file(holder: WorkerId, input: u32, port: u32) -> String {
    format!("in-{holder}.{input}.{port}")
}

/// In a spill folder: a file of sorted run number `run` of process `process`.
pub fn run_file(process: u32, run: u64) -> String {
    format!("run-{process}-{run}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> JobId {
        JobId::from_bytes([7; 16])
    }

    #[test]
    fn part_names_read_back_and_sort() {
        for parts in [1, 100_000, 100_001, 1_000_000] {
            for (index, suffix) in [(0, ""), (7, ".gz"), (99_999, ""), (123_456, ".tsv")] {
                assert_eq!(parse_part(&part(index, parts, suffix)), Some((index, suffix)));
            }
            assert!((0..parts as u32 - 1).all(|i| part(i, parts, "") < part(i + 1, parts, "")), "{parts}");
        }
        assert_eq!([1, 100_000, 100_001].map(|parts| part(0, parts, "")), ["part-00000", "part-00000", "part-000000"]);
        for foreign in [
            "part-",
            "part-0",
            "part-0001",
            "part-x",
            "Part-00000",
            "part-+0001",
            "part-99999999999",
            "part-00000/../x",
        ] {
            assert_eq!(parse_part(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn hidden_folders_are_beside_the_output() {
        let staging = staging_folder(Path::new("/data/out"), job());
        assert_eq!(staging, Path::new(&format!("/data/.out.windrow-{}", job())));
        assert_eq!(parse_staging(staging.file_name().unwrap()), Some(job()));
        let trash = trash_folder(Path::new("/data/out"), job());
        assert_eq!(trash, Path::new(&format!("/data/.out.windrow-trash-{}", job())));
        assert_eq!(parse_staging(trash.file_name().unwrap()), None);
        assert_eq!(parse_staging(OsStr::new(".bashrc")), None);
    }

    #[test]
    fn longest_names_fit_and_stay_distinct() {
        let a = staging_folder(Path::new(&format!("/d/{}a", "x".repeat(254))), job());
        let b = staging_folder(Path::new(&format!("/d/{}b", "x".repeat(254))), job());
        assert_ne!(a, b);
        assert_eq!(a.file_name().unwrap().len(), 255);
        assert_eq!(parse_staging(a.file_name().unwrap()), Some(job()));
        assert!(temporary(OsStr::new(&"x".repeat(255)), 1).len() <= 255);
    }

    #[test]
    fn temporary_names_are_known_as_such() {
        assert!(is_temporary(&temporary(OsStr::new("part-00000"), 0xabc)));
        assert!(!is_temporary(OsStr::new("part-00000")));
        assert!(!is_temporary(OsStr::new(".x.tmp-12")));
    }
}
