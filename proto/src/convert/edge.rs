//! Outputs for other tasks: their reports, and the tables that readers get.

use super::{ConvertError, LIST_ITEMS_MAX, list, required, wire_list};
use crate::v1;
use bytes::Bytes;
use prost::Message;
use windrow_model::edge_report::HINTS_MAX;
use windrow_model::{
    EdgePort, EdgeReport, Epoch, Incarnation, Origin, OutputEntry, OutputRef, Port, Segment, SizeHints, StageId,
    StageOutputs, TableVersion,
};

impl TryFrom<v1::Segment> for Segment {
    type Error = ConvertError;
    fn try_from(w: v1::Segment) -> Result<Self, ConvertError> {
        if w.offset.checked_add(w.length).is_none() {
            return Err(ConvertError::invalid("segment.length", "ends beyond every file"));
        }
        Ok(Segment {
            partition: w.partition,
            offset: w.offset,
            length: w.length,
            records: w.records,
            raw_length: w.raw_length,
            digest: w.digest,
        })
    }
}

impl TryFrom<v1::SizeHints> for SizeHints {
    type Error = ConvertError;
    fn try_from(w: v1::SizeHints) -> Result<Self, ConvertError> {
        if w.sparse && w.partition.len() != w.hints.len() {
            return Err(ConvertError::invalid("hints", "has not one hint for each partition"));
        }
        if w.hints.len() > HINTS_MAX {
            return Err(ConvertError::invalid("hints", "has too many items"));
        }
        Ok(match (w.hints.is_empty(), w.sparse) {
            (true, _) => SizeHints::None,
            (false, true) => SizeHints::Sparse(w.partition.into_iter().zip(w.hints).collect()),
            (false, false) => SizeHints::Dense(w.hints),
        })
    }
}
impl From<SizeHints> for v1::SizeHints {
    fn from(d: SizeHints) -> Self {
        match d {
            SizeHints::None => v1::SizeHints::default(),
            SizeHints::Sparse(list) => {
                let (partition, hints): (Vec<u32>, Vec<u8>) = list.into_iter().unzip();
                v1::SizeHints { sparse: true, partition, hints }
            }
            SizeHints::Dense(hints) => v1::SizeHints { sparse: false, partition: Vec::new(), hints },
        }
    }
}

impl TryFrom<v1::EdgeReport> for EdgeReport {
    type Error = ConvertError;
    fn try_from(w: v1::EdgeReport) -> Result<Self, ConvertError> {
        if w.segments.is_empty() {
            let sizes = w.sizes.unwrap_or_default().try_into()?;
            return Ok(EdgeReport { bytes: w.bytes, records: w.records, digest: w.digest, sizes });
        }
        let segments: Vec<Segment> = list(w.segments, "report.segments", LIST_ITEMS_MAX)?;
        if segments.windows(2).any(|w| w[0].partition >= w[1].partition) {
            return Err(ConvertError::invalid("report.segments", "are not in ascending order of partitions"));
        }
        // The number of partitions is not in such a report, so it gives no hints.
        Ok(EdgeReport { sizes: SizeHints::None, ..EdgeReport::of(&segments, 1) })
    }
}
impl From<EdgeReport> for v1::EdgeReport {
    fn from(d: EdgeReport) -> Self {
        v1::EdgeReport {
            segments: Vec::new(),
            bytes: d.bytes,
            records: d.records,
            digest: d.digest,
            sizes: Some(d.sizes.into()),
        }
    }
}

impl TryFrom<v1::OutputRef> for OutputRef {
    type Error = ConvertError;
    fn try_from(w: v1::OutputRef) -> Result<Self, ConvertError> {
        Ok(OutputRef {
            worker: required(w.worker, "output.worker")?.try_into()?,
            attempt: required(w.attempt, "output.attempt")?.try_into()?,
            output: w.output,
        })
    }
}
impl From<OutputRef> for v1::OutputRef {
    fn from(d: OutputRef) -> Self {
        v1::OutputRef { worker: Some(d.worker.into()), attempt: Some(d.attempt.into()), output: d.output }
    }
}

impl TryFrom<v1::EdgePort> for EdgePort {
    type Error = ConvertError;
    fn try_from(w: v1::EdgePort) -> Result<Self, ConvertError> {
        Ok(EdgePort {
            port: Port { stage: StageId(w.stage), output: w.output },
            partitions: w.partitions,
            version: TableVersion { epoch: Epoch(w.epoch), reopened: w.reopened },
            digest: w.digest,
        })
    }
}
impl From<EdgePort> for v1::EdgePort {
    fn from(d: EdgePort) -> Self {
        v1::EdgePort {
            stage: d.port.stage.0,
            output: d.port.output,
            epoch: d.version.epoch.0,
            reopened: d.version.reopened,
            digest: d.digest,
            partitions: d.partitions,
        }
    }
}

impl TryFrom<v1::Origin> for Origin {
    type Error = ConvertError;
    fn try_from(w: v1::Origin) -> Result<Self, ConvertError> {
        Ok(Origin {
            worker: required(w.worker, "origin.worker")?.try_into()?,
            incarnation: Incarnation(w.incarnation),
            epoch: Epoch(w.epoch),
        })
    }
}
impl From<Origin> for v1::Origin {
    fn from(d: Origin) -> Self {
        v1::Origin { worker: Some(d.worker.into()), incarnation: d.incarnation.0, epoch: d.epoch.0 }
    }
}

impl TryFrom<v1::StageOutputs> for StageOutputs {
    type Error = ConvertError;
    fn try_from(w: v1::StageOutputs) -> Result<Self, ConvertError> {
        let origins: Vec<Origin> = list(w.origins, "table.origins", LIST_ITEMS_MAX)?;
        if w.origin.len() != w.number.len() || w.origin.len() > LIST_ITEMS_MAX {
            return Err(ConvertError::invalid("table.origin", "has not one item for each task"));
        }
        if w.origin.iter().any(|origin| *origin as usize > origins.len()) {
            return Err(ConvertError::invalid("table.origin", "is not in the list of origins"));
        }
        let entry = |(origin, number): (u32, u32)| Some(OutputEntry { origin: origin.checked_sub(1)?, number });
        Ok(StageOutputs {
            job: required(w.job, "table.job")?.try_into()?,
            stage: StageId(w.stage),
            version: TableVersion { epoch: Epoch(w.epoch), reopened: w.reopened },
            origins,
            entries: w.origin.into_iter().zip(w.number).map(entry).collect(),
            digests: w.digests,
        })
    }
}
/// The encoded table for `Assign.tables`. Linear in the number of tasks.
pub fn table_to_bytes(table: &StageOutputs) -> Bytes {
    v1::StageOutputs::from(table).encode_to_vec().into()
}

/// A table of `Assign.tables`.
///
/// # Errors
/// Names what is missing or wrong in the message.
pub fn table_from_bytes(bytes: &[u8]) -> Result<StageOutputs, ConvertError> {
    let decoded = v1::StageOutputs::decode(bytes);
    decoded.map_err(|_| ConvertError::invalid("table", "is not a table of outputs"))?.try_into()
}

impl From<&StageOutputs> for v1::StageOutputs {
    fn from(d: &StageOutputs) -> Self {
        v1::StageOutputs {
            job: Some(d.job.into()),
            stage: d.stage.0,
            epoch: d.version.epoch.0,
            reopened: d.version.reopened,
            origins: wire_list(d.origins.clone()),
            origin: d.entries.iter().map(|e| e.map_or(0, |e| e.origin + 1)).collect(),
            number: d.entries.iter().map(|e| e.map_or(0, |e| e.number)).collect(),
            digests: d.digests.clone(),
        }
    }
}
