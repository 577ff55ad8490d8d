//! Output folders as tests read them.

use std::collections::BTreeMap;
use std::path::Path;
use windrow_model::Escape;

/// Every part by name, after the manifest was verified.
#[track_caller]
pub fn parts(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let manifest = windrow_format::manifest::verify(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.escaped()));
    let mut parts = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("an output is a folder") {
        let path = entry.expect("a folder can be read").path();
        let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
        // `_SUCCESS`, and perhaps a list of bad records.
        if !name.starts_with('_') {
            parts.insert(name, std::fs::read(path).expect("a part can be read"));
        }
    }
    let listed: Vec<&String> = manifest.parts.iter().map(|p| &p.name).collect();
    assert!(listed.iter().copied().eq(parts.keys()), "{listed:?} are listed, {:?} are there", parts.keys());
    assert!(parts.keys().enumerate().all(|(i, name)| *name == format!("part-{i:05}")), "{:?}", parts.keys());
    parts
}

/// All parts, one after the other.
#[track_caller]
pub fn concatenated(folder: &Path) -> Vec<u8> {
    parts(folder).into_values().flatten().collect()
}

/// The lines of all parts, in order.
#[track_caller]
pub fn lines(folder: &Path) -> Vec<String> {
    String::from_utf8(concatenated(folder)).expect("text").lines().map(str::to_string).collect()
}

/// The lines of all parts, sorted: independent of the partitioning.
#[track_caller]
pub fn sorted(folder: &Path) -> Vec<String> {
    let mut lines = lines(folder);
    lines.sort_unstable();
    lines
}

/// Checks that the text keys of each part strictly ascend, as they do after a shuffle.
#[track_caller]
pub fn keys_ascend(folder: &Path) {
    for (name, bytes) in parts(folder) {
        let text = String::from_utf8(bytes).expect("text");
        let keys: Vec<&str> = text.lines().map(|l| l.split('\t').next().unwrap_or(l)).collect();
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "{name}: keys do not ascend");
    }
}
