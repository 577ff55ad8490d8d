//! `_SUCCESS`: the manifest of an output.
//!
//! It is the last file written to an output. A reader that finds it may rely on the parts that it lists, and can verify
//! them byte by byte without the cluster that made them.

use crate::checksum::Crc32c;
use crate::durable::{self, Durability};
use crate::names;
use crate::regular_file;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use windrow_model::{AttemptId, Code, JobId, Manifest, Part, SinkSpec, StagedPart, total};

/// Most bytes of a manifest: a million parts take about a tenth of it.
const MANIFEST_BYTES_MAX: u64 = 1 << 30;

/// An output without a manifest, or one that differs from it.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The folder has no manifest.
    #[error("{path}: no `_SUCCESS` file, so this is not a finished output")]
    Missing {
        /// Path of the output.
        path: PathBuf,
    },
    /// The manifest does not parse.
    #[error("{path}: not a manifest: {what}")]
    Malformed {
        /// Path of the manifest.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The manifest has a newer format.
    #[error("{path}: written by a newer Windrow (format {found}, this one reads up to {known})")]
    Newer {
        /// Path of the manifest.
        path: PathBuf,
        /// Format of the manifest.
        found: u32,
        /// Newest format that this binary reads.
        known: u32,
    },
    /// A part does not exist.
    #[error("{path}: the manifest lists it, but it does not exist")]
    PartMissing {
        /// Path of the part.
        path: PathBuf,
    },
    /// A part has another size.
    #[error("{path}: has {found} bytes; the manifest says {expected}")]
    PartSize {
        /// Path of the part.
        path: PathBuf,
        /// Size of the file in bytes.
        found: u64,
        /// Size in the manifest, in bytes.
        expected: u64,
    },
    /// A part has another checksum.
    #[error("{path}: has checksum {found}; the manifest says {expected}")]
    PartChecksum {
        /// Path of the part.
        path: PathBuf,
        /// Checksum of the file.
        found: String,
        /// Checksum in the manifest.
        expected: String,
    },
    /// A file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// Path of the file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}

impl ManifestError {
    /// The error code for a job that wanted to read this output.
    pub fn code(&self) -> Code {
        Code::OutputFailed
    }
}

/// A manifest entry for a part file of an output with at most 100,000 of them.
pub fn part(index: u32, suffix: &str, bytes: u64, records: u64, crc32c: u32) -> Part {
    named(names::part(index, 0, suffix), bytes, records, crc32c)
}

fn named(name: String, bytes: u64, records: u64, crc32c: u32) -> Part {
    Part { name, bytes, records, crc32c: format!("{crc32c:08x}") }
}

/// The manifest of a job's output. Its sums are computed from the parts.
pub fn build(job: JobId, name: &str, format: &str, parts: Vec<Part>) -> Manifest {
    Manifest {
        version: Manifest::VERSION,
        job,
        name: name.to_string(),
        format: format.to_string(),
        records: total(parts.iter().map(|p| p.records)),
        bytes: total(parts.iter().map(|p| p.bytes)),
        parts,
    }
}

/// The manifest of one output of a job, from its staged parts; those of other outputs are left out. `index` is the number of
/// the sink.
///
/// # Errors
/// The number of the first part that is missing. Such an output must not become visible: it lacks records.
pub fn of_output(job: JobId, name: &str, index: u32, sink: &SinkSpec, parts: &[StagedPart]) -> Result<Sealed, u32> {
    let mut own: Vec<&StagedPart> = parts.iter().filter(|p| p.part.sink == index).collect();
    own.sort_by_key(|p| p.task);
    if let Some((gap, _)) = (0u32..).zip(&own).find(|(i, p)| p.task != *i) {
        return Err(gap);
    }
    let listed = own.iter().map(|p| {
        let name = names::part(p.task, own.len(), &sink.suffix);
        named(name, p.part.bytes, p.part.records, p.part.checksum)
    });
    let manifest = build(job, name, &sink.format, listed.collect());
    Ok(Sealed { manifest, winners: own.iter().map(|p| p.attempt).collect() })
}

/// A manifest, and the attempts whose parts it lists, in the same order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The manifest.
    pub manifest: Manifest,
    /// The attempt of each part.
    pub winners: Vec<AttemptId>,
}

/// Writes `_SUCCESS` into a folder, completely or not at all.
pub fn write(folder: &Path, manifest: &Manifest, durability: Durability) -> io::Result<()> {
    let mut json = serde_json::to_vec_pretty(manifest)?;
    json.push(b'\n');
    durable::write(&folder.join(names::SUCCESS), &json, durability)
}

/// Reads the manifest of an output; does not check the parts.
pub fn read(folder: &Path) -> Result<Manifest, ManifestError> {
    let path = folder.join(names::SUCCESS);
    let malformed = |what: String| ManifestError::Malformed { path: path.clone(), what };
    let meta = match fs::symlink_metadata(&path) {
        Ok(meta) => meta,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Err(ManifestError::Missing { path: folder.into() });
        }
        Err(source) => return Err(ManifestError::Io { path, source }),
    };
    if !meta.is_file() || meta.len() > MANIFEST_BYTES_MAX {
        return Err(malformed(format!("{} bytes, regular file: {}", meta.len(), meta.is_file())));
    }
    let read = regular_file::read(&path, MANIFEST_BYTES_MAX);
    let json = read.map_err(|source| ManifestError::Io { path: path.clone(), source })?;
    // Parse the version first: a newer manifest may have other fields.
    #[derive(serde::Deserialize)]
    struct Version {
        version: u32,
    }
    let Version { version } = serde_json::from_slice(&json).map_err(|e| malformed(e.to_string()))?;
    if version > Manifest::VERSION {
        return Err(ManifestError::Newer { path, found: version, known: Manifest::VERSION });
    }
    let manifest: Manifest = serde_json::from_slice(&json).map_err(|e| malformed(e.to_string()))?;
    // Part names are joined to the folder: a name with a slash could lead out of it.
    match manifest.parts.iter().find(|p| names::parse_part(&p.name).is_none()) {
        Some(foreign) => Err(malformed(format!("invalid part name `{}`", foreign.name))),
        None => Ok(manifest),
    }
}

/// Checks that every listed part is a regular file of its size. Costs one `stat` per part.
pub fn verify_sizes(folder: &Path, manifest: &Manifest) -> Result<(), ManifestError> {
    for part in &manifest.parts {
        let path = folder.join(&part.name);
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_file() && meta.len() == part.bytes => {}
            Ok(meta) if meta.is_file() => {
                return Err(ManifestError::PartSize { path, found: meta.len(), expected: part.bytes });
            }
            Ok(_) => return Err(ManifestError::PartMissing { path }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Err(ManifestError::PartMissing { path }),
            Err(source) => return Err(ManifestError::Io { path, source }),
        }
    }
    Ok(())
}

/// Reads every part of an output and compares its size and checksum with the manifest.
pub fn verify(folder: &Path) -> Result<Manifest, ManifestError> {
    let manifest = read(folder)?;
    verify_sizes(folder, &manifest)?;
    for part in &manifest.parts {
        let path = folder.join(&part.name);
        let found = checksum_of(&path).map_err(|source| ManifestError::Io { path: path.clone(), source })?;
        let found = format!("{found:08x}");
        if found != part.crc32c {
            return Err(ManifestError::PartChecksum { path, found, expected: part.crc32c.clone() });
        }
    }
    Ok(manifest)
}

/// CRC-32C of a whole file.
pub fn checksum_of(path: &Path) -> io::Result<u32> {
    let mut file = regular_file::open(path)?;
    let mut crc = Crc32c::new();
    let mut buf = vec![0; 1 << 20];
    loop {
        match file.read(&mut buf) {
            Ok(0) => return Ok(crc.value()),
            Ok(n) => crc.update(&buf[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windrow_model::{Epoch, Framing, Incarnation, PartReport, StageId, TaskId};

    fn staged(sink: u32, task: u32, number: u32) -> StagedPart {
        let id = TaskId { job: JobId::from_bytes([7; 16]), stage: StageId(1), index: task };
        let attempt = AttemptId { task: id, number, epoch: Epoch(1), incarnation: Incarnation(0) };
        let part = PartReport { sink, bytes: 10 + u64::from(task), records: 2, checksum: 0xab };
        StagedPart { task, attempt, part }
    }

    #[test]
    fn manifest_lists_all_parts_of_one_output_in_order() {
        let sink = SinkSpec {
            path: "/out".into(),
            format: "text".into(),
            suffix: ".gz".into(),
            framing: Framing::Whole,
            overwrite: false,
        };
        let job = JobId::from_bytes([7; 16]);
        let mut parts = vec![staged(0, 1, 3), staged(1, 0, 0), staged(0, 0, 2)];
        let Sealed { manifest, winners } = of_output(job, "words", 0, &sink, &parts).unwrap();
        let names: Vec<&str> = manifest.parts.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["part-00000.gz", "part-00001.gz"]);
        assert_eq!((manifest.bytes, manifest.records, winners), (21, 4, vec![parts[2].attempt, parts[0].attempt]));
        parts.push(staged(0, 3, 0));
        assert_eq!(of_output(job, "words", 0, &sink, &parts), Err(2), "part 2 is missing");
        parts.push(staged(0, 0, 9));
        assert!(of_output(job, "words", 0, &sink, &parts).is_err(), "a part is there twice");
    }
}
