//! Registration and status of a worker.

use crate::ids::{Incarnation, WorkerId};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The registration of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Id of the worker's data folder.
    pub worker: WorkerId,
    /// Incarnation of the daemon.
    pub incarnation: Incarnation,
    /// Address for fetches of other workers: `http://127.0.0.1:4711`.
    pub address: String,
    /// Name of the host.
    pub host: String,
    /// Number of tasks that it runs at a time.
    pub slots: u32,
    /// Memory for all of its tasks, in bytes.
    pub memory_bytes: u64,
    /// Release of the binary.
    pub version: String,
    /// Location of its files. If absent, other workers fetch over the network even on the same machine.
    pub home: Option<Home>,
}

/// Location of a worker's files: workers on the same machine that see the folder read its finished outputs in place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Home {
    /// Id of the machine since its boot.
    pub machine: String,
    /// Path of the data folder.
    pub folder: PathBuf,
}

/// State of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerState {
    /// Connected, and gets tasks.
    Live,
    /// Gets no tasks for a while, because several tasks that failed on it succeeded elsewhere.
    Excluded,
    /// Finishes its running tasks and gets no new ones.
    Draining,
    /// Gone: its lease has expired, or its session has ended.
    Lost,
}

impl WorkerState {
    /// The name in JSON, lists and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            WorkerState::Live => "live",
            WorkerState::Excluded => "excluded",
            WorkerState::Draining => "draining",
            WorkerState::Lost => "lost",
        }
    }
}

/// A worker as shown in lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Id of the worker.
    pub id: WorkerId,
    /// Address for fetches of other workers.
    pub address: String,
    /// Name of the host.
    pub host: String,
    /// Current state.
    pub state: WorkerState,
    /// Number of tasks that it runs at a time.
    pub slots: u32,
    /// Number of running attempts.
    pub running: u32,
    /// Memory for all of its tasks, in bytes.
    pub memory_bytes: u64,
    /// Release of the binary.
    pub version: String,
    /// Why it is excluded, draining or lost, if known.
    #[serde(default)]
    pub reason: Option<String>,
}
