//! What files of records say about themselves, for a plan that is built where its job is started.

use crate::error::{Error, Result};
use crate::sink::RECORDS_FORMAT;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use windrow_format::manifest::{self, ManifestError};
use windrow_format::record_file::{Description, read_description};
use windrow_format::regular_file;
use windrow_model::{Code, Escape, Location, Partitions};

/// Describes the first chunk of a dataset, and says how many there are. `None` if it cannot be read.
pub(crate) type Datasets = Rc<dyn Fn(&str) -> Option<(Description, usize)>>;

/// An input of records.
pub(crate) struct Stored {
    /// Its first file.
    pub path: PathBuf,
    pub description: Description,
    /// How the records lie in all files, if the input is a whole output and a plan can use it.
    pub layout: Option<Layout>,
}

/// How the records of an output lie in its parts. It is one of the side values of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Layout {
    /// Number of parts.
    pub parts: u32,
    /// Whether they are the partitions by the hash of keys.
    pub keyed: bool,
    /// Whether the records ascend by key over all parts.
    pub sorted: bool,
}

impl Layout {
    /// The layout of an output with this many parts, of which this is the description of the first.
    fn of(first: &Description, parts: usize) -> Option<Layout> {
        let is_whole = first.part == 0 && first.parts as usize == parts && first.parts <= Partitions::MAX;
        let layout = Layout { parts: first.parts, keyed: first.keyed, sorted: first.sorted };
        (is_whole && (layout.keyed || layout.sorted)).then_some(layout)
    }
}

/// Describes an input: a finished output, one file, or a dataset. `None` for any other, and for one that cannot be read from here; the
/// tasks that read it find out.
///
/// # Errors
/// `INPUT_CORRUPT` for an output of records of which a part is missing or has another size than it was written with, or whose
/// manifest is damaged.
pub(crate) fn stored_at(input: &str, datasets: Option<&Datasets>) -> Result<Option<Stored>> {
    let location = Location::of(input);
    if let (Some(name), Some(datasets)) = (location.dataset(), datasets) {
        return Ok(datasets(name).map(|(description, chunks)| {
            // The order of chunks is that in which they were put; only tasks see whether each part is in its place.
            let layout = Layout::of(&description, chunks).filter(|layout| layout.keyed);
            let layout = layout.map(|layout| Layout { sorted: false, ..layout });
            Stored { path: PathBuf::from(input), description, layout }
        }));
    }
    match location.path() {
        Some(path) if path.is_dir() => output_at(path),
        Some(path) => {
            Ok(described(path).map(|description| Stored { path: path.to_path_buf(), description, layout: None }))
        }
        None => Ok(None),
    }
}

fn output_at(folder: &Path) -> Result<Option<Stored>> {
    let manifest = match manifest::read(folder) {
        Ok(manifest) => manifest,
        Err(ManifestError::Missing { .. }) => return check_complete(folder).map(|()| None),
        Err(e @ (ManifestError::Malformed { .. } | ManifestError::Newer { .. })) => {
            return Err(Error::new(Code::InputCorrupt, e.to_string()));
        }
        Err(_) => return Ok(None),
    };
    let Some(path) = manifest.parts.first().map(|part| folder.join(&part.name)) else { return Ok(None) };
    let described = described(&path);
    let damaged = |e: &ManifestError| Err(Error::new(Code::InputCorrupt, e.to_string()));
    match manifest::verify_sizes(folder, &manifest) {
        Err(e) if described.is_some() || manifest.format == RECORDS_FORMAT => return damaged(&e),
        _ => {}
    }
    Ok(described.map(|description| {
        let layout = Layout::of(&description, manifest.parts.len());
        Stored { path, description, layout }
    }))
}

/// Checks that a folder without a manifest has each part of its output once, as the parts say how many there are. Linear in the
/// number of files.
fn check_complete(folder: &Path) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    let is_hidden = |path: &Path| path.file_name().is_some_and(|n| matches!(n.as_encoded_bytes()[0], b'_' | b'.'));
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| !is_hidden(path));
    let mut found: Vec<(u32, u32)> = paths.filter_map(|path| described(&path)).map(|d| (d.parts, d.part)).collect();
    found.sort_unstable();
    let Some((parts, _)) = found.first().copied() else { return Ok(()) };
    if found.iter().copied().eq((0..parts).map(|part| (parts, part))) {
        return Ok(());
    }
    let (path, count) = (folder.escaped(), found.len());
    let message = format!("{path}: no `_SUCCESS` file, and the {count} files are not the {parts} parts of one output");
    Err(Error::new(Code::InputCorrupt, message))
}

fn described(path: &Path) -> Option<Description> {
    read_description(regular_file::open(path).ok()?).ok()
}
