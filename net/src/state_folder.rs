//! The user's state folder: one record per running coordinator, so that tools of the same user find it.
//!
//! The folder is `$WINDROW_HOME`, else `$XDG_STATE_HOME/windrow`, else `~/.local/state/windrow`, with mode 0700. A
//! record is a JSON file, written when a coordinator starts to accept jobs and removed when it stops cleanly. After a
//! kill the record stays; records whose process is gone are tried last.

use crate::token::{beside, write_private};
use crate::{SETTING_BYTES_MAX, read_setting};
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use windrow_model::{Code, Escape, Failure};

/// A running coordinator, as recorded for tools of the same user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// URL, such as `http://127.0.0.1:8470`.
    pub url: String,
    /// Path of the file with the coordinator's token.
    pub token_file: PathBuf,
    /// Certificate of the authority that signed the coordinator's, if it uses TLS.
    pub ca: Option<PathBuf>,
    /// Process id.
    pub pid: u32,
    /// Start time in milliseconds since 1970.
    pub started: u64,
}

impl Record {
    /// A record of this process, started now.
    pub fn of_this_process(url: String, token_file: PathBuf, ca: Option<PathBuf>) -> Self {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        Record { url, token_file, ca, pid: std::process::id(), started }
    }

    fn is_running(&self) -> bool {
        Path::new("/proc").join(self.pid.to_string()).exists()
    }

    fn file_name(&self) -> String {
        let safe = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        format!("{}.json", normal(&self.url).chars().map(safe).collect::<String>())
    }
}

/// The state folder of one user.
#[derive(Clone, Debug)]
pub struct StateFolder {
    folder: PathBuf,
}

impl StateFolder {
    /// The folder given by the environment.
    ///
    /// # Errors
    /// No variable names one.
    pub fn of_user() -> Result<StateFolder, Failure> {
        let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let folder = var("WINDROW_HOME")
            .or_else(|| var("XDG_STATE_HOME").map(|d| d.join("windrow")))
            .or_else(|| var("HOME").map(|d| d.join(".local/state/windrow")))
            .ok_or_else(|| Failure::new(Code::IoError, "there is no state folder: set WINDROW_HOME or HOME"))?;
        Ok(StateFolder { folder })
    }

    /// The folder at this path.
    pub fn at(folder: impl Into<PathBuf>) -> StateFolder {
        StateFolder { folder: folder.into() }
    }

    /// Path of the folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes a coordinator's record, which replaces an earlier one of the same URL.
    ///
    /// # Errors
    /// `IO_ERROR` if it cannot be written.
    pub fn add(&self, record: &Record) -> Result<(), Failure> {
        let folder = self.records();
        let path = folder.join(record.file_name());
        let write = || -> std::io::Result<()> {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
            let aside = beside(&path);
            write_private(&aside, &serde_json::to_vec_pretty(record)?)?;
            fs::rename(&aside, &path)
        };
        write().map_err(|e| Failure::new(Code::IoError, format!("cannot write the record {}: {e}", path.escaped())))
    }

    /// Removes a coordinator's record, unless another process has replaced it.
    pub fn remove(&self, record: &Record) {
        let path = self.records().join(record.file_name());
        if read(&path).is_some_and(|found| found.pid == record.pid) {
            let _ = fs::remove_file(path);
        }
    }

    /// The coordinator that started last, preferably one whose process is running.
    pub fn latest(&self) -> Option<Record> {
        self.all().into_iter().max_by_key(|r| (r.is_running(), r.started))
    }

    /// The record of the coordinator at `url`.
    pub fn by_url(&self, url: &str) -> Option<Record> {
        let wanted = normal(url);
        self.all().into_iter().filter(|r| normal(&r.url) == wanted).max_by_key(|r| (r.is_running(), r.started))
    }

    fn all(&self) -> Vec<Record> {
        let Ok(entries) = fs::read_dir(self.records()) else {
            return Vec::new();
        };
        entries
            .flatten()
            .map(|e| e.path())
            .filter(|p| p.extension().is_some_and(|e| e == "json"))
            .filter_map(|p| read(&p))
            .collect()
    }

    fn records(&self) -> PathBuf {
        self.folder.join("coordinators")
    }
}

/// None if the file is missing or invalid: a damaged record must not keep the user from a running coordinator.
fn read(path: &Path) -> Option<Record> {
    serde_json::from_slice(&read_setting(path, SETTING_BYTES_MAX).ok()?).ok()
}

/// A URL in the form for connecting: with a scheme, without a trailing slash.
pub fn with_scheme(url: &str) -> String {
    let url = url.trim().trim_end_matches('/');
    if url.contains("://") { url.to_string() } else { format!("http://{url}") }
}

/// A text that is equal for two URLs of the same coordinator.
fn normal(url: &str) -> String {
    with_scheme(url).to_ascii_lowercase().replace("//localhost", "//127.0.0.1")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    fn record(port: u16, pid: u32, started: u64) -> Record {
        Record { url: format!("http://127.0.0.1:{port}"), token_file: "/t".into(), ca: None, pid, started }
    }
    const GONE: u32 = u32::MAX;

    #[test]
    fn latest_live_coordinator_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateFolder::at(dir.path().join("state"));
        assert_eq!(state.latest(), None);
        let me = std::process::id();
        state.add(&record(1, me, 10)).unwrap();
        state.add(&record(2, me, 20)).unwrap();
        state.add(&record(3, GONE, 30)).unwrap();
        assert_eq!(state.latest().unwrap().url, "http://127.0.0.1:2");
        state.remove(&record(2, me, 20));
        assert_eq!(state.latest().unwrap().url, "http://127.0.0.1:1");
        state.remove(&record(1, me, 10));
        assert_eq!(state.latest().unwrap().url, "http://127.0.0.1:3");
        assert_eq!(fs::metadata(state.folder()).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn coordinator_is_found_for_any_spelling_of_its_url() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateFolder::at(dir.path());
        state.add(&record(8470, 1, 10)).unwrap();
        for url in ["http://127.0.0.1:8470", "127.0.0.1:8470", "http://localhost:8470/", "localhost:8470"] {
            assert!(state.by_url(url).is_some(), "{url}");
        }
        assert_eq!(state.by_url("http://127.0.0.1:8471"), None);
    }

    #[test]
    fn record_replaced_by_another_process_stays() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateFolder::at(dir.path());
        state.add(&record(1, 100, 10)).unwrap();
        state.add(&record(1, 200, 20)).unwrap();
        state.remove(&record(1, 100, 10));
        assert_eq!(state.latest().unwrap().pid, 200);
        fs::write(dir.path().join("coordinators/broken.json"), b"{").unwrap();
        assert_eq!(state.latest().unwrap().pid, 200);
    }
}
