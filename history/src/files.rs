//! The names of the files of a history, and which of them are there.
//!
//! ```text
//! history/2026/11/job-….jsonl.zst      the log of a job
//! history/2026/11/job-….1.jsonl.zst    its next part: the first one is full, or a coordinator was restarted
//! history/2026/11/job-….summary.json   made at the end of the job
//! ```
//! The month is that of the id, which begins with the time at which the client made it. So a job is found without a
//! search, also when the clocks of client and coordinator differ.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use windrow_model::JobId;

const LOG: &str = ".jsonl.zst";
const SUMMARY: &str = ".summary.json";
/// Most parts of a log that are looked for.
pub(crate) const PARTS_MAX: u32 = 100_000;

/// The folder of a history.
#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
}

/// The files of one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobFiles {
    /// The job.
    pub job: JobId,
    folder: PathBuf,
}

/// A file of a job, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Part(u32),
    Summary,
}

/// The files of a job that a listing has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Numbers of the parts, ascending.
    pub parts: Vec<u32>,
    pub bytes: u64,
    /// Time of the last change of any of them, in milliseconds since 1970.
    pub changed_unix_ms: u64,
}

impl Folder {
    /// A history in this folder, which need not exist.
    pub fn new(root: impl Into<PathBuf>) -> Folder {
        Folder { root: root.into() }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// The files of a job, which need not exist.
    pub fn job(&self, job: JobId) -> JobFiles {
        let (year, month) = month_of(job);
        JobFiles { job, folder: self.root.join(format!("{year:04}")).join(format!("{month:02}")) }
    }

    /// The folders of months, latest first.
    ///
    /// # Errors
    /// A folder cannot be listed. A missing one is empty.
    pub(crate) fn months(&self) -> io::Result<Vec<PathBuf>> {
        let mut months = Vec::new();
        for year in numbered(&self.root)? {
            months.extend(numbered(&year)?);
        }
        months.sort();
        months.reverse();
        Ok(months)
    }

    /// Jobs that have a log and no summary: they run, or ended with their coordinator.
    ///
    /// # Errors
    /// A folder cannot be listed.
    pub fn unfinished(&self) -> io::Result<BTreeSet<JobId>> {
        let mut unfinished = BTreeSet::new();
        for month in self.months()? {
            let (logs, summaries) = self.named_in(&month)?;
            unfinished.extend(logs.difference(&summaries));
        }
        Ok(unfinished)
    }

    /// The jobs of a month with a log, and those with a summary.
    pub(crate) fn named_in(&self, month: &Path) -> io::Result<(BTreeSet<JobId>, BTreeSet<JobId>)> {
        let (mut logs, mut summaries) = (BTreeSet::new(), BTreeSet::new());
        for entry in entries(month)? {
            match entry.file_name().to_str().and_then(parse) {
                Some((job, Kind::Part(_))) => _ = logs.insert(job),
                Some((job, Kind::Summary)) => _ = summaries.insert(job),
                None => {}
            }
        }
        Ok((logs, summaries))
    }

    /// The jobs with files in the folder of a month. Files with other names are not touched.
    pub(crate) fn jobs_in(&self, month: &Path) -> io::Result<BTreeMap<JobId, Found>> {
        let mut jobs: BTreeMap<JobId, Found> = BTreeMap::new();
        for entry in entries(month)? {
            let Some((job, kind)) = entry.file_name().to_str().and_then(parse) else { continue };
            let found = jobs.entry(job).or_default();
            match kind {
                Kind::Part(part) => found.parts.push(part),
                Kind::Summary => {}
            }
            // A file that has gone meanwhile has no size.
            let Ok(meta) = entry.metadata() else { continue };
            found.bytes += meta.len();
            let changed = meta.modified().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
            found.changed_unix_ms = found.changed_unix_ms.max(changed.map_or(0, |at| at.as_millis() as u64));
        }
        jobs.values_mut().for_each(|found| found.parts.sort_unstable());
        Ok(jobs)
    }
}

impl JobFiles {
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The path of a part of the log.
    pub fn part(&self, part: u32) -> PathBuf {
        self.folder.join(match part {
            0 => format!("{}{LOG}", self.job),
            n => format!("{}.{n}{LOG}", self.job),
        })
    }

    /// The path of the summary.
    pub fn summary(&self) -> PathBuf {
        self.folder.join(format!("{}{SUMMARY}", self.job))
    }

    /// The numbers of the parts that are there, ascending. Parts follow each other without a gap, unless files were removed.
    ///
    /// # Errors
    /// The folder cannot be listed. A missing one has no parts.
    pub fn parts(&self) -> io::Result<Vec<u32>> {
        let mut parts = Vec::new();
        for entry in entries(&self.folder)? {
            if let Some((job, Kind::Part(part))) = entry.file_name().to_str().and_then(parse)
                && job == self.job
            {
                parts.push(part);
            }
        }
        parts.sort_unstable();
        Ok(parts)
    }

    /// Deletes the files of the job, the summary last.
    ///
    /// # Errors
    /// A file stays.
    pub(crate) fn remove(&self) -> io::Result<()> {
        let gone = |removed: io::Result<()>| match removed {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        };
        for part in self.parts()? {
            gone(fs::remove_file(self.part(part)))?;
        }
        gone(fs::remove_file(self.summary()))
    }
}

fn parse(name: &str) -> Option<(JobId, Kind)> {
    if let Some(job) = name.strip_suffix(SUMMARY) {
        return Some((job.parse().ok()?, Kind::Summary));
    }
    let stem = name.strip_suffix(LOG)?;
    match stem.split_once('.') {
        None => Some((stem.parse().ok()?, Kind::Part(0))),
        Some((job, part)) => {
            let part: u32 = part.parse().ok().filter(|n| (1..=PARTS_MAX).contains(n))?;
            Some((job.parse().ok()?, Kind::Part(part)))
        }
    }
}

fn entries(folder: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.collect(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

/// Folders whose names are numbers.
fn numbered(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let is_number = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        let digits = name.to_str().is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit()));
        digits && entry.file_type().is_ok_and(|kind| kind.is_dir())
    };
    Ok(entries(folder)?.into_iter().filter(is_number).map(|entry| entry.path()).collect())
}

/// Year and month of the time in an id (UUID v7), in UTC. Ids of other versions are of January 1970.
fn month_of(job: JobId) -> (u64, u64) {
    let seconds = match job.0.get_version_num() {
        7 => job.0.get_timestamp().map_or(0, |at| at.to_unix().0),
        _ => 0,
    };
    // Days to a date: Howard Hinnant, "chrono-compatible low-level date algorithms", civil_from_days.
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::{NoContext, Timestamp, Uuid};

    fn at(seconds: u64) -> JobId {
        JobId(Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, 0)))
    }

    #[test]
    fn month_is_that_of_the_id() {
        for (seconds, month) in [
            (0, (1970, 1)),
            (951_782_399, (2000, 2)),
            (951_782_400, (2000, 2)),
            (951_868_800, (2000, 3)),
            (1_735_689_599, (2024, 12)),
            (1_735_689_600, (2025, 1)),
            (1_764_547_199, (2025, 11)),
        ] {
            assert_eq!(month_of(at(seconds)), month, "{seconds}");
        }
        assert_eq!(month_of(JobId::from_bytes([0xff; 16])), (1970, 1));
    }

    #[test]
    fn only_own_names_are_files_of_a_history() {
        let job = JobId::from_bytes([7; 16]);
        let files = Folder::new("/h").job(job);
        for (path, kind) in
            [(files.part(0), Kind::Part(0)), (files.part(12), Kind::Part(12)), (files.summary(), Kind::Summary)]
        {
            assert_eq!(parse(path.file_name().unwrap().to_str().unwrap()), Some((job, kind)));
        }
        for other in
            ["x.jsonl.zst", "job-1.jsonl.zst", &format!("{job}.0.jsonl.zst"), &format!("{job}.jsonl"), "a.summary.json"]
        {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn missing_folder_is_empty() {
        let folder = Folder::new("/nowhere/at/all");
        assert!(folder.months().unwrap().is_empty());
        assert!(folder.job(at(1)).parts().unwrap().is_empty());
        folder.job(at(1)).remove().unwrap();
    }
}
