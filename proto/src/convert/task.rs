//! Chunks, tasks and their reports.

use super::{ConvertError, LIST_ITEMS_MAX, PLAN_ITEMS_MAX, list, path_from_bytes, path_to_bytes, required, wire_list};
use crate::v1;
use windrow_model::{
    Chunk, EdgeInput, FileIdentity, FileRange, OutputReport, PartReport, StoredBlob, Task, TaskInput, TaskOutput,
    TaskReport,
};

impl From<v1::FileIdentity> for FileIdentity {
    fn from(w: v1::FileIdentity) -> Self {
        FileIdentity {
            device: w.device,
            inode: w.inode,
            length: w.length,
            modified_ns: w.modified_ns,
            changed_ns: w.changed_ns,
        }
    }
}
impl From<FileIdentity> for v1::FileIdentity {
    fn from(d: FileIdentity) -> Self {
        v1::FileIdentity {
            device: d.device,
            inode: d.inode,
            length: d.length,
            modified_ns: d.modified_ns,
            changed_ns: d.changed_ns,
        }
    }
}

impl TryFrom<v1::FileRange> for FileRange {
    type Error = ConvertError;
    fn try_from(w: v1::FileRange) -> Result<Self, ConvertError> {
        if w.offset.checked_add(w.length).is_none() {
            return Err(ConvertError::invalid("range.length", "ends beyond every file"));
        }
        Ok(FileRange {
            path: path_from_bytes(w.path, "range.path")?,
            offset: w.offset,
            length: w.length,
            identity: required(w.identity, "range.identity")?.into(),
            content: w.content.map(TryInto::try_into).transpose()?,
            local: (!w.local.is_empty()).then(|| path_from_bytes(w.local, "range.local")).transpose()?,
            as_is: w.as_is,
        })
    }
}
impl From<FileRange> for v1::FileRange {
    fn from(d: FileRange) -> Self {
        v1::FileRange {
            path: path_to_bytes(&d.path),
            offset: d.offset,
            length: d.length,
            identity: Some(d.identity.into()),
            content: d.content.map(Into::into),
            local: d.local.as_deref().map(path_to_bytes).unwrap_or_default(),
            as_is: d.as_is,
        }
    }
}

impl TryFrom<v1::Chunk> for Chunk {
    type Error = ConvertError;
    fn try_from(w: v1::Chunk) -> Result<Self, ConvertError> {
        let skip = w.skip.into_iter().map(|s| windrow_model::SkippedRecord { range: s.range, offset: s.offset });
        let ranges = list(w.ranges, "chunk.ranges", LIST_ITEMS_MAX)?;
        Ok(Chunk { ranges, part: w.part, skip: skip.collect(), holders: Vec::new() })
    }
}
impl From<Chunk> for v1::Chunk {
    fn from(d: Chunk) -> Self {
        let skip = d.skip.into_iter().map(|s| v1::SkippedRecord { range: s.range, offset: s.offset });
        v1::Chunk { ranges: wire_list(d.ranges), part: d.part, skip: skip.collect() }
    }
}

impl TryFrom<v1::TaskInput> for TaskInput {
    type Error = ConvertError;
    fn try_from(w: v1::TaskInput) -> Result<Self, ConvertError> {
        use v1::task_input::Kind;
        Ok(match required(w.kind, "task input")? {
            Kind::Chunk(c) => TaskInput::Chunk(c.try_into()?),
            Kind::Edge(e) => {
                TaskInput::Edge(EdgeInput { ports: list(e.ports, "edge.ports", PLAN_ITEMS_MAX)?, bytes: e.bytes })
            }
            Kind::Inline(i) => TaskInput::Inline(i.blobs),
        })
    }
}
impl From<TaskInput> for v1::TaskInput {
    fn from(d: TaskInput) -> Self {
        use v1::task_input::Kind;
        let kind = match d {
            TaskInput::Chunk(c) => Kind::Chunk(c.into()),
            TaskInput::Edge(e) => Kind::Edge(v1::EdgePartition { ports: wire_list(e.ports), bytes: e.bytes }),
            TaskInput::Inline(blobs) => Kind::Inline(v1::Inline { blobs }),
        };
        v1::TaskInput { kind: Some(kind) }
    }
}

impl TryFrom<v1::TaskOutput> for TaskOutput {
    type Error = ConvertError;
    fn try_from(w: v1::TaskOutput) -> Result<Self, ConvertError> {
        use v1::task_output::Kind;
        Ok(match required(w.kind, "task output")? {
            Kind::EdgePartitions(0) => {
                return Err(ConvertError::invalid("edge_partitions", "is zero"));
            }
            Kind::EdgePartitions(partitions) => TaskOutput::Edge { partitions },
            Kind::Broadcast(_) => TaskOutput::Broadcast,
            Kind::Sink(sink) => TaskOutput::Sink { sink },
        })
    }
}
impl From<TaskOutput> for v1::TaskOutput {
    fn from(d: TaskOutput) -> Self {
        use v1::task_output::Kind;
        let kind = match d {
            TaskOutput::Edge { partitions } => Kind::EdgePartitions(partitions),
            TaskOutput::Broadcast => Kind::Broadcast(v1::Empty {}),
            TaskOutput::Sink { sink } => Kind::Sink(sink),
        };
        v1::TaskOutput { kind: Some(kind) }
    }
}

impl TryFrom<v1::Task> for Task {
    type Error = ConvertError;
    fn try_from(w: v1::Task) -> Result<Self, ConvertError> {
        Ok(Task {
            attempt: required(w.attempt, "task.attempt")?.try_into()?,
            inputs: list(w.inputs, "task.inputs", PLAN_ITEMS_MAX)?,
            outputs: list(w.outputs, "task.outputs", PLAN_ITEMS_MAX)?,
            job_input_bytes: w.job_input_bytes,
            skip_keys: list(w.skip_keys, "task.skip_keys", PLAN_ITEMS_MAX)?,
        })
    }
}
impl From<Task> for v1::Task {
    fn from(d: Task) -> Self {
        v1::Task {
            attempt: Some(d.attempt.into()),
            inputs: wire_list(d.inputs),
            outputs: wire_list(d.outputs),
            job_input_bytes: d.job_input_bytes,
            skip_keys: wire_list(d.skip_keys),
        }
    }
}

impl From<v1::PartReport> for PartReport {
    fn from(w: v1::PartReport) -> Self {
        PartReport { sink: w.sink, bytes: w.bytes, records: w.records, checksum: w.checksum }
    }
}
impl From<PartReport> for v1::PartReport {
    fn from(d: PartReport) -> Self {
        v1::PartReport { sink: d.sink, bytes: d.bytes, records: d.records, checksum: d.checksum }
    }
}

impl TryFrom<v1::StoredBlob> for StoredBlob {
    type Error = ConvertError;
    fn try_from(w: v1::StoredBlob) -> Result<Self, ConvertError> {
        if w.offset.checked_add(w.length).is_none() {
            return Err(ConvertError::invalid("stored.length", "ends beyond every file"));
        }
        Ok(StoredBlob { offset: w.offset, length: w.length, digest: required(w.digest, "stored.digest")?.try_into()? })
    }
}
impl From<StoredBlob> for v1::StoredBlob {
    fn from(d: StoredBlob) -> Self {
        v1::StoredBlob { offset: d.offset, length: d.length, digest: Some(d.digest.into()) }
    }
}

impl TryFrom<v1::OutputReport> for OutputReport {
    type Error = ConvertError;
    fn try_from(w: v1::OutputReport) -> Result<Self, ConvertError> {
        use v1::output_report::Kind;
        Ok(match required(w.kind, "output report")? {
            Kind::Edge(e) => OutputReport::Edge(e.try_into()?),
            Kind::Broadcast(blob) => OutputReport::Broadcast(blob),
            Kind::Part(p) => OutputReport::Sink(p.into()),
            Kind::Stored(blob) => OutputReport::Stored(blob.try_into()?),
        })
    }
}
impl From<OutputReport> for v1::OutputReport {
    fn from(d: OutputReport) -> Self {
        use v1::output_report::Kind;
        let kind = match d {
            OutputReport::Edge(edge) => Kind::Edge(edge.into()),
            OutputReport::Broadcast(blob) => Kind::Broadcast(blob),
            OutputReport::Sink(p) => Kind::Part(p.into()),
            OutputReport::Stored(blob) => Kind::Stored(blob.into()),
        };
        v1::OutputReport { kind: Some(kind) }
    }
}

impl TryFrom<v1::TaskReport> for TaskReport {
    type Error = ConvertError;
    fn try_from(w: v1::TaskReport) -> Result<Self, ConvertError> {
        Ok(TaskReport {
            outputs: list(w.outputs, "report.outputs", PLAN_ITEMS_MAX)?,
            counters: w.counters.unwrap_or_default().try_into()?,
            run_ms: w.run_ms,
            // Not `inputs`: it cannot be compared with digests of this release.
            inputs: w.read,
        })
    }
}
impl From<TaskReport> for v1::TaskReport {
    fn from(d: TaskReport) -> Self {
        v1::TaskReport {
            outputs: wire_list(d.outputs),
            counters: Some(d.counters.into()),
            run_ms: d.run_ms,
            inputs: 0,
            read: d.inputs,
        }
    }
}
