//! The files of an attempt, in the folder of its job.
//!
//! Attempts share that folder, and the names of an attempt's files begin with its own: file systems take longer to make a
//! folder than a small task takes. Files are made when there is something to write, and removed by name.

use std::path::{Path, PathBuf};
use windrow_format::names;
use windrow_model::{AttemptId, TaskOutput, WorkerId};

/// Where the files of an attempt are, whether they exist or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AttemptFiles {
    folder: PathBuf,
    attempt: AttemptId,
}

impl AttemptFiles {
    /// Those of an attempt whose job has this folder.
    pub(crate) fn within(folder: PathBuf, attempt: &AttemptId) -> AttemptFiles {
        AttemptFiles { folder, attempt: *attempt }
    }

    /// The folder of the job.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The shuffle file of an output.
    pub(crate) fn edge(&self, output: u32) -> PathBuf {
        self.file(&names::edge_file(output))
    }

    /// The part file for a sink.
    pub(crate) fn sink(&self, sink: u32) -> PathBuf {
        self.file(&names::sink_file(sink))
    }

    /// What is fetched from a holder for a port of an input.
    pub(crate) fn fetched(&self, holder: WorkerId, input: u32, port: u32) -> PathBuf {
        self.file(&names::fetched_file(holder, input, port))
    }

    /// All files that an executor may have made for these outputs and not removed.
    pub(crate) fn of_outputs(&self, outputs: &[TaskOutput]) -> Vec<PathBuf> {
        let file = |(index, output): (u32, &TaskOutput)| match output {
            TaskOutput::Edge { .. } => Some(self.edge(index)),
            TaskOutput::Sink { sink } => Some(self.sink(*sink)),
            TaskOutput::Broadcast => None,
        };
        (0u32..).zip(outputs).filter_map(file).collect()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{}{name}", names::attempt_prefix(&self.attempt)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windrow_sim::samples::attempt;

    #[test]
    fn attempts_share_a_folder_and_no_file() {
        let of = |n| AttemptFiles::within(PathBuf::from("/job"), &attempt(1, n));
        let outputs = [TaskOutput::Broadcast, TaskOutput::Edge { partitions: 2 }, TaskOutput::Sink { sink: 7 }];
        let files = of(1).of_outputs(&outputs);
        assert_eq!(files, [of(1).edge(1), of(1).sink(7)]);
        assert!(files.iter().all(|file| file.parent() == Some(of(11).folder())));
        assert!(of(11).of_outputs(&outputs).iter().all(|file| !files.contains(file)));
    }
}
