//! One coordinator per data folder.

use crate::error::Error;
use std::path::Path;
use std::time::Duration;
use windrow_format::folder_lock::{FolderLock, LockError};

/// Takes the lock of this folder. An error names the process that has it.
pub(crate) fn lock_data_dir(data_dir: &Path) -> Result<FolderLock, Error> {
    FolderLock::take(data_dir, Duration::ZERO).map_err(|e| match e {
        LockError::Held { pid } => {
            let pid = if pid.is_empty() { "unknown".to_string() } else { pid };
            Error::DataDirInUse { path: data_dir.to_path_buf(), pid }
        }
        LockError::Io { path, source } => Error::data_dir(&path, "lock it")(source),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use windrow_model::Code;

    #[test]
    fn second_coordinator_on_a_data_folder_names_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock_data_dir(dir.path()).unwrap();
        let error = lock_data_dir(dir.path()).unwrap_err();
        assert_eq!(error.code(), Code::DataDirInUse);
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        drop(first);
        lock_data_dir(dir.path()).unwrap();
    }
}
