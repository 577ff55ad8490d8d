//! Recovers finished outputs of earlier incarnations.
//!
//! The log of a job (`report_log.rs`) says which attempts have finished and where their outputs lie. The next incarnation of
//! the worker checks that the images are complete by their indexes (blocks carry their own checksums, which readers check),
//! and offers the attempts to the coordinator. Nothing is synced: after a power cut an image may be torn, which is detected,
//! and the task reruns.

use crate::attempt_files::AttemptFiles;
use crate::outputs::{Held, Spooled};
use crate::report_log::{self, KeptReport, ReportLog};
use crate::scratch::Scratch;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use windrow_format::block::Identity;
use windrow_format::stage_index::OutputImage;
use windrow_format::{regular_file, shuffle};
use windrow_model::{AttemptId, EdgeReport, Incarnation, JobId, OutputReport, TaskReport, total};

/// A finished attempt of an earlier incarnation.
#[derive(Debug, PartialEq)]
pub(crate) struct Recovered {
    pub attempt: AttemptId,
    pub report: TaskReport,
    /// Its outputs that lie in a spool.
    pub spooled: Vec<Spooled>,
}

/// Whether a later incarnation could offer this. It could not offer parts of outputs, which are placed within one
/// incarnation or not at all. A task without records is rerun sooner than its report is written.
pub(crate) fn is_worth_keeping(report: &TaskReport) -> bool {
    report.outputs.iter().any(|o| matches!(o, OutputReport::Edge(edge) if !edge.is_empty()))
}

/// Finished attempts of earlier incarnations, moved back to where they are served from.
///
/// Registration waits for this. So only folders with the names of an incarnation and a job are entered: files that programs
/// of jobs left beside them are not visited, however many there are.
pub(crate) fn restore(scratch: &Scratch) -> Vec<Recovered> {
    if scratch.is_copy() {
        return Vec::new();
    }
    let is_incarnation = |name: &OsStr| name.to_str().is_some_and(|name| name.parse::<u64>().is_ok());
    let is_job = |name: &OsStr| name.to_str().is_some_and(|name| name.parse::<JobId>().is_ok());
    let incarnations = scratch.set_aside_incarnations().into_iter().flat_map(|folder| folders(folder, is_incarnation));
    incarnations
        .flat_map(|incarnation| folders(incarnation, is_job))
        .flat_map(|job| restore_job(scratch, &job))
        .collect()
}

/// The attempts of one job in a folder that was moved away.
fn restore_job(scratch: &Scratch, aside: &Path) -> Vec<Recovered> {
    let Some((incarnation, job)) = owner_of(aside) else { return Vec::new() };
    let kept = report_log::read(&Scratch::reports_in(aside));
    let whole: BTreeMap<AttemptId, (KeptReport, TaskReport)> = kept
        .into_iter()
        // Programs of the job can write to the log, too.
        .filter(|(attempt, _)| (attempt.incarnation, attempt.task.job) == (incarnation, job))
        .filter_map(|(attempt, kept)| {
            let report = TaskReport::try_from(kept.report.clone()?).ok()?;
            is_whole(aside, &attempt, &kept, &report).then_some((attempt, (kept, report)))
        })
        .collect();
    let home = scratch.job(incarnation, job);
    if whole.is_empty() || scratch.make_folders(&home).is_err() {
        return Vec::new();
    }
    let generations: BTreeSet<u64> =
        whole.values().filter(|(kept, _)| !kept.spooled.is_empty()).map(|(kept, _)| kept.generation).collect();
    let moved = |generation: &u64| {
        fs::rename(Scratch::spool_in(aside, *generation), Scratch::spool_in(&home, *generation)).is_ok()
    };
    let spools: BTreeSet<u64> = generations.into_iter().filter(moved).collect();
    let log = ReportLog::at(Scratch::reports_in(&home));
    let mut recovered = Vec::new();
    for (attempt, (kept, report)) in whole {
        let is_spooled = |output: u32| kept.spooled.iter().any(|spooled| spooled.output == output);
        let [from, to] = [aside, &home].map(|folder| AttemptFiles::within(folder.to_path_buf(), &attempt));
        let moved = |(output, edge): (u32, &EdgeReport)| {
            edge.is_empty() || is_spooled(output) || fs::rename(from.edge(output), to.edge(output)).is_ok()
        };
        let here = (kept.spooled.is_empty() || spools.contains(&kept.generation)) && edges(&report).all(moved);
        // Without its record the next incarnation would not find it again.
        if here {
            if let Err(e) = log.append(&kept) {
                tracing::debug!("the report of {attempt} is not kept: {e}");
            }
            let spooled = spooled(&home, kept.generation, kept.spooled);
            recovered.push(Recovered { attempt, report, spooled });
        }
    }
    recovered
}

/// The incarnation and the job of a folder that was moved away, from its path.
fn owner_of(aside: &Path) -> Option<(Incarnation, JobId)> {
    let incarnation = aside.parent()?.file_name()?.to_str()?.parse().ok()?;
    Some((Incarnation(incarnation), aside.file_name()?.to_str()?.parse().ok()?))
}

/// The outputs in the spool of an executor of this generation, in a job's folder.
pub(crate) fn spooled(job: &Path, generation: u64, places: Vec<windrow_proto::v1::Spooled>) -> Vec<Spooled> {
    let file: std::sync::Arc<Path> = Scratch::spool_in(job, generation).into();
    let one = |place: windrow_proto::v1::Spooled| Spooled {
        output: place.output,
        image: OutputImage { file: file.clone(), base: place.offset, length: place.length },
    };
    places.into_iter().map(one).collect()
}

/// Whether the images of an attempt are complete and as its report says.
fn is_whole(job: &Path, attempt: &AttemptId, kept: &KeptReport, report: &TaskReport) -> bool {
    let files = AttemptFiles::within(job.to_path_buf(), attempt);
    let held = Held::new(files, report, spooled(job, kept.generation, kept.spooled.clone()));
    edges(report).all(|(output, edge)| {
        let Ok(OutputImage { file, base, length }) = held.image(output) else { return false };
        edge.is_empty()
            || regular_file::open(&file).is_ok_and(|file| {
                let owner = Identity::of_output(attempt, output);
                shuffle::read_index_at(&file, base, length, &owner).is_ok_and(|segments| {
                    total(segments.iter().map(|s| s.length)) == edge.bytes
                        && total(segments.iter().map(|s| s.records)) == edge.records
                })
            })
    })
}

fn edges(report: &TaskReport) -> impl Iterator<Item = (u32, &EdgeReport)> {
    (0u32..).zip(&report.outputs).filter_map(|(i, output)| match output {
        OutputReport::Edge(edge) => Some((i, edge)),
        OutputReport::Broadcast(_) | OutputReport::Sink(_) | OutputReport::Stored(_) => None,
    })
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
    use windrow_format::codec::Codec;
    use windrow_format::shuffle::ShuffleWriter;
    use windrow_format::spool::Spool;
    use windrow_model::Counters;
    use windrow_proto::v1;
    use windrow_sim::samples::attempt;

    /// A finished attempt with one output in a file or in the spool, as an executor leaves it.
    fn finished(scratch: &Scratch, n: u32, spool: Option<&Spool>) -> (AttemptId, TaskReport) {
        let id = attempt(1, n);
        let files = scratch.attempt(&id);
        fs::create_dir_all(files.folder()).unwrap();
        let mut writer = ShuffleWriter::create(&files.edge(0), Identity::of_output(&id, 0), Codec::None).unwrap();
        writer.push(0, b"key", b"value").unwrap();
        let outputs = vec![OutputReport::Edge(EdgeReport::of(&writer.finish().unwrap(), 1))];
        let report = TaskReport { outputs, counters: Counters::default(), run_ms: 5, inputs: 6 };
        let spooled = spool.map(|spool| {
            let place = spool.append(&[&fs::read(files.edge(0)).unwrap()]).unwrap().unwrap();
            fs::remove_file(files.edge(0)).unwrap();
            v1::Spooled { output: 0, offset: place.offset, length: place.length }
        });
        let kept = KeptReport {
            attempt: Some(id.into()),
            report: Some(report.clone().into()),
            generation: 3,
            spooled: spooled.into_iter().collect(),
        };
        log(scratch).append(&kept).unwrap();
        (id, report)
    }

    fn job(scratch: &Scratch) -> PathBuf {
        scratch.job(attempt(1, 0).incarnation, attempt(1, 0).task.job)
    }

    fn log(scratch: &Scratch) -> ReportLog {
        ReportLog::at(Scratch::reports_in(&job(scratch)))
    }

    #[test]
    fn next_incarnation_recovers_only_whole_outputs() {
        let folder = tempfile::tempdir().unwrap();
        let (whole, gone) = {
            let scratch = Scratch::open(folder.path()).unwrap();
            let spool = Spool::new(Scratch::spool_in(&job(&scratch), 3));
            let whole = [finished(&scratch, 0, None), finished(&scratch, 1, Some(&spool))];
            let gone: Vec<_> = (2..5).map(|n| finished(&scratch, n, None).0).collect();
            let cut = |path: &Path| {
                let bytes = fs::read(path).unwrap();
                fs::write(path, &bytes[..bytes.len() - 1]).unwrap();
            };
            cut(&scratch.attempt(&gone[0]).edge(0));
            fs::remove_file(scratch.attempt(&gone[1]).edge(0)).unwrap();
            log(&scratch).append(&KeptReport { attempt: Some(gone[2].into()), ..KeptReport::default() }).unwrap();
            let erased = finished(&scratch, 5, Some(&spool)).0;
            let place = report_log::read(&Scratch::reports_in(&job(&scratch)))[&erased].spooled[0];
            let place = windrow_format::spool::Place { offset: place.offset, length: place.length };
            windrow_format::spool::erase(spool.path(), place).unwrap();
            (whole, gone)
        };
        for _ in 0..2 {
            // And the incarnation after that.
            let scratch = Scratch::open(folder.path()).unwrap();
            let restored = restore(&scratch);
            assert_eq!(restored.iter().map(|r| (r.attempt, r.report.clone())).collect::<Vec<_>>(), whole);
            scratch.sweep().unwrap();
            assert!(scratch.attempt(&whole[0].0).edge(0).exists() && restored[1].spooled[0].image.file.exists());
            assert!(gone.iter().all(|id| !scratch.attempt(id).edge(0).exists()));
        }
    }
}
