//! What files of records say about themselves, for a plan that is built where its job is started.

use crate::error::{Error, Result};
use crate::sink::RECORDS_FORMAT;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use windrow_format::manifest::{self, ManifestError};
use windrow_format::record_file::{Description, read_description};
use windrow_format::regular_file;
use windrow_model::{Code, Location, Partitions};

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
/// `INPUT_CORRUPT` for an output of records of which a part is missing or has another size than it was written with.
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
    let Ok(manifest) = manifest::read(folder) else { return Ok(None) };
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

fn described(path: &Path) -> Option<Description> {
    read_description(regular_file::open(path).ok()?).ok()
}
