//! One coordinator per data folder: an exclusive `flock` on `lock`, which holds the owner's process id.
//!
//! The system releases the lock when the process ends, however it ends; the file stays.

use crate::error::Error;
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

const PID_BYTES_MAX: u64 = 32;

/// The lock, held for as long as this lives.
#[derive(Debug)]
pub(crate) struct DataDirLock {
    _file: File,
}

impl DataDirLock {
    /// Takes the lock of this folder, or says who has it.
    pub fn take(data_dir: &Path) -> Result<Self, Error> {
        let path = data_dir.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Error::data_dir(&path, "open the lock file"))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                // Only for the message: a holder that has not written its id yet is `unknown`.
                let _ = file.take(PID_BYTES_MAX).read_to_string(&mut pid);
                let pid = if pid.trim().is_empty() { "unknown".into() } else { pid.trim().to_string() };
                return Err(Error::DataDirInUse { path: data_dir.to_path_buf(), pid });
            }
            Err(e) => return Err(Error::data_dir(&path, "lock it")(e.into())),
        }
        file.set_len(0)
            .and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()))
            .map_err(Error::data_dir(&path, "write the process id into it"))?;
        Ok(DataDirLock { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windrow_model::Code;

    #[test]
    fn a_second_coordinator_on_a_data_folder_is_told_who_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDirLock::take(dir.path()).unwrap();
        let error = DataDirLock::take(dir.path()).unwrap_err();
        assert_eq!(error.code(), Code::DataDirInUse);
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        drop(first);
        DataDirLock::take(dir.path()).unwrap();
    }
}
