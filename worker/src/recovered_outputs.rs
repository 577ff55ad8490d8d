//! Recovers finished outputs of earlier incarnations.
//!
//! An attempt's report lies beside its shuffle files. The next incarnation of the worker finds it, checks that the
//! shuffle files are complete by their indexes (blocks carry their own checksums, which readers check), and offers it
//! to the coordinator. Nothing is synced: after a power cut a file may be torn, which is detected, and the task reruns.

use crate::scratch::{AttemptFolder, Scratch};
use prost::Message;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use windrow_format::checksum::crc32c;
use windrow_format::durable::{self, Durability};
use windrow_format::regular_file;
use windrow_format::{names, shuffle};
use windrow_model::{AttemptId, JobId, OutputReport, Segment, TaskReport};
use windrow_proto::v1;

const REPORT: &str = "report";
/// Upper bound on the size of a report.
const REPORT_BYTES_MAX: u64 = 256 << 20;

/// Whether a later incarnation could offer this. It could not offer parts of outputs, which are placed within one
/// incarnation or not at all. A task without records is rerun sooner than its report is written.
pub(crate) fn is_worth_keeping(report: &TaskReport) -> bool {
    report.outputs.iter().any(|o| matches!(o, OutputReport::Edge(segments) if !segments.is_empty()))
}

/// Writes the report into the attempt's folder, atomically.
pub(crate) fn keep(folder: &Path, attempt: AttemptId, report: TaskReport) -> io::Result<()> {
    let body = v1::AttemptDone { attempt: Some(attempt.into()), report: Some(report.into()) }.encode_to_vec();
    let mut bytes = crc32c(&body).to_le_bytes().to_vec();
    bytes.extend_from_slice(&body);
    durable::write_private(&folder.join(REPORT), &bytes, Durability::NoSync)
}

/// Finished attempts of earlier incarnations, moved back to where they are served from.
///
/// Registration waits for this. So only folders with the names of an incarnation, a job and an attempt are entered:
/// files that programs of jobs left beside them are not visited, however many there are.
pub(crate) fn restore(scratch: &Scratch) -> Vec<(AttemptId, TaskReport)> {
    if scratch.is_copy() {
        return Vec::new();
    }
    let is_incarnation = |name: &OsStr| name.to_str().is_some_and(|name| name.parse::<u64>().is_ok());
    let is_job = |name: &OsStr| name.to_str().is_some_and(|name| name.parse::<JobId>().is_ok());
    let incarnations = scratch.set_aside_incarnations().into_iter().flat_map(|folder| folders(folder, is_incarnation));
    let jobs = incarnations.flat_map(|incarnation| folders(incarnation, is_job));
    let attempts = jobs.flat_map(|job| folders(job, names::is_attempt_folder));
    attempts.filter_map(|folder| restore_one(scratch, AttemptFolder::at(folder))).collect()
}

fn restore_one(scratch: &Scratch, folder: AttemptFolder) -> Option<(AttemptId, TaskReport)> {
    let (attempt, report) = read(&folder.path().join(REPORT))?;
    let home = scratch.attempt(&attempt);
    let whole = || {
        let mut edges = (0u32..).zip(&report.outputs).filter_map(|(i, o)| match o {
            OutputReport::Edge(segments) => Some((i, segments)),
            OutputReport::Broadcast(_) | OutputReport::Sink(_) | OutputReport::Stored(_) => None,
        });
        edges.all(|(i, segments)| {
            // A task without records for an output may have written no file.
            segments.is_empty()
                || shuffle::read_index_of(&folder.edge(i))
                    .is_ok_and(|found| found.iter().map(place).eq(segments.iter().map(place)))
        })
    };
    let moved = whole()
        && scratch.make_folders(home.path().parent()?).is_ok()
        && fs::rename(folder.path(), home.path()).is_ok();
    moved.then_some((attempt, report))
}

fn read(path: &Path) -> Option<(AttemptId, TaskReport)> {
    let bytes = regular_file::read(path, REPORT_BYTES_MAX).ok()?;
    let (sum, body) = bytes.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*sum) != crc32c(body) {
        return None;
    }
    let done = v1::AttemptDone::decode(body).ok()?;
    Some((AttemptId::try_from(done.attempt?).ok()?, TaskReport::try_from(done.report?).ok()?))
}

/// The digests of a report may differ from those of the file: some include what the attempt has read.
fn place(segment: &Segment) -> Segment {
    Segment { digest: 0, ..*segment }
}

/// The folders with such names in a folder; links do not count.
fn folders(path: PathBuf, is_it: fn(&OsStr) -> bool) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let wanted = entries.filter(move |e| is_it(&e.file_name()) && e.file_type().is_ok_and(|t| t.is_dir()));
    wanted.map(|e| e.path())
}

#[cfg(test)]
mod tests {
    use super::*;
    use windrow_format::block::Identity;
    use windrow_format::codec::Codec;
    use windrow_format::shuffle::ShuffleWriter;
    use windrow_model::Counters;
    use windrow_sim::samples::attempt;

    /// A finished attempt with one shuffle file, as an executor leaves it.
    fn finished(scratch: &Scratch, n: u32) -> (AttemptId, TaskReport) {
        let id = attempt(1, n);
        let folder = scratch.attempt(&id);
        fs::create_dir_all(folder.outputs()).unwrap();
        let mut writer = ShuffleWriter::create(&folder.edge(0), Identity::default(), Codec::None).unwrap();
        writer.push(0, b"key", b"value").unwrap();
        let outputs = vec![OutputReport::Edge(writer.finish().unwrap())];
        let report = TaskReport { outputs, counters: Counters::default(), run_ms: 5, inputs: 6 };
        keep(folder.path(), id, report.clone()).unwrap();
        (id, report)
    }

    #[test]
    fn next_incarnation_recovers_only_whole_outputs() {
        let folder = tempfile::tempdir().unwrap();
        let (whole, report, places) = {
            let scratch = Scratch::open(folder.path()).unwrap();
            let (whole, report) = finished(&scratch, 0);
            let places: Vec<_> = (1..5).map(|n| scratch.attempt(&finished(&scratch, n).0)).collect();
            (whole, report, places)
        };
        let cut = |path: &Path| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() - 1]).unwrap();
        };
        cut(&places[0].edge(0));
        cut(&places[1].path().join(REPORT));
        fs::remove_file(places[2].path().join(REPORT)).unwrap();
        fs::remove_file(places[3].edge(0)).unwrap();
        let scratch = Scratch::open(folder.path()).unwrap();
        assert_eq!(restore(&scratch), [(whole, report.clone())]);
        scratch.sweep().unwrap();
        assert!(scratch.attempt(&whole).edge(0).exists());
        assert!(places.iter().all(|p| !p.path().exists()));
        drop(scratch);
        // And the incarnation after that.
        assert_eq!(restore(&Scratch::open(folder.path()).unwrap()), [(whole, report)]);
    }
}
