//! Datasets of the cluster: each chunk is read like a file, from the workers that hold it.

use super::{Input, Named};
use crate::error::{Result, StoreError};
use crate::input_file::InputFile;
use crate::steps::Steps;
use std::collections::BTreeMap;
use windrow_model::{Code, Dataset, FileIdentity, Framing, Location, SourceSpec};

/// The datasets that a job may name.
pub(super) struct Datasets<'a> {
    pub known: &'a BTreeMap<String, Dataset>,
}

impl Datasets<'_> {
    fn at(&self, location: Location<'_>) -> Option<&Dataset> {
        self.known.get(location.dataset()?)
    }
}

impl Input for Datasets<'_> {
    fn holds(&self, location: Location<'_>) -> bool {
        self.at(location).is_some()
    }

    /// A dataset whose chunks are whole files fits every source; others fit only a source with the same framing that does
    /// not need the start of a file.
    fn check(&self, location: Location<'_>, source: &SourceSpec) -> Result<()> {
        let Some(dataset) = self.at(location).filter(|dataset| dataset.framing != Framing::Whole) else {
            return Ok(());
        };
        if dataset.framing == source.framing && !source.header {
            return Ok(());
        }
        let header = if source.header { " with a header in each file" } else { "" };
        let message = format!(
            "dataset {} was put as {}, the job reads {}{header}",
            dataset.name, dataset.framing, source.framing
        );
        Err(StoreError::new(Code::DatasetFraming, message))
    }

    fn list(&self, inputs: &[Named<'_>], _: &Steps) -> Result<Vec<InputFile>> {
        let named = inputs.iter().filter_map(|input| Some((input.index, self.at(Location::of(input.text))?)));
        let chunks = named.flat_map(|(index, dataset)| {
            dataset.chunks.iter().enumerate().map(move |(number, chunk)| InputFile {
                path: Location::of_chunk(&dataset.name, number),
                identity: FileIdentity { length: chunk.length, ..FileIdentity::default() },
                argument_index: index,
                as_is: dataset.framing != Framing::Whole,
                content: Some(chunk.digest),
            })
        });
        Ok(chunks.collect())
    }
}
