//! The kinds of storage that inputs of jobs lie on.
//!
//! Each kind is a module that implements [`Input`]. A job's inputs are listed by the first kind that holds their
//! location; splitting, reading and scheduling know only the [`InputFile`]s that come out.

mod datasets;
mod files;

use crate::error::{Result, StoreError};
use crate::input_file::InputFile;
use crate::steps::Steps;
use std::collections::BTreeMap;
use windrow_model::{Code, Dataset, Escape, Location, SourceSpec};

/// An input of a source, with its index among the inputs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Named<'a> {
    pub index: usize,
    pub text: &'a str,
}

/// A kind of storage.
pub(crate) trait Input {
    /// Returns whether inputs at this location are listed by this kind.
    fn holds(&self, location: Location<'_>) -> bool;

    /// Checks that an input at this location, which is of this kind, can be read by the source.
    ///
    /// # Errors
    /// The content does not fit the source.
    fn check(&self, location: Location<'_>, source: &SourceSpec) -> Result<()>;

    /// Lists the files of all inputs of this kind, ordered by input. It gets them in one call, so that one error can name
    /// all bad ones.
    ///
    /// # Errors
    /// An input is missing or cannot be listed; the work was cancelled.
    fn list(&self, inputs: &[Named<'_>], steps: &Steps) -> Result<Vec<InputFile>>;
}

/// The storage of a cluster with these datasets, or of a run in one process, which has none.
pub(crate) struct Inputs<'a> {
    datasets: datasets::Datasets<'a>,
}

impl<'a> Inputs<'a> {
    pub(crate) fn with(datasets: &'a BTreeMap<String, Dataset>) -> Self {
        Inputs { datasets: datasets::Datasets { known: datasets } }
    }

    /// All kinds. A name of a dataset that is not known is left to the files, which report it with other bad inputs.
    fn kinds(&self) -> [&dyn Input; 2] {
        [&self.datasets, &files::Files]
    }

    /// Checks that the inputs of a source can be read by it.
    ///
    /// # Errors
    /// See [`Input::check`].
    pub(crate) fn check(&self, source: &SourceSpec) -> Result<()> {
        for location in source.inputs.iter().map(|text| Location::of(text)) {
            if let Some(kind) = self.kinds().into_iter().find(|kind| kind.holds(location)) {
                kind.check(location, source)?;
            }
        }
        Ok(())
    }

    /// Lists the files of these inputs, in their order.
    ///
    /// # Errors
    /// See [`Input::list`]; `INPUT_NOT_FOUND` for a location that no kind of storage holds.
    pub(crate) fn list(&self, inputs: &[String], steps: &Steps) -> Result<Vec<InputFile>> {
        let mut of_kind = self.kinds().map(|kind| (kind, Vec::new()));
        for (index, text) in inputs.iter().enumerate() {
            let held = of_kind.iter_mut().find(|(kind, _)| kind.holds(Location::of(text)));
            let (_, named) = held.ok_or_else(|| {
                let message = format!("{} is not a path, a glob or a dataset", text.escaped());
                StoreError::new(Code::InputNotFound, message)
            })?;
            named.push(Named { index, text });
        }
        let mut files = Vec::new();
        for (kind, named) in of_kind {
            files.extend(kind.list(&named, steps)?);
        }
        // Stable: within an input the order is right already.
        files.sort_by_key(|file| file.argument_index);
        Ok(files)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windrow_model::{DatasetChunk, Digest, Framing};

    fn datasets() -> BTreeMap<String, Dataset> {
        let chunk = |n: u8| DatasetChunk { digest: Digest([n; 32]), length: u64::from(n) };
        let logs = Dataset {
            name: "logs".into(),
            version: 1,
            framing: Framing::Delimiter(b'\n'),
            replicas: 2,
            chunks: vec![chunk(1), chunk(2)],
        };
        BTreeMap::from([("logs".to_string(), logs)])
    }

    #[test]
    fn files_and_chunks_are_listed_in_the_order_of_the_inputs() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            std::fs::write(folder.path().join(name), name).unwrap();
            folder.path().join(name).to_str().unwrap().to_string()
        };
        let inputs = [file("b"), "windrow://logs".to_string(), file("a")];
        let datasets = datasets();
        let listed = Inputs::with(&datasets).list(&inputs, &Steps::default()).unwrap();
        let names: Vec<&str> = listed.iter().map(|file| file.path.to_str().unwrap()).collect();
        assert_eq!(names, [&inputs[0], "windrow://logs/00000", "windrow://logs/00001", &inputs[2]]);
        assert_eq!(listed.iter().map(|file| file.argument_index).collect::<Vec<_>>(), [0, 1, 1, 2]);
        assert!(listed[1].content.is_some() && listed[1].as_is && listed[0].content.is_none());
    }

    #[test]
    fn locations_that_no_storage_holds_are_refused() {
        let (datasets, none) = (datasets(), BTreeMap::new());
        let refused = |known, text: &str| {
            let list = Inputs::with(known).list(&[text.to_string()], &Steps::default());
            list.unwrap_err().code
        };
        assert_eq!(refused(&datasets, "s3://bucket/logs"), Code::InputNotFound);
        assert_eq!(refused(&datasets, "windrow://other"), Code::DatasetNotFound);
        assert_eq!(refused(&none, "windrow://logs"), Code::DatasetNotFound);
    }
}
