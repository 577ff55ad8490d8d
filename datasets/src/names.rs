//! Names of datasets, their versions, and their completeness.

use crate::table::Datasets;
use windrow_model::{Code, Dataset, DatasetStatus, Failure};

/// Default number of copies of a chunk.
pub(crate) const REPLICAS: u32 = 2;

impl Datasets {
    /// Number of copies for new datasets, with the connected workers.
    pub fn usual_replicas(&self) -> u32 {
        REPLICAS.min(self.holders.workers_count()).max(1)
    }

    pub(crate) fn check_free(&self, name: &str, overwrite: bool) -> Result<(), Failure> {
        let taken = match self.named.get(name) {
            Some(_) if !overwrite => "there is a dataset of this name",
            _ if self.recording.contains(name) => "another put under this name is being completed",
            _ => return Ok(()),
        };
        Err(Failure::new(Code::DatasetExists, format!("{name}: {taken}")))
    }

    /// A dataset is durable, or could not be made durable. The put stays open until `end_put`.
    pub fn recorded(&mut self, dataset: Dataset, durable: bool) {
        self.recording.remove(&dataset.name);
        if durable {
            self.refer(&dataset);
            if let Some(old) = self.named.insert(dataset.name.clone(), dataset) {
                self.release(&old);
            }
        }
    }

    /// Removes a name; its chunks stay as long as a job reads them.
    pub fn remove(&mut self, name: &str) -> Result<(), Failure> {
        let removed = self.named.remove(name).ok_or_else(|| not_found(name))?;
        self.release(&removed);
        Ok(())
    }

    pub fn get(&self, name: &str) -> Result<&Dataset, Failure> {
        self.named.get(name).ok_or_else(|| not_found(name))
    }

    /// Every dataset, by name.
    pub fn list(&self) -> Vec<DatasetStatus> {
        self.named.values().map(|d| self.status(d)).collect()
    }

    pub fn status(&self, dataset: &Dataset) -> DatasetStatus {
        let copies = dataset.chunks.iter().map(|c| self.copies(c.digest));
        DatasetStatus {
            name: dataset.name.clone(),
            version: dataset.version,
            framing: dataset.framing,
            bytes: dataset.length(),
            chunks: dataset.chunks.len() as u64,
            replicas: dataset.replicas,
            copies_min: copies.min().unwrap_or(dataset.replicas),
        }
    }

    /// Whether it is still unknown if every chunk of these datasets has a copy.
    pub fn may_be_incomplete<'n>(&self, mut names: impl Iterator<Item = &'n str>) -> bool {
        self.inventory_pending() && names.any(|name| self.named.get(name).is_some_and(|d| self.lacks(d)))
    }

    /// Whether no worker holds some chunk of this dataset.
    pub fn lacks(&self, dataset: &Dataset) -> bool {
        dataset.chunks.iter().any(|c| self.copies(c.digest) == 0)
    }

    /// Whether some dataset lacks a chunk. Visits every chunk of every dataset.
    pub fn any_lacks(&self) -> bool {
        self.named.values().any(|dataset| self.lacks(dataset))
    }
}

fn not_found(name: &str) -> Failure {
    Failure::new(Code::DatasetNotFound, format!("there is no dataset {name}"))
}
