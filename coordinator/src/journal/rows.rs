//! The rows of running jobs: protobuf, by the same conversions as on the wire.

use super::record::{KeptResult, PublishedTask};
use prost::Message;
use std::fmt::Debug;
use windrow_datasets::EpochRecord;
use windrow_datasets::Wait;
use windrow_model::{BadRecord, DatasetChunk, Digest, Epoch, JobId, JobSpec, Partitions, StageId, TaskId};
use windrow_proto::v1;
use windrow_scheduler::{Cause, CollectedBlob, Loss, RestoredSplit, RestoredTask, StageChunks, Tally};
use windrow_store::Receipt;

/// Why a row does not read.
pub(super) type Wrong = String;

pub(super) fn encode_spec(spec: &JobSpec) -> Vec<u8> {
    v1::JobSpec::from(spec.clone()).encode_to_vec()
}

/// The digest of a spec in its form on the wire.
pub(crate) fn spec_digest(spec: &JobSpec) -> Digest {
    Digest::of(&encode_spec(spec))
}

pub(super) fn decode_spec(bytes: &[u8]) -> Result<JobSpec, Wrong> {
    message::<v1::JobSpec>(bytes)?.try_into().map_err(wrong)
}

pub(super) fn encode_split(split: &RestoredSplit) -> Vec<u8> {
    let stage = |s: &StageChunks| v1::JournalStage {
        stage: s.stage.0,
        chunks: s.chunks.iter().map(|c| c.clone().into()).collect(),
    };
    let stages = split.stages.iter().map(stage).collect();
    let RestoredSplit { epoch, input_bytes, auto_partitions, .. } = *split;
    v1::JournalSplit { epoch: epoch.0, input_bytes, auto_partitions, stages }.encode_to_vec()
}

pub(super) fn decode_split(bytes: &[u8]) -> Result<RestoredSplit, Wrong> {
    let split = message::<v1::JournalSplit>(bytes)?;
    let stage = |s: v1::JournalStage| {
        let chunks = s.chunks.into_iter().map(|c| c.try_into().map_err(wrong)).collect::<Result<_, _>>()?;
        Ok::<_, Wrong>(StageChunks { stage: StageId(s.stage), chunks })
    };
    let stages = split.stages.into_iter().map(stage).collect::<Result<_, _>>()?;
    let auto_partitions = match split.auto_partitions {
        0 => unrecorded_partitions(split.input_bytes),
        n if n > Partitions::MAX => return Err(format!("{n} partitions are more than {}", Partitions::MAX)),
        n => n,
    };
    Ok(RestoredSplit { epoch: Epoch(split.epoch), input_bytes: split.input_bytes, auto_partitions, stages })
}

/// Partitions of `Auto` edges in jobs of releases that did not record them: one for 16 MiB of input, at most 2,000.
fn unrecorded_partitions(input_bytes: u64) -> u32 {
    input_bytes.div_ceil(16 << 20).clamp(1, 2_000) as u32
}

pub(super) fn encode_published(published: &PublishedTask) -> Vec<u8> {
    let PublishedTask { task, chunks, receipts } = published;
    let chunk = |(sink, c): &(u32, DatasetChunk)| v1::PublishedChunk {
        sink: *sink,
        digest: Some(c.digest.into()),
        length: c.length,
    };
    v1::JournalPublished {
        worker: Some(task.worker.into()),
        attempt: Some(task.attempt.into()),
        report: Some(task.report.clone().into()),
        chunks: chunks.iter().map(chunk).collect(),
        parts: receipts.iter().map(|(sink, r)| v1::PlacedPart { sink: *sink, receipt: r.bytes().to_vec() }).collect(),
    }
    .encode_to_vec()
}

pub(super) fn decode_published(bytes: &[u8]) -> Result<PublishedTask, Wrong> {
    let published = message::<v1::JournalPublished>(bytes)?;
    let task = RestoredTask {
        worker: published.worker.ok_or("no worker")?.try_into().map_err(wrong)?,
        attempt: published.attempt.ok_or("no attempt")?.try_into().map_err(wrong)?,
        report: published.report.ok_or("no report")?.try_into().map_err(wrong)?,
    };
    let chunk = |c: v1::PublishedChunk| {
        let digest = c.digest.ok_or("no digest")?.try_into().map_err(wrong)?;
        Ok::<_, Wrong>((c.sink, DatasetChunk { digest, length: c.length }))
    };
    let receipt = |part: v1::PlacedPart| Ok((part.sink, Receipt::new(part.receipt).ok_or("a receipt is too long")?));
    Ok(PublishedTask {
        task,
        chunks: published.chunks.into_iter().map(chunk).collect::<Result<_, _>>()?,
        receipts: published.parts.into_iter().map(receipt).collect::<Result<_, Wrong>>()?,
    })
}

pub(super) fn encode_collected(result: &KeptResult) -> Vec<u8> {
    let collect = |(name, blobs): &(String, Vec<CollectedBlob>)| {
        let mut row = v1::JournalCollect { name: name.clone(), ..Default::default() };
        for blob in blobs {
            match blob {
                CollectedBlob::Inline(bytes) => row.blobs.push(bytes.clone()),
                CollectedBlob::Stored(blob) => row.stored.push((*blob).into()),
            }
        }
        row
    };
    v1::JournalCollected {
        collects: result.collected.iter().map(collect).collect(),
        ended_unix_ms: result.ended_unix_ms,
        fetched: result.fetched,
    }
    .encode_to_vec()
}

pub(super) fn decode_collected(bytes: &[u8]) -> Result<KeptResult, Wrong> {
    let collect = |c: v1::JournalCollect| {
        let inline = c.blobs.into_iter().map(|bytes| Ok(CollectedBlob::Inline(bytes)));
        let stored = c.stored.into_iter().map(|blob| Ok(CollectedBlob::Stored(blob.try_into().map_err(wrong)?)));
        Ok((c.name, inline.chain(stored).collect::<Result<_, Wrong>>()?))
    };
    let v1::JournalCollected { collects, ended_unix_ms, fetched } = message(bytes)?;
    let collected = collects.into_iter().map(collect).collect::<Result<_, Wrong>>()?;
    Ok(KeptResult { collected, ended_unix_ms, fetched })
}

pub(super) fn encode_epoch(record: &EpochRecord) -> [u8; 17] {
    let mut row = [0; 17];
    row[..8].copy_from_slice(&record.nonce.to_le_bytes());
    row[8..16].copy_from_slice(&record.revision.to_le_bytes());
    row[16] = record.restored.into();
    row
}

pub(super) fn decode_epoch(row: &[u8]) -> Option<EpochRecord> {
    let (nonce, rest) = row.split_first_chunk::<8>()?;
    let (revision, rest) = rest.split_first_chunk::<8>()?;
    let &[restored] = rest else { return None };
    let [nonce, revision] = [nonce, revision].map(|bytes| u64::from_le_bytes(*bytes));
    Some(EpochRecord { nonce, revision, restored: restored != 0 })
}

/// A byte for the kind, and a number.
pub(super) fn encode_wait(wait: Wait) -> [u8; 9] {
    let (kind, number) = match wait {
        Wait::Since(at) => (0, at),
        Wait::Paused(ms) => (1, ms),
    };
    let mut row = [kind; 9];
    row[1..].copy_from_slice(&number.to_le_bytes());
    row
}

pub(super) fn decode_wait(row: &[u8]) -> Option<Wait> {
    let (kind, number) = row.split_first()?;
    let number = u64::from_le_bytes(number.try_into().ok()?);
    match kind {
        0 => Some(Wait::Since(number)),
        1 => Some(Wait::Paused(number)),
        _ => None,
    }
}

pub(super) fn encode_uncharged(tally: &Tally) -> Vec<u8> {
    let count = |(cause, n): &(Cause, u32)| v1::UnchargedCount { cause: cause.as_str().to_string(), count: *n };
    let loss =
        |l: &Loss| v1::UnchargedLoss { worker: Some(l.worker.into()), attempt: Some(l.attempt.into()), alone: l.alone };
    let counts = tally.counts.iter().map(count).collect();
    v1::JournalUncharged { counts, losses: tally.losses.iter().map(loss).collect() }.encode_to_vec()
}

/// A cause that this release does not know is left out.
pub(super) fn decode_uncharged(bytes: &[u8]) -> Result<Tally, Wrong> {
    let v1::JournalUncharged { counts, losses } = message(bytes)?;
    let counts = counts.into_iter().filter_map(|c| Some((Cause::parse(&c.cause)?, c.count))).collect();
    let loss = |l: v1::UnchargedLoss| {
        let worker = l.worker.ok_or("no worker")?.try_into().map_err(wrong)?;
        let attempt = l.attempt.ok_or("no attempt")?.try_into().map_err(wrong)?;
        Ok::<_, Wrong>(Loss { worker, attempt, alone: l.alone })
    };
    Ok(Tally { counts, losses: losses.into_iter().map(loss).collect::<Result<_, _>>()? })
}

/// For fuzzers: a row that reads is written and reads the same; nothing panics.
pub fn check_row(kind: u8, bytes: &[u8]) {
    match kind % 6 {
        0 => check(bytes, decode_spec, encode_spec),
        1 => check(bytes, decode_split, encode_split),
        2 => check(bytes, decode_published, encode_published),
        3 => check(bytes, decode_collected, encode_collected),
        5 => check(bytes, decode_uncharged, encode_uncharged),
        _ => check(bytes, |bytes| task_of(bytes).ok_or(()), |task| task_key(*task)),
    }
}

fn check<T: Debug + PartialEq, E: Debug + PartialEq>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, E>,
    encode: impl Fn(&T) -> Vec<u8>,
) {
    if let Ok(row) = decode(bytes) {
        assert_eq!(decode(&encode(&row)), Ok(row));
    }
}

/// Rows of a job sort by stage and task.
pub(super) fn published_key(published: &PublishedTask) -> Vec<u8> {
    task_key(published.task.attempt.task)
}

/// Rows of bad records sort by task, then by place.
pub(super) fn bad_key(bad: &BadRecord) -> Vec<u8> {
    let mut key = task_key(bad.task);
    key.extend_from_slice(&bad.record.range.to_be_bytes());
    key.extend_from_slice(&bad.record.offset.to_be_bytes());
    key
}

/// The task of a key; `None` if the key is invalid.
pub(super) fn task_of(key: &[u8]) -> Option<TaskId> {
    let (job, rest) = key.split_first_chunk::<16>()?;
    let (stage, index) = rest.split_first_chunk::<4>()?;
    let index = u32::from_be_bytes(index.try_into().ok()?);
    Some(TaskId { job: JobId::from_bytes(*job), stage: StageId(u32::from_be_bytes(*stage)), index })
}

pub(super) fn task_key(task: TaskId) -> Vec<u8> {
    let mut key = task.job.as_bytes().to_vec();
    key.extend_from_slice(&task.stage.0.to_be_bytes());
    key.extend_from_slice(&task.index.to_be_bytes());
    key
}

/// Bounds of the keys that rows of this job can have: of two keys, one that begins the other sorts first.
pub(super) fn keys_of(job: JobId) -> ([u8; 16], [u8; 40]) {
    let mut last = [0xff; 40];
    last[..16].copy_from_slice(job.as_bytes());
    (*job.as_bytes(), last)
}

fn message<M: Message + Default>(bytes: &[u8]) -> Result<M, Wrong> {
    M::decode(bytes).map_err(wrong)
}

fn wrong(e: impl std::fmt::Display) -> Wrong {
    e.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use windrow_model::{AttemptId, EdgeReport, Incarnation, OutputReport, Segment, SizeHints, WorkerId};

    /// The report of a task with a sink and an edge: size and digest follow from its segments. The digest of its inputs cannot
    /// be compared with those of this release, so it counts as unknown.
    #[test]
    fn row_of_a_release_that_lists_segments_is_read() {
        let task = TaskId { job: JobId::from_bytes([1; 16]), stage: StageId(0), index: 2 };
        let attempt = AttemptId { task, number: 3, epoch: Epoch(4), incarnation: Incarnation(5) };
        let segment = |partition| Segment { partition, offset: 0, length: 10, records: 2, raw_length: 9, digest: 7 };
        let wire = |s: Segment| v1::Segment {
            partition: s.partition,
            offset: s.offset,
            length: s.length,
            records: s.records,
            raw_length: s.raw_length,
            digest: s.digest,
        };
        let edge = v1::EdgeReport { segments: vec![wire(segment(0)), wire(segment(3))], ..Default::default() };
        let output = v1::OutputReport { kind: Some(v1::output_report::Kind::Edge(edge)) };
        let report = v1::TaskReport { outputs: vec![output], inputs: 77, ..Default::default() };
        let row = v1::JournalPublished {
            worker: Some(WorkerId::from_bytes([6; 16]).into()),
            attempt: Some(attempt.into()),
            report: Some(report),
            ..Default::default()
        };
        let read = decode_published(&row.encode_to_vec()).unwrap().task.report;
        let now = EdgeReport { sizes: SizeHints::None, ..EdgeReport::of(&[segment(0), segment(3)], 4) };
        assert_eq!((read.outputs, read.inputs), (vec![OutputReport::Edge(now)], 0));
    }

    #[test]
    fn split_without_partitions_has_those_of_its_release() {
        let row = |input_bytes, auto_partitions| {
            v1::JournalSplit { epoch: 1, input_bytes, auto_partitions, stages: vec![] }.encode_to_vec()
        };
        let read = |input_bytes, auto_partitions| {
            decode_split(&row(input_bytes, auto_partitions)).map(|split| split.auto_partitions)
        };
        let tb = 1_000_000_000_000;
        assert_eq!([read(0, 0), read(33 << 20, 0), read(tb, 0)], [Ok(1), Ok(3), Ok(2_000)]);
        assert_eq!([read(tb, 19_224), read(tb, Partitions::MAX)], [Ok(19_224), Ok(Partitions::MAX)]);
        assert!(read(tb, Partitions::MAX + 1).is_err());
    }
}
