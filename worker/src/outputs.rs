//! The finished attempts whose outputs tasks may read, and where each output lies.
//!
//! The node writes it; staging and the services read it. It holds an attempt from its end until it is revoked or its job is
//! dropped. An output is an image (see `windrow_format::shuffle`): in a file of its own, or in the spool of the executor that
//! wrote it.

use crate::attempt_files::AttemptFiles;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use windrow_format::stage_index::OutputImage;
use windrow_model::{AttemptId, Code, Failure, JobId, OutputReport, TaskReport};

/// An output in the spool of an executor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spooled {
    /// Index of the output.
    pub output: u32,
    /// Where it lies.
    pub image: OutputImage,
}

/// The outputs of one finished attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    files: AttemptFiles,
    /// Outputs with records, ascending.
    written: Vec<u32>,
    /// Sinks for which it has made parts, which are moved away when they are placed.
    parts: Vec<u32>,
    spooled: Vec<Spooled>,
}

impl Held {
    /// The outputs of this report, of which some lie in a spool and the others in files of the attempt.
    pub(crate) fn new(files: AttemptFiles, report: &TaskReport, spooled: Vec<Spooled>) -> Held {
        let written = (0u32..).zip(&report.outputs).filter_map(|(i, output)| match output {
            OutputReport::Edge(edge) => (!edge.is_empty()).then_some(i),
            OutputReport::Broadcast(_) | OutputReport::Sink(_) | OutputReport::Stored(_) => None,
        });
        let parts = report.outputs.iter().filter_map(|output| match output {
            OutputReport::Sink(part) => Some(part.sink),
            OutputReport::Edge(_) | OutputReport::Broadcast(_) | OutputReport::Stored(_) => None,
        });
        Held { files, written: written.collect(), parts: parts.collect(), spooled }
    }

    /// Whether it has written anything for other tasks.
    pub(crate) fn has_outputs(&self) -> bool {
        !self.written.is_empty()
    }

    /// Its files, those of parts also after they were moved.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let own = self.written.iter().filter(|output| self.spooled.iter().all(|spooled| spooled.output != **output));
        let own = own.map(|output| self.files.edge(*output));
        own.chain(self.parts.iter().map(|sink| self.files.sink(*sink))).collect()
    }

    /// Its outputs in a spool.
    pub(crate) fn into_spooled(self) -> Vec<Spooled> {
        self.spooled
    }

    /// Where an output lies; an image without bytes if it has no records. Looks at its file if it has one of its own.
    ///
    /// # Errors
    /// The file is gone or cannot be looked at.
    pub(crate) fn image(&self, output: u32) -> io::Result<OutputImage> {
        if let Some(spooled) = self.spooled.iter().find(|spooled| spooled.output == output) {
            return Ok(spooled.image.clone());
        }
        if !self.written.contains(&output) {
            return Ok(OutputImage { file: Path::new("").into(), base: 0, length: 0 });
        }
        let file = self.files.edge(output);
        let found = fs::symlink_metadata(&file)?;
        // An image has a footer at least. A length of 0 would mean that there are no records.
        match found.is_file() && found.len() > 0 {
            true => Ok(OutputImage { file: file.into(), base: 0, length: found.len() }),
            false => Err(io::Error::new(io::ErrorKind::InvalidData, "its file is empty, or something else")),
        }
    }
}

/// Finished attempts by their full id, so that an older incarnation's attempt is another one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outputs(Arc<RwLock<HashMap<AttemptId, Held>>>);

impl Outputs {
    /// Tasks get this attempt's outputs from now on.
    pub(crate) fn insert(&self, attempt: AttemptId, held: Held) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).insert(attempt, held);
    }
    /// Tasks no longer get them.
    pub(crate) fn remove(&self, attempt: &AttemptId) -> Option<Held> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(attempt)
    }
    /// Removes all attempts of a job.
    pub(crate) fn remove_job(&self, job: JobId) {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        held.retain(|id, _| id.task.job != job);
        // Nothing is left of a job with many tasks.
        held.shrink_to_fit();
    }
    /// Whether this attempt's outputs are here.
    pub(crate) fn has(&self, attempt: &AttemptId) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).contains_key(attempt)
    }
    fn get(&self, attempt: &AttemptId) -> Option<Held> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(attempt).cloned()
    }

    /// Where one output of each of these attempts lies, in their order. Reads the file system.
    ///
    /// # Errors
    /// The position of the first attempt whose output is not here.
    pub(crate) fn locate(
        &self,
        attempts: impl Iterator<Item = AttemptId>,
        output: u32,
    ) -> Result<Vec<OutputImage>, (u32, Failure)> {
        let mut images: Vec<OutputImage> = Vec::new();
        for (at, attempt) in (0u32..).zip(attempts) {
            let Some(held) = self.get(&attempt) else {
                let what = format!("attempt {attempt} is not on this worker any more");
                return Err((at, Failure::new(Code::StaleAttempt, what)));
            };
            let image = held.image(output).map_err(|e| {
                let code = match e.kind() {
                    io::ErrorKind::InvalidData => Code::SegmentCorrupt,
                    _ => Code::FetchFailed,
                };
                (at, Failure::new(code, format!("cannot read output {output} of {attempt}: {e}")))
            })?;
            images.push(image);
        }
        Ok(images)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windrow_model::{EdgeReport, PartReport};
    use windrow_sim::samples::attempt;

    #[test]
    fn own_file_without_bytes_is_no_empty_output() {
        let folder = tempfile::tempdir().unwrap();
        let edge = |bytes| OutputReport::Edge(EdgeReport { bytes, ..EdgeReport::default() });
        let report = TaskReport { outputs: vec![edge(9), edge(0)], ..TaskReport::default() };
        let outputs = Outputs::default();
        let at = AttemptFiles::within(folder.path().to_path_buf(), &attempt(1, 0));
        outputs.insert(attempt(1, 0), Held::new(at.clone(), &report, Vec::new()));
        let locate = |output| {
            let located = outputs.locate([attempt(1, 0)].into_iter(), output);
            located.map(|images| images[0].length).map_err(|(at, failure)| (at, failure.code))
        };
        assert_eq!(locate(0), Err((0, Code::FetchFailed)), "it is gone");
        fs::write(at.edge(0), "an image").unwrap();
        assert_eq!((locate(0), locate(1)), (Ok(8), Ok(0)));
        fs::write(at.edge(0), "").unwrap();
        assert_eq!(locate(0), Err((0, Code::SegmentCorrupt)));
        fs::remove_file(at.edge(0)).unwrap();
        fs::create_dir(at.edge(0)).unwrap();
        assert_eq!(locate(0), Err((0, Code::SegmentCorrupt)));
    }

    #[test]
    fn files_of_an_attempt_are_known_from_its_report() {
        let edge = |bytes| OutputReport::Edge(EdgeReport { bytes, ..EdgeReport::default() });
        let part = OutputReport::Sink(PartReport { sink: 3, bytes: 1, records: 1, checksum: 0 });
        let report = TaskReport { outputs: vec![edge(9), edge(0), edge(9), part], ..TaskReport::default() };
        let image = OutputImage { file: Path::new("/spool").into(), base: 0, length: 9 };
        let files = AttemptFiles::within(PathBuf::from("/job"), &attempt(1, 0));
        let held = Held::new(files.clone(), &report, vec![Spooled { output: 0, image }]);
        assert_eq!(held.files(), [files.edge(2), files.sink(3)]);
    }
}
