//! The file of a finished part, compared with the report of its task before it leaves the folder of the job.
//!
//! User code may change files of its attempt when the task is over, and so may a damaged disk. A part that is no longer
//! what its task has written must not become an output or a chunk of a dataset.

use std::fs::File;
use std::io;
use std::path::Path;
use windrow_format::checksum::Crc32cReader;
use windrow_format::regular_file;
use windrow_model::{Code, Digest, Failure, OutputReport, PartReport, TaskReport};

/// The reported parts of these sinks, in the order of `sinks`.
///
/// # Errors
/// `BAD_REQUEST` if the task has written no part for one of them.
pub(crate) fn parts_of(report: Option<&TaskReport>, sinks: &[u32]) -> Result<Vec<PartReport>, Failure> {
    let part = |sink: &u32| {
        let outputs = report.iter().flat_map(|report| &report.outputs);
        let mut found = outputs.filter_map(|output| match output {
            OutputReport::Sink(part) => Some(part),
            _ => None,
        });
        found
            .find(|part| part.sink == *sink)
            .cloned()
            .ok_or_else(|| Failure::new(Code::BadRequest, format!("the task has written no part for sink {sink}")))
    };
    sinks.iter().map(part).collect()
}

/// Checks that the file is a regular one, itself and not through a link, and as long as its task has written it.
///
/// # Errors
/// `InvalidData` if it is not; errors of the disk.
pub(crate) fn check_length(file: &Path, part: &PartReport) -> io::Result<()> {
    let found = file.symlink_metadata()?;
    match found.is_file() {
        true => same("bytes", found.len(), part.bytes),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "it is not the file that its task has written")),
    }
}

/// Opens the part, and reads it for its digest.
///
/// # Errors
/// `InvalidData` if it is not as its task has written it; errors of the disk.
pub(crate) fn open(file: &Path, part: &PartReport) -> io::Result<(File, Digest)> {
    // Before the first byte is read: a sparse file may be of any length.
    check_length(file, part)?;
    let opened = regular_file::open(file)?;
    let mut summed = Crc32cReader::new(&opened);
    let (digest, length) = Digest::of_reader(&mut summed)?;
    same("bytes", length, part.bytes)?;
    same("as its checksum", u64::from(summed.crc32c()), u64::from(part.checksum))?;
    Ok((opened, digest))
}

fn same(what: &str, found: u64, reported: u64) -> io::Result<()> {
    if found == reported {
        return Ok(());
    }
    let why = format!("it has {found} {what} instead of {reported}: it was changed when its task was over");
    Err(io::Error::new(io::ErrorKind::InvalidData, why))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;
    use windrow_format::checksum::crc32c;

    /// The report of a part that holds this text.
    pub(crate) fn part(sink: u32, text: &str) -> PartReport {
        PartReport { sink, bytes: text.len() as u64, records: 1, checksum: crc32c(text.as_bytes()) }
    }

    #[test]
    fn part_that_is_not_as_its_task_left_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sink-0");
        let as_written = part(0, "word\t1\n");
        let opened = |text: &str| {
            fs::write(&file, text).unwrap();
            open(&file, &as_written).map(|(_, digest)| digest).map_err(|e| (e.kind(), e.to_string()))
        };
        assert_eq!(opened("word\t1\n"), Ok(Digest::of(b"word\t1\n")));
        let (kind, why) = opened("word\t2\n").unwrap_err();
        assert!(kind == io::ErrorKind::InvalidData && why.contains("as its checksum"), "{why}");
        for changed in ["", "word\t", "word\t1\nlate\t1\n"] {
            let (kind, why) = opened(changed).unwrap_err();
            assert!(kind == io::ErrorKind::InvalidData && why.contains("bytes instead of 7"), "{why}");
        }
        // It would take hours to read.
        File::options().write(true).open(&file).unwrap().set_len(1 << 42).unwrap();
        assert_eq!(open(&file, &as_written).unwrap_err().kind(), io::ErrorKind::InvalidData);

        let target = folder.path().join("target");
        fs::write(&target, "word\t1\n").unwrap();
        fs::remove_file(&file).unwrap();
        symlink(&target, &file).unwrap();
        assert_eq!(open(&file, &as_written).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn parts_are_found_by_sink_and_missing_ones_named() {
        let outputs = vec![OutputReport::Sink(part(3, "b")), OutputReport::Sink(part(1, "a"))];
        let report = TaskReport { outputs, ..TaskReport::default() };
        assert_eq!(parts_of(Some(&report), &[1, 3]), Ok(vec![part(1, "a"), part(3, "b")]));
        let missing = parts_of(Some(&report), &[1, 2]).unwrap_err();
        assert!(missing.code == Code::BadRequest && missing.message.contains("sink 2"), "{missing}");
        assert!(parts_of(None, &[1]).is_err());
    }
}
