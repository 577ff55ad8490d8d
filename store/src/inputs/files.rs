//! Files on local or mounted file systems.

use super::{Input, Named};
use crate::error::Result;
use crate::input_file::InputFile;
use crate::list::list_inputs;
use crate::steps::Steps;
use windrow_model::{Location, SourceSpec};

/// File systems of this machine.
pub(super) struct Files;

impl Input for Files {
    fn holds(&self, location: Location<'_>) -> bool {
        matches!(location, Location::Path(_) | Location::Dataset(_))
    }

    /// What a file holds shows when it is read.
    fn check(&self, _: Location<'_>, _: &SourceSpec) -> Result<()> {
        Ok(())
    }

    fn list(&self, inputs: &[Named<'_>], steps: &Steps) -> Result<Vec<InputFile>> {
        let texts: Vec<String> = inputs.iter().map(|input| input.text.to_string()).collect();
        let mut files = list_inputs(&texts, steps)?;
        for file in &mut files {
            file.argument_index = inputs[file.argument_index].index;
        }
        Ok(files)
    }
}
