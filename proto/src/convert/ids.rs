//! Ids, digests, ports and paths.

use super::{ConvertError, PATH_BYTES_MAX, required};
use crate::v1;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use windrow_model::{AttemptId, ClusterId, Digest, Epoch, Incarnation, JobId, Port, StageId, TaskId, WorkerId};

/// The wire form of a path: its bytes.
pub fn path_to_bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

/// Validates a received path: not empty, no NUL, and within the system's limit.
///
/// # Errors
/// The field is missing or invalid.
pub fn path_from_bytes(bytes: Vec<u8>, field: &'static str) -> Result<PathBuf, ConvertError> {
    if bytes.is_empty() {
        return Err(ConvertError::Missing(field));
    }
    if bytes.len() > PATH_BYTES_MAX {
        return Err(ConvertError::invalid(field, format!("is a path of {} bytes", bytes.len())));
    }
    if bytes.contains(&0) {
        return Err(ConvertError::invalid(field, "is a path with a NUL byte"));
    }
    Ok(OsString::from_vec(bytes).into())
}

fn array<const N: usize>(bytes: &[u8], field: &'static str) -> Result<[u8; N], ConvertError> {
    bytes.try_into().map_err(|_| ConvertError::invalid(field, format!("has {} bytes instead of {N}", bytes.len())))
}

impl TryFrom<v1::JobId> for JobId {
    type Error = ConvertError;
    fn try_from(w: v1::JobId) -> Result<Self, ConvertError> {
        Ok(JobId::from_bytes(array(&w.uuid, "job id")?))
    }
}
impl From<JobId> for v1::JobId {
    fn from(d: JobId) -> Self {
        v1::JobId { uuid: d.as_bytes().to_vec() }
    }
}

impl TryFrom<v1::WorkerId> for WorkerId {
    type Error = ConvertError;
    fn try_from(w: v1::WorkerId) -> Result<Self, ConvertError> {
        Ok(WorkerId::from_bytes(array(&w.uuid, "worker id")?))
    }
}
impl From<WorkerId> for v1::WorkerId {
    fn from(d: WorkerId) -> Self {
        v1::WorkerId { uuid: d.as_bytes().to_vec() }
    }
}

impl TryFrom<v1::ClusterId> for ClusterId {
    type Error = ConvertError;
    fn try_from(w: v1::ClusterId) -> Result<Self, ConvertError> {
        Ok(ClusterId::from_bytes(array(&w.uuid, "cluster id")?))
    }
}
impl From<ClusterId> for v1::ClusterId {
    fn from(d: ClusterId) -> Self {
        v1::ClusterId { uuid: d.as_bytes().to_vec() }
    }
}

impl TryFrom<v1::Digest> for Digest {
    type Error = ConvertError;
    fn try_from(w: v1::Digest) -> Result<Self, ConvertError> {
        Ok(Digest(array(&w.blake3, "digest")?))
    }
}
impl From<Digest> for v1::Digest {
    fn from(d: Digest) -> Self {
        v1::Digest { blake3: d.0.to_vec() }
    }
}

impl TryFrom<v1::TaskId> for TaskId {
    type Error = ConvertError;
    fn try_from(w: v1::TaskId) -> Result<Self, ConvertError> {
        Ok(TaskId { job: required(w.job, "task.job")?.try_into()?, stage: StageId(w.stage), index: w.index })
    }
}
impl From<TaskId> for v1::TaskId {
    fn from(d: TaskId) -> Self {
        v1::TaskId { job: Some(d.job.into()), stage: d.stage.0, index: d.index }
    }
}

impl TryFrom<v1::AttemptId> for AttemptId {
    type Error = ConvertError;
    fn try_from(w: v1::AttemptId) -> Result<Self, ConvertError> {
        Ok(AttemptId {
            task: required(w.task, "attempt.task")?.try_into()?,
            number: w.number,
            epoch: Epoch(w.epoch),
            incarnation: Incarnation(w.incarnation),
        })
    }
}
impl From<AttemptId> for v1::AttemptId {
    fn from(d: AttemptId) -> Self {
        v1::AttemptId { task: Some(d.task.into()), number: d.number, epoch: d.epoch.0, incarnation: d.incarnation.0 }
    }
}

impl TryFrom<v1::Port> for Port {
    type Error = ConvertError;
    fn try_from(w: v1::Port) -> Result<Self, ConvertError> {
        Ok(Port { stage: StageId(w.stage), output: w.output })
    }
}
impl From<Port> for v1::Port {
    fn from(d: Port) -> Self {
        v1::Port { stage: d.stage.0, output: d.output }
    }
}
