//! Reads a finished output, for programs beside the job.

use crate::error::{Error, Result};
use std::path::{Path, PathBuf};
use windrow_format::manifest;

/// The part files of a finished output, in order.
///
/// # Errors
/// `OUTPUT_FAILED` unless the folder has a `_SUCCESS` and every part that it lists has its size. (It also has
/// checksums; comparing them would read everything.)
///
/// ```
/// let failed = windrow::parts("no/such/output").unwrap_err();
/// assert!(failed.to_string().contains("no/such/output"));
/// ```
pub fn parts(folder: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
    let folder = folder.as_ref();
    let checked = manifest::read(folder).and_then(|read| manifest::verify_sizes(folder, &read).map(|()| read));
    let manifest = checked.map_err(|e| Error::new(e.code(), e.to_string()))?;
    Ok(manifest.parts.iter().map(|part| folder.join(&part.name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use windrow_format::checksum::Crc32c;
    use windrow_format::durable::Durability;
    use windrow_model::{Code, JobId};

    /// An output of two parts.
    fn output() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let listed = ["one", "three"].iter().zip(0..).map(|(text, index)| {
            let part = manifest::part(index, "", text.len() as u64, 1, {
                let mut crc = Crc32c::new();
                crc.update(text.as_bytes());
                crc.value()
            });
            std::fs::write(folder.path().join(&part.name), text).unwrap();
            part
        });
        let manifest = manifest::build(JobId::from_bytes([7; 16]), "job", "text", listed.collect());
        manifest::write(folder.path(), &manifest, Durability::NoSync).unwrap();
        folder
    }

    #[track_caller]
    fn refused(folder: &Path, name: &str) {
        let error = parts(folder).unwrap_err();
        assert_eq!(error.code(), Code::OutputFailed);
        assert!(error.to_string().contains(name), "{error}");
    }

    #[test]
    fn output_with_a_missing_part_is_refused() {
        let folder = output();
        let names = ["part-00000", "part-00001"].map(|name| folder.path().join(name));
        assert_eq!(parts(folder.path()).unwrap(), names);
        // Unlisted files are not parts.
        std::fs::write(folder.path().join("part-00002"), "").unwrap();
        assert_eq!(parts(folder.path()).unwrap(), names);
        std::fs::write(&names[1], "thre").unwrap();
        refused(folder.path(), "part-00001");
        std::fs::remove_file(&names[1]).unwrap();
        refused(folder.path(), "part-00001");
        std::fs::remove_file(folder.path().join("_SUCCESS")).unwrap();
        refused(folder.path(), "_SUCCESS");
        refused(&folder.path().join("nothing"), "nothing");
    }
}
