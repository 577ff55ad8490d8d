//! The files of many images, each named once: messages say which one by its number.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// Files in the order in which they came first.
#[derive(Debug, Default)]
pub(crate) struct FileList {
    files: Vec<Arc<Path>>,
    numbers: HashMap<Arc<Path>, u32>,
}

impl FileList {
    /// The number of a file in the list, which counts from zero.
    pub(crate) fn number(&mut self, file: &Arc<Path>) -> u32 {
        *self.numbers.entry(file.clone()).or_insert_with(|| {
            self.files.push(file.clone());
            self.files.len() as u32 - 1
        })
    }

    /// All files by their numbers.
    pub(crate) fn files(&self) -> &[Arc<Path>] {
        &self.files
    }
}
