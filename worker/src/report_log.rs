//! The log of a job's finished attempts on this worker, from which its next incarnation learns what they have written.
//!
//! ```text
//! records, one after the other: length u32, CRC-32C u32, a `KeptReport`       (little-endian)
//! ```
//! One file per job, appended without a sync: after a crash of the process the page cache has everything, and after a power
//! cut a lost record costs a rerun of its task. Reading ends at the first record that is not whole.

use prost::Message;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use windrow_format::checksum::crc32c;
use windrow_format::{private, regular_file};
use windrow_model::AttemptId;
use windrow_proto::v1;

/// Upper bound on the size of a log that is read.
const LOG_BYTES_MAX: u64 = 1 << 30;
/// Bytes before each record.
const HEAD_BYTES: usize = 8;

/// A finished attempt, or that it is gone.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct KeptReport {
    #[prost(message, optional, tag = "1")]
    pub attempt: Option<v1::AttemptId>,
    /// Absent if the attempt was removed.
    #[prost(message, optional, tag = "2")]
    pub report: Option<v1::TaskReport>,
    /// Outputs in the spool of the executor of this generation; the others have files of their own.
    #[prost(uint64, tag = "3")]
    pub generation: u64,
    #[prost(message, repeated, tag = "4")]
    pub spooled: Vec<v1::Spooled>,
}

/// The log of one job.
#[derive(Debug)]
pub(crate) struct ReportLog {
    path: PathBuf,
    /// Opened with the first record.
    file: Mutex<Option<File>>,
}

impl ReportLog {
    /// The log at this path, which need not exist. Its folder must exist when a record is appended.
    pub(crate) fn at(path: PathBuf) -> ReportLog {
        ReportLog { path, file: Mutex::new(None) }
    }

    /// Appends a record.
    ///
    /// # Errors
    /// The file cannot be made or written; it is not made if its folder is gone, as after the end of its job. A record that is not whole ends the log for readers, so it is cut off.
    pub(crate) fn append(&self, record: &KeptReport) -> io::Result<()> {
        let body = record.encode_to_vec();
        let length = u32::try_from(body.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut bytes = Vec::with_capacity(HEAD_BYTES + body.len());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&crc32c(&body).to_le_bytes());
        bytes.extend_from_slice(&body);
        let mut slot = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match &mut *slot {
            Some(file) => file,
            None => {
                let options = &mut private::options();
                slot.insert(regular_file::open_with(options.append(true).create(true), &self.path)?)
            }
        };
        let before = file.metadata()?.len();
        let written = file.write_all(&bytes);
        if written.is_err() {
            let _ = file.set_len(before);
        }
        written
    }
}

/// The attempts of a log that were not removed, each with its last record.
pub(crate) fn read(path: &Path) -> BTreeMap<AttemptId, KeptReport> {
    let bytes = regular_file::read(path, LOG_BYTES_MAX).unwrap_or_default();
    let mut rest = &bytes[..];
    let mut kept = BTreeMap::new();
    while let Some((head, after)) = rest.split_first_chunk::<HEAD_BYTES>() {
        let [length, sum] = [0, 4].map(|at| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]));
        let Some((body, next)) = after.split_at_checked(length as usize) else { break };
        if crc32c(body) != sum {
            break;
        }
        rest = next;
        let Ok(record) = KeptReport::decode(body) else { continue };
        let Some(attempt) = record.attempt.clone().and_then(|wire| AttemptId::try_from(wire).ok()) else { continue };
        match record.report {
            Some(_) => drop(kept.insert(attempt, record)),
            None => drop(kept.remove(&attempt)),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use windrow_sim::samples::attempt;

    fn record(n: u32, report: bool) -> KeptReport {
        KeptReport {
            attempt: Some(attempt(1, n).into()),
            report: report.then(|| v1::TaskReport { run_ms: u64::from(n), ..v1::TaskReport::default() }),
            generation: 7,
            spooled: vec![v1::Spooled { output: 0, offset: 5, length: 6 }],
        }
    }

    #[test]
    fn log_holds_what_was_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("job/reports");
        let log = ReportLog::at(path.clone());
        assert!(log.append(&record(0, true)).is_err() && read(&path).is_empty());
        assert!(!path.parent().unwrap().exists(), "the folder of an ended job is not made again");
        fs::create_dir(path.parent().unwrap()).unwrap();
        (0..3).for_each(|n| log.append(&record(n, true)).unwrap());
        log.append(&record(1, false)).unwrap();
        // Another process goes on.
        ReportLog::at(path.clone()).append(&record(3, true)).unwrap();
        let kept: Vec<KeptReport> = read(&path).into_values().collect();
        assert_eq!(kept, [record(0, true), record(2, true), record(3, true)]);
    }

    #[test]
    fn log_is_read_up_to_the_first_damage() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reports");
        let log = ReportLog::at(path.clone());
        let append = |n| {
            log.append(&record(n, true)).unwrap();
            fs::metadata(&path).unwrap().len() as usize
        };
        let ends: Vec<usize> = (0..4).map(append).collect();
        let whole_before = |at: usize| ends.iter().filter(|end| **end <= at).count();
        let bytes = fs::read(&path).unwrap();
        for cut in 0..bytes.len() {
            fs::write(&path, &bytes[..cut]).unwrap();
            assert_eq!(read(&path).len(), whole_before(cut), "{cut}");
        }
        for flipped in (0..bytes.len()).step_by(7) {
            let mut bytes = bytes.clone();
            bytes[flipped] ^= 1;
            fs::write(&path, &bytes).unwrap();
            assert_eq!(read(&path).len(), whole_before(flipped), "{flipped}");
        }
    }
}
