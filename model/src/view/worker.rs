//! A worker as programs see it.

use crate::node::WorkerStatus;
use serde::Serialize;

/// A worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WorkerView<'a> {
    /// Id of the worker.
    pub id: String,
    /// Address for fetches of other workers.
    pub address: &'a str,
    /// Name of the host.
    pub host: &'a str,
    /// Name of the state: `live`, `excluded`, `draining` or `lost`.
    pub state: &'static str,
    /// Number of tasks that it runs at a time.
    pub slots: u32,
    /// Number of running attempts.
    pub running: u32,
    /// Memory for all of its tasks, in bytes.
    pub memory_bytes: u64,
    /// Release of the binary.
    pub version: &'a str,
    /// Why it is excluded, draining or lost, if known.
    pub reason: Option<&'a str>,
}

impl<'a> From<&'a WorkerStatus> for WorkerView<'a> {
    fn from(worker: &'a WorkerStatus) -> Self {
        let WorkerStatus { id, address, host, state, slots, running, memory_bytes, version, reason } = worker;
        WorkerView {
            id: id.to_string(),
            address,
            host,
            state: state.as_str(),
            slots: *slots,
            running: *running,
            memory_bytes: *memory_bytes,
            version,
            reason: reason.as_deref(),
        }
    }
}
