//! The folder for temporary files of a run in one process.

use super::LocalOptions;
use crate::error::{Error, Result};
use crate::report::warning::warn;
use crate::run::leftovers;
use crate::run::task_run::StageTable;
use std::fs::File;
use std::path::{Path, PathBuf};
use windrow_format::names;
use windrow_model::{Code, Escape, JobId};

/// The run's folder for temporary files; removed on drop.
pub(super) struct Scratch {
    pub(super) folder: PathBuf,
    /// Marks the folder as in use.
    _lock: Option<File>,
}

impl Scratch {
    /// Creates the folder in the given place, else beside the first output, whose disk must have room anyway.
    pub(super) fn create(program: &StageTable, options: &LocalOptions, job: JobId) -> Result<Scratch> {
        let beside = || {
            let parent = program.plan.sinks.first()?.location().path()?.parent()?;
            // The nearest existing folder: missing ones are created when the output is staged.
            parent.ancestors().find(|a| a.is_dir()).map(Path::to_path_buf)
        };
        let parent = options.scratch.clone().or_else(beside).unwrap_or_else(std::env::temp_dir);
        leftovers::remove(&parent, &program.plan);
        let folder = parent.join(names::local_run_folder(job));
        crate::run::supervise::remove_on_crash(&folder);
        windrow_format::private::create_folders(&folder).map_err(|e| {
            let message = format!("cannot make the folder for temporary files {}: {e}", folder.escaped());
            Error::new(Code::IoError, message)
        })?;
        let lock = leftovers::lock(&folder);
        Ok(Scratch { folder, _lock: lock })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(e) = windrow_store::remove_tree(&self.folder) {
            warn(&format!("cannot remove the temporary files in {}: {e}", self.folder.escaped()));
        }
    }
}
