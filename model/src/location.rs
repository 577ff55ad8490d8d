//! Where an input or an output of a job lies: parsed from the user's text only here.

use crate::plan::{Plan, SinkSpec};
use std::fmt;
use std::path::{Path, PathBuf};

/// Scheme of a dataset among the inputs and outputs of a job.
const DATASET: &str = "windrow";

/// A location as a user names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location<'a> {
    /// A file, a folder or a glob.
    Path(&'a Path),
    /// `windrow://NAME`: a dataset of the cluster. The name is not checked.
    Dataset(&'a str),
    /// A URL that no storage of this release holds.
    Unknown(&'a str),
}

impl<'a> Location<'a> {
    /// Parses a location. Every text is one: without a scheme it is a path.
    ///
    /// ```
    /// use std::path::Path;
    /// use windrow_model::Location;
    /// assert_eq!(Location::of("/data/logs"), Location::Path(Path::new("/data/logs")));
    /// assert_eq!(Location::of("windrow://logs"), Location::Dataset("logs"));
    /// assert_eq!(Location::of("s3://bucket/logs"), Location::Unknown("s3://bucket/logs"));
    /// ```
    pub fn of(text: &'a str) -> Self {
        match text.split_once("://") {
            None => Location::Path(Path::new(text)),
            Some((DATASET, name)) => Location::Dataset(name),
            Some(_) => Location::Unknown(text),
        }
    }

    /// Parses a name that a storage has made: an absolute path without `..` and double slashes, or the text of a location. A name
    /// that is not UTF-8 is a path, since URLs are ASCII.
    ///
    /// ```
    /// use std::path::Path;
    /// use windrow_model::Location;
    /// assert_eq!(Location::of_name(Path::new("/out")), Location::Path(Path::new("/out")));
    /// assert_eq!(Location::of_name(Path::new("s3://bucket/out")), Location::Unknown("s3://bucket/out"));
    /// ```
    pub fn of_name(name: &'a Path) -> Self {
        name.to_str().map_or(Location::Path(name), Location::of)
    }

    /// The path, if it is one.
    pub fn path(self) -> Option<&'a Path> {
        match self {
            Location::Path(path) => Some(path),
            Location::Dataset(_) | Location::Unknown(_) => None,
        }
    }

    /// The name of the dataset, if it is one.
    pub fn dataset(self) -> Option<&'a str> {
        match self {
            Location::Dataset(name) => Some(name),
            Location::Path(_) | Location::Unknown(_) => None,
        }
    }

    /// The name under which messages show a chunk of a dataset, like the path of a file: `windrow://NAME/00007`.
    pub fn of_chunk(dataset: &str, number: usize) -> PathBuf {
        PathBuf::from(format!("{}/{number:05}", Location::Dataset(dataset)))
    }
}

impl fmt::Display for Location<'_> {
    /// The text that [`Location::of`] parses, escaped for messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use crate::escape::Escape;
        match self {
            Location::Path(path) => write!(f, "{}", path.escaped()),
            Location::Dataset(name) => write!(f, "{DATASET}://{}", name.escaped()),
            Location::Unknown(text) => write!(f, "{}", text.escaped()),
        }
    }
}

impl SinkSpec {
    /// Where the output lies.
    pub fn location(&self) -> Location<'_> {
        Location::of(&self.path)
    }

    /// Where the output lies, if its parts are staged on storage outside of the cluster. The parts of a dataset become chunks
    /// where their tasks ran.
    pub fn staged_at(&self) -> Option<Location<'_>> {
        Some(self.location()).filter(|location| location.dataset().is_none())
    }
}

impl Plan {
    /// The inputs of all sources, as the user named them.
    pub fn inputs(&self) -> impl Iterator<Item = &String> {
        self.stages.iter().filter_map(|stage| stage.source()).flat_map(|source| &source.inputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_read_back_from_their_text() {
        for text in ["", "/data/logs", "logs/*.gz", "windrow://", "windrow://logs", "s3://bucket/a", "Windrow://logs"] {
            assert_eq!(Location::of(&Location::of(text).to_string()), Location::of(text), "{text}");
        }
        assert_eq!(Location::of("windrow:/logs").path(), Some(Path::new("windrow:/logs")));
        assert_eq!(Location::of("Windrow://logs"), Location::Unknown("Windrow://logs"));
        assert_eq!(Location::of_chunk("logs", 7), Path::new("windrow://logs/00007"));
    }
}
