//! What a worker says of itself, and how it stands.

use crate::ids::{Incarnation, WorkerId};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What a worker says when it registers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    pub worker: WorkerId,
    pub incarnation: Incarnation,
    /// Where other workers fetch from: `http://127.0.0.1:4711`.
    pub address: String,
    pub host: String,
    pub slots: u32,
    pub memory_bytes: u64,
    pub version: String,
    /// Absent: other workers fetch, wherever they are.
    pub home: Option<Home>,
}

/// Where a worker's files lie: workers on the same machine that see the folder use its finished outputs in place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Home {
    /// The machine, from one boot to the next.
    pub machine: String,
    /// The data folder.
    pub folder: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerState {
    Live,
    /// It gets no tasks for a while: tasks that failed there succeeded elsewhere, several times.
    Excluded,
    Draining,
    Lost,
}

impl WorkerState {
    /// Its name in lists and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            WorkerState::Live => "live",
            WorkerState::Excluded => "excluded",
            WorkerState::Draining => "draining",
            WorkerState::Lost => "lost",
        }
    }
}

/// A worker as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    pub id: WorkerId,
    pub address: String,
    pub host: String,
    pub state: WorkerState,
    pub slots: u32,
    pub running: u32,
    pub memory_bytes: u64,
    pub version: String,
    /// Why it is excluded, drains or is lost, if that is known.
    #[serde(default)]
    pub reason: Option<String>,
}
