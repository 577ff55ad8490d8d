//! Binaries and side values by content: `artifacts/DIGEST`, each file whole, verified and durable.
//!
//! Every function blocks; callers use a blocking thread.

use crate::error::Error;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use windrow_format::durable::{self, Durability};
use windrow_model::{Code, Digest, Failure};

/// No artifact is larger.
const ARTIFACT_BYTES_MAX: u64 = 16 << 30;
const TEMPORARY: &str = ".new-";

/// The folder of all artifacts.
#[derive(Clone, Debug)]
pub(crate) struct Artifacts {
    folder: PathBuf,
}

/// An artifact on its way in; gone without trace unless it is finished.
pub(crate) struct Upload {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    digest: Digest,
    hasher: blake3::Hasher,
    bytes: u64,
    finished: bool,
}

impl Artifacts {
    /// Opens the folder, or makes it, and removes what broken uploads left.
    pub fn open(folder: PathBuf) -> Result<Self, Error> {
        fs::create_dir_all(&folder).map_err(Error::data_dir(&folder, "make the folder of artifacts"))?;
        let entries = fs::read_dir(&folder).map_err(Error::data_dir(&folder, "read the folder of artifacts"))?;
        for entry in entries.flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(Artifacts { folder })
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.folder.join(digest.to_string())
    }

    /// Whether this artifact is here. One look at the file system.
    pub fn has(&self, digest: Digest) -> bool {
        self.path(digest).is_file()
    }

    /// The artifact's bytes.
    pub fn read(&self, digest: Digest) -> Result<File, Failure> {
        let path = self.path(digest);
        File::open(&path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => Failure::new(Code::BadBinary, format!("there is no artifact {digest}")),
            _ => failed(&path, &e),
        })
    }

    /// Begins to store an artifact.
    pub fn upload(&self, digest: Digest) -> Result<Upload, Failure> {
        let temporary = self.folder.join(format!("{TEMPORARY}{}", uuid::Uuid::new_v4().simple()));
        let file = File::create_new(&temporary).map_err(|e| failed(&temporary, &e))?;
        let path = self.path(digest);
        Ok(Upload { file, temporary, path, digest, hasher: blake3::Hasher::new(), bytes: 0, finished: false })
    }
}

impl Upload {
    /// Takes the next bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.bytes += bytes.len() as u64;
        if self.bytes > ARTIFACT_BYTES_MAX {
            let what = format!("an artifact has more than {ARTIFACT_BYTES_MAX} bytes");
            return Err(Failure::new(Code::BadRequest, what));
        }
        self.hasher.update(bytes);
        self.file.write_all(bytes).map_err(|e| failed(&self.temporary, &e))
    }

    /// Compares the digest and makes the artifact durable. Nothing is stored if it is not what was announced.
    pub fn finish(mut self) -> Result<(), Failure> {
        let found = Digest(*self.hasher.finalize().as_bytes());
        if found != self.digest {
            let what = format!("the upload of {} has other bytes: their digest is {found}", self.digest);
            return Err(Failure::new(Code::BadRequest, what));
        }
        durable::sync_file(&self.file, Durability::Sync)
            .and_then(|()| durable::rename(&self.temporary, &self.path, Durability::Sync))
            .map_err(|e| failed(&self.path, &e))?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.finished {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

fn failed(path: &Path, e: &io::Error) -> Failure {
    let code = if e.kind() == io::ErrorKind::StorageFull { Code::NoSpace } else { Code::IoError };
    Failure::new(code, format!("{}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn an_artifact_is_there_as_a_whole_and_as_announced_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let artifacts = Artifacts::open(dir.path().join("artifacts")).unwrap();
        let digest = Digest::of(b"binary");
        assert_eq!(artifacts.read(digest).unwrap_err().code, Code::BadBinary);

        let mut wrong = artifacts.upload(digest).unwrap();
        wrong.write(b"other").unwrap();
        assert_eq!(wrong.finish().unwrap_err().code, Code::BadRequest);
        let mut broken = artifacts.upload(digest).unwrap();
        broken.write(b"bin").unwrap();
        drop(broken);
        assert!(!artifacts.has(digest));
        assert_eq!(fs::read_dir(dir.path().join("artifacts")).unwrap().count(), 0);

        for _ in 0..2 {
            let mut upload = artifacts.upload(digest).unwrap();
            upload.write(b"bin").unwrap();
            upload.write(b"ary").unwrap();
            upload.finish().unwrap();
        }
        let mut bytes = Vec::new();
        artifacts.read(digest).unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"binary");
        assert_eq!(fs::read_dir(dir.path().join("artifacts")).unwrap().count(), 1);
    }
}
