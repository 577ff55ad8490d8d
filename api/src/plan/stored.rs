//! What files of records say about themselves, for a plan that is built where its job is started.

use std::path::{Path, PathBuf};
use windrow_format::record_file::{Description, read_description};
use windrow_format::{manifest, regular_file};
use windrow_model::Location;

/// The first file of an input.
pub(crate) struct Stored {
    pub path: PathBuf,
    pub description: Description,
}

/// Describes an input: a finished output, or one file. `None` for any other, and for one that cannot be read from here; the
/// tasks that read it find out.
pub(crate) fn stored_at(input: &str) -> Option<Stored> {
    let path = Location::of(input).path()?;
    let path = match path.is_dir() {
        true => path.join(&manifest::read(path).ok()?.parts.first()?.name),
        false => path.to_path_buf(),
    };
    described(&path).map(|description| Stored { path, description })
}

fn described(path: &Path) -> Option<Description> {
    read_description(regular_file::open(path).ok()?).ok()
}
