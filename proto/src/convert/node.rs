//! Registration and status of workers.

use super::{ConvertError, NAME_BYTES_MAX, path_from_bytes, path_to_bytes, required, text};
use crate::v1;
use windrow_model::{Epoch, Folder, Home, Incarnation, NodeInfo, Seen, WorkerState, WorkerStatus};

impl TryFrom<v1::Register> for NodeInfo {
    type Error = ConvertError;
    /// Does not check the protocol range: `check_range` comes first.
    fn try_from(w: v1::Register) -> Result<Self, ConvertError> {
        if w.address.is_empty() {
            return Err(ConvertError::Missing("register.address"));
        }
        if w.slots == 0 || w.slots > 100_000 {
            return Err(ConvertError::invalid("register.slots", format!("is {}, not from 1 to 100,000", w.slots)));
        }
        Ok(NodeInfo {
            worker: required(w.worker, "register.worker")?.try_into()?,
            incarnation: Incarnation(w.incarnation),
            address: text(w.address, "register.address", NAME_BYTES_MAX)?,
            host: text(w.host, "register.host", NAME_BYTES_MAX)?,
            slots: w.slots,
            memory_bytes: w.memory_bytes,
            version: text(w.release, "register.release", NAME_BYTES_MAX)?,
            home: w.home.map(Home::try_from).transpose()?,
        })
    }
}
impl From<NodeInfo> for v1::Register {
    fn from(d: NodeInfo) -> Self {
        v1::Register {
            protocol: Some(crate::own_range()),
            worker: Some(d.worker.into()),
            incarnation: d.incarnation.0,
            address: d.address,
            host: d.host,
            slots: d.slots,
            memory_bytes: d.memory_bytes,
            release: d.version,
            home: d.home.map(Into::into),
            life: 0,
            folder: None,
        }
    }
}

impl TryFrom<v1::Home> for Home {
    type Error = ConvertError;
    fn try_from(w: v1::Home) -> Result<Self, ConvertError> {
        Ok(Home {
            machine: text(w.machine, "home.machine", NAME_BYTES_MAX)?,
            folder: path_from_bytes(w.folder, "home.folder")?,
        })
    }
}
impl From<Home> for v1::Home {
    fn from(d: Home) -> Self {
        v1::Home { machine: d.machine, folder: path_to_bytes(&d.folder) }
    }
}

impl TryFrom<v1::Folder> for Folder {
    type Error = ConvertError;
    fn try_from(w: v1::Folder) -> Result<Self, ConvertError> {
        let cluster = w.cluster.map(TryInto::try_into).transpose()?;
        let seen = Seen { epoch: Epoch(w.epoch), nonce: w.nonce, revision: w.revision };
        Ok(Folder { cluster, seen, chunks: w.chunks })
    }
}
impl From<Folder> for v1::Folder {
    fn from(d: Folder) -> Self {
        let Folder { cluster, seen: Seen { epoch, nonce, revision }, chunks } = d;
        v1::Folder { cluster: cluster.map(Into::into), epoch: epoch.0, nonce, revision, chunks }
    }
}

impl TryFrom<v1::WorkerStatus> for WorkerStatus {
    type Error = ConvertError;
    fn try_from(w: v1::WorkerStatus) -> Result<Self, ConvertError> {
        let state = match w.state() {
            v1::WorkerState::Live => WorkerState::Live,
            v1::WorkerState::Excluded => WorkerState::Excluded,
            v1::WorkerState::Draining => WorkerState::Draining,
            v1::WorkerState::Lost => WorkerState::Lost,
            v1::WorkerState::Unspecified => {
                return Err(ConvertError::invalid("worker.state", "is unknown"));
            }
        };
        Ok(WorkerStatus {
            id: required(w.id, "worker.id")?.try_into()?,
            address: text(w.address, "worker.address", NAME_BYTES_MAX)?,
            host: text(w.host, "worker.host", NAME_BYTES_MAX)?,
            state,
            slots: w.slots,
            running: w.running,
            memory_bytes: w.memory_bytes,
            version: text(w.version, "worker.version", NAME_BYTES_MAX)?,
            reason: Some(text(w.reason, "worker.reason", NAME_BYTES_MAX)?).filter(|reason| !reason.is_empty()),
        })
    }
}
impl From<WorkerStatus> for v1::WorkerStatus {
    fn from(d: WorkerStatus) -> Self {
        let state = match d.state {
            WorkerState::Live => v1::WorkerState::Live,
            WorkerState::Excluded => v1::WorkerState::Excluded,
            WorkerState::Draining => v1::WorkerState::Draining,
            WorkerState::Lost => v1::WorkerState::Lost,
        };
        v1::WorkerStatus {
            id: Some(d.id.into()),
            address: d.address,
            host: d.host,
            state: state.into(),
            slots: d.slots,
            running: d.running,
            memory_bytes: d.memory_bytes,
            version: d.version,
            reason: d.reason.unwrap_or_default(),
        }
    }
}
