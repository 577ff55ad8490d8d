//! Settings files: `--config` and the user's own file, by section. A flag (or its environment variable) takes
//! precedence over the first file, the first over the second; the verbs have the defaults.
//!
//! An unknown key is an error that names its line: a misspelt setting must not be silently ignored.

use crate::args::{Client, Count, Limit, Span, Text};
use crate::output::Format;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use windrow::InputCompression;
use windrow_model::{ByteSize, Code, Escape, Failure};
use windrow_net::{SETTING_BYTES_MAX, read_setting_text};

/// A section: every key optional, unknown keys refused, the first of two files takes precedence.
macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($key:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Default, PartialEq, Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case")]
        pub(crate) struct $name { $(pub(crate) $key: Option<$type>,)* }
        impl $name {
            /// Field names; files use `-` instead of `_`.
            const KEYS: &[&str] = &[$(stringify!($key),)*];

            fn or(self, second: Self) -> Self {
                $name { $($key: self.$key.or(second.$key),)* }
            }
        }
    };
}

section! {
    /// Settings of every client of a coordinator.
    ClientSection {
        coordinator: String,
        token_file: PathBuf,
        tls_ca: PathBuf,
        format: Format,
    }
}
section! {
    /// Defaults for options of jobs.
    SubmitSection {
        priority: i32,
        max_slots: Count<{ u32::MAX }>,
        timeout: Text<Span>,
        task_timeout: Text<Limit>,
        progress_timeout: Text<Limit>,
        skip_bad_records: u64,
        backup_attempts: bool,
        compression: InputCompression,
        partitions: Count<{ windrow_model::Partitions::MAX }>,
        chunk_size: Text<ByteSize>,
    }
}
section! {
    /// `windrow coordinator`.
    CoordinatorSection {
        listen: SocketAddr,
        data_dir: PathBuf,
        lease: Text<Span>,
        wait_for_workers: Text<Span>,
        storage_timeout: Text<Span>,
        history_keep: Text<Limit>,
        history_bytes: Text<ByteSize>,
        orphans_kept: Text<Span>,
        orphans_per_hour: Count<{ u32::MAX }>,
        token_file: PathBuf,
        tls_cert: PathBuf,
        tls_key: PathBuf,
        tls_ca: PathBuf,
        ui_listen: SocketAddr,
        no_ui: bool,
        ui_base_path: String,
        ui_host: Vec<String>,
        insecure: bool,
    }
}
section! {
    /// `windrow worker`.
    WorkerSection {
        data_dir: PathBuf,
        slots: Count<4096>,
        memory: Text<ByteSize>,
        memory_limit: Text<ByteSize>,
        max_processes: Count<{ u32::MAX }>,
        scratch_quota: Text<ByteSize>,
        stop_timeout: Text<Span>,
        storage_timeout: Text<Span>,
        fetch_timeout: Text<Span>,
        scrub_period: Text<Span>,
        scrub_rate: Text<ByteSize>,
        trash_kept: Text<Span>,
        fetch_from_neighbours: bool,
        listen: SocketAddr,
        advertise: String,
        tls_cert: PathBuf,
        tls_key: PathBuf,
        insecure: bool,
    }
}
section! {
    /// `windrow up`.
    UpSection {
        workers: Count<256>,
        slots: Count<4096>,
        memory: Text<ByteSize>,
        data_dir: PathBuf,
        listen: SocketAddr,
        ui_listen: SocketAddr,
        no_ui: bool,
        ui_base_path: String,
        ui_host: Vec<String>,
    }
}

/// The content of the files.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    pub client: ClientSection,
    pub submit: SubmitSection,
    pub coordinator: CoordinatorSection,
    pub worker: WorkerSection,
    pub up: UpSection,
}

impl Settings {
    /// Reads the named file, which must exist, and the user's, which need not.
    pub(crate) fn load(named: Option<&Path>, none: bool) -> Result<Settings, Failure> {
        if none {
            return Ok(Settings::default());
        }
        let named = match named {
            Some(path) => Settings::read(path)?
                .ok_or_else(|| Failure::new(Code::BadRequest, format!("there is no file {}", path.escaped())))?,
            None => Settings::default(),
        };
        let user = user_file().map(|path| Settings::read(&path)).transpose()?.flatten();
        Ok(named.or(user.unwrap_or_default()))
    }

    /// `None` if the file does not exist.
    fn read(path: &Path) -> Result<Option<Settings>, Failure> {
        let text = match read_setting_text(path, SETTING_BYTES_MAX) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Failure::new(Code::BadRequest, format!("cannot read {}: {e}", path.escaped()))),
        };
        let wrong = |what: String| Failure::new(Code::BadRequest, format!("{}: {what}", path.escaped()));
        let parsed: Settings = toml::from_str(&text).map_err(|e| {
            let misplaced: String = misplaced(&text).map(|hint| format!("\n{hint}")).collect();
            wrong(format!("{}{misplaced}", e.to_string().trim_end()))
        })?;
        match empty(&text).next() {
            Some(key) => Err(wrong(format!("{key} is empty: give it a value, or leave it out"))),
            None => Ok(Some(parsed)),
        }
    }

    fn or(self, second: Settings) -> Settings {
        Settings {
            client: self.client.or(second.client),
            submit: self.submit.or(second.submit),
            coordinator: self.coordinator.or(second.coordinator),
            worker: self.worker.or(second.worker),
            up: self.up.or(second.up),
        }
    }
}

impl ClientSection {
    /// Merges flags and settings; flags take precedence.
    pub(crate) fn settle(self, flags: Client) -> Client {
        Client {
            coordinator: flags.coordinator.or(self.coordinator),
            token_file: flags.token_file.or(self.token_file),
            tls_ca: flags.tls_ca.or(self.tls_ca),
        }
    }
}

/// Sections with their keys.
pub(crate) const SECTIONS: [(&str, &[&str]); 5] = [
    ("client", ClientSection::KEYS),
    ("submit", SubmitSection::KEYS),
    ("coordinator", CoordinatorSection::KEYS),
    ("worker", WorkerSection::KEYS),
    ("up", UpSection::KEYS),
];

/// Every key in a wrong section, or in none, with the sections that have it.
fn misplaced(text: &str) -> impl Iterator<Item = String> {
    let has = |keys: &[&str], key: &str| keys.iter().any(|known| known.replace('_', "-") == key);
    entries(text).into_iter().filter_map(move |(section, key, _)| {
        let known = SECTIONS.iter().filter(|(name, _)| Some(*name) == section.as_deref());
        let owners = SECTIONS.iter().filter(|(_, keys)| has(keys, &key)).map(|(name, _)| format!("[{name}]"));
        let owners: Vec<String> = owners.collect();
        let wrong = !known.into_iter().any(|(_, keys)| has(keys, &key)) && !owners.is_empty();
        let place = section.map_or("no section".to_string(), |section| format!("[{section}]"));
        wrong.then(|| format!("`{key}` is in {place}; it belongs in {}", owners.join(" or ")))
    })
}

/// Every key with an empty text, which would mean the current folder or no name.
fn empty(text: &str) -> impl Iterator<Item = String> {
    let entries = entries(text).into_iter().filter(|(_, _, value)| value.as_str() == Some(""));
    entries.map(|(section, key, _)| format!("`{key}` in [{}]", section.unwrap_or_default()))
}

/// Section, key and value of every entry in the file, as far as it is TOML.
fn entries(text: &str) -> Vec<(Option<String>, String, toml::Value)> {
    let mut entries = Vec::new();
    for (name, value) in toml::from_str::<toml::Table>(text).unwrap_or_default() {
        match value {
            toml::Value::Table(section) => {
                entries.extend(section.into_iter().map(|(key, value)| (Some(name.clone()), key, value)));
            }
            value => entries.push((None, name, value)),
        }
    }
    entries
}

/// `$XDG_CONFIG_HOME/windrow/config.toml`, or the same under `~/.config`.
fn user_file() -> Option<PathBuf> {
    let var = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let folder = var("XDG_CONFIG_HOME").or_else(|| var("HOME").map(|home| home.join(".config")))?;
    Some(folder.join("windrow/config.toml"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Settings, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        Settings::read(&path).map(|found| found.unwrap()).map_err(|failure| failure.message)
    }

    #[test]
    fn flags_lead_files_and_the_first_file_leads_the_second() {
        let first = read("[client]\ncoordinator = 'http://first:1'\n[worker]\nslots = 3\nmemory = '1GiB'").unwrap();
        let second =
            read("[client]\ncoordinator = 'http://second:1'\ntoken-file = '/t'\n[worker]\nmemory = 5").unwrap();
        let both = first.or(second);
        assert_eq!(both.worker.slots, Some(Count(3)));
        assert_eq!(both.worker.memory, Some(Text(ByteSize(1 << 30))));
        let flags = Client { tls_ca: Some("/ca".into()), ..Client::default() };
        let client = both.client.settle(flags);
        assert_eq!(client.coordinator.as_deref(), Some("http://first:1"));
        assert_eq!(client.token_file, Some("/t".into()));
        assert_eq!(client.tls_ca, Some("/ca".into()));
    }

    #[test]
    fn an_unknown_key_is_an_error_with_its_line() {
        for (text, parts) in [
            ("[worker]\nslots = 2\nslotz = 3\n", ["line 3", "slotz"]),
            ("\n[wurker]\nslots = 2\n", ["line 2", "wurker"]),
            ("[submit]\nchunk-size = '12 parsecs'\n", ["line 2", "12 parsecs"]),
            ("[worker]\nslots = 'many'\n", ["line 2", "slots"]),
            ("[worker]\nslots = 0\n", ["line 2", "from 1 to 4096"]),
            ("[up]\nworkers = 0\n", ["line 2", "0 is not from 1 to 256"]),
            ("[up]\nmemory = 0\n", ["line 2", "at least 1 B"]),
            ("[submit]\nmax-slots = 0\n", ["line 2", "less than 1"]),
            ("[submit]\npartitions = 1000001\n", ["line 2", "from 1 to 1000000"]),
        ] {
            let message = read(text).unwrap_err();
            for part in parts {
                assert!(message.contains(part), "{part} is not in {message}");
            }
        }
    }

    #[test]
    fn key_in_a_wrong_section_names_the_right_one() {
        for (text, hint) in [
            ("[coordinator]\nslots = 2\n", "`slots` is in [coordinator]; it belongs in [worker] or [up]"),
            ("[worker]\ntoken-file = 't'\n", "`token-file` is in [worker]; it belongs in [client] or [coordinator]"),
            ("coordinator = 'http://x:1'\n", "`coordinator` is in no section; it belongs in [client]"),
            ("[wurker]\nslots = 2\n", "`slots` is in [wurker]; it belongs in [worker] or [up]"),
        ] {
            let message = read(text).unwrap_err();
            assert!(message.contains(hint), "{hint} is not in {message}");
        }
        assert!(!read("[worker]\nslots = 0\n").unwrap_err().contains("belongs"));
    }

    #[test]
    fn empty_values_are_refused_by_their_keys() {
        for (text, key) in [
            ("[worker]\ndata-dir = ''\n", "`data-dir` in [worker] is empty"),
            ("[client]\ntoken-file = \"\"\n", "`token-file` in [client] is empty"),
            ("[client]\ncoordinator = ''\n", "`coordinator` in [client] is empty"),
        ] {
            let message = read(text).unwrap_err();
            assert!(message.contains(key), "{key} is not in {message}");
        }
    }

    #[test]
    fn sizes_and_times_are_written_as_in_flags() {
        let settings = read("[submit]\ntimeout = '15m'\nchunk-size = 1024\n[client]\nformat = 'json'").unwrap();
        assert_eq!(settings.submit.timeout, Some(Text(Span { ms: 900_000 })));
        assert_eq!(settings.submit.chunk_size, Some(Text(ByteSize(1024))));
        assert_eq!(settings.client.format, Some(Format::Json));
    }
}
