//! A private temporary folder of one test.

use crate::error::{Error, Result};
use crate::run::job_id::new_job_id;
use std::path::{Path, PathBuf};
use windrow_format::private;
use windrow_model::{Code, Escape};

/// A folder that its drop removes.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// # Errors
    /// `IO_ERROR`: it cannot be created.
    pub(super) fn create() -> Result<Folder> {
        let name = format!("windrow-test-{}", new_job_id()?.0.simple());
        let path = std::path::absolute(std::env::temp_dir().join(name))?;
        let failed = |e| Error::new(Code::IoError, format!("cannot create the folder {}: {e}", path.escaped()));
        private::create_new_folder(&path).map_err(failed)?;
        Ok(Folder(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed stays in the folder for temporary files.
        let _ = windrow_store::remove_tree(&self.0);
    }
}
