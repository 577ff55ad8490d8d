//! Segments that the worker has fetched from other machines for one reader.

use super::{bad, path_of};
use crate::error::Result;
use std::path::Path;
use std::sync::Arc;
use windrow_engine::LocalSegment;
use windrow_format::block::Identity;
use windrow_model::{AttemptId, Epoch, Incarnation, JobId, Port, Segment, TaskId};
use windrow_proto::v1;

/// The attempt that made an output of a known port, as frames name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Maker {
    pub task: u32,
    pub number: u32,
    pub epoch: u64,
}

impl Maker {
    /// The attempt. Frames do not name its incarnation, which is zero here.
    pub(super) fn attempt(&self, job: JobId, port: Port) -> AttemptId {
        let task = TaskId { job, stage: port.stage, index: self.task };
        AttemptId { task, number: self.number, epoch: Epoch(self.epoch), incarnation: Incarnation(0) }
    }

    /// A segment of its output in a file.
    pub(super) fn local(&self, job: JobId, port: Port, file: &Arc<Path>, segment: &Segment) -> LocalSegment {
        LocalSegment::of(file.clone(), segment, Identity::of_output(&self.attempt(job, port), port.output))
    }
}

/// The segments of one partition of one port, by ascending task; each task has at most one.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    files: Vec<Arc<Path>>,
    segments: Vec<FetchedSegment>,
}

#[derive(Clone, Copy, Debug)]
struct FetchedSegment {
    maker: Maker,
    /// Index in `files`.
    file: u32,
    segment: Segment,
}

impl Fetched {
    /// Reads what a frame says of files with segments of a partition. Linear in the number of segments, if tasks of
    /// different files do not alternate.
    ///
    /// # Errors
    /// The frame is not valid, or has two segments of one task.
    pub(super) fn new(partition: u32, frame: Vec<v1::FetchedFile>) -> Result<Fetched> {
        let mut files = Vec::with_capacity(frame.len());
        let mut segments = Vec::with_capacity(frame.iter().map(|file| file.task.len()).sum());
        for (index, file) in (0u32..).zip(frame) {
            let v1::FetchedFile { path, task, number, epoch, length, records, raw_length } = file;
            let lengths = [number.len(), epoch.len(), length.len(), records.len(), raw_length.len()];
            if lengths.iter().any(|n| *n != task.len()) {
                return Err(bad("the lists of a fetched file have different lengths"));
            }
            if !task.is_sorted_by(|a, b| a < b) {
                return Err(bad("the tasks of a fetched file do not ascend"));
            }
            files.push(path_of(&path).into());
            let mut offset = 0u64;
            let lists = task.into_iter().zip(number).zip(epoch).zip(length).zip(records).zip(raw_length);
            for (((((task, number), epoch), length), records), raw_length) in lists {
                let end = offset.checked_add(length).filter(|end| *end > offset);
                let end = end.ok_or_else(|| bad(format!("a fetched segment of {length} bytes")))?;
                let segment = Segment { partition, offset, length, records, raw_length, digest: 0 };
                segments.push(FetchedSegment { maker: Maker { task, number, epoch }, file: index, segment });
                offset = end;
            }
        }
        // Stable: it merges sequences that ascend already.
        segments.sort_by_key(|s| s.maker.task);
        match segments.windows(2).find(|pair| pair[0].maker.task == pair[1].maker.task) {
            Some(pair) => Err(bad(format!("task {} has two fetched segments", pair[0].maker.task))),
            None => Ok(Fetched { files, segments }),
        }
    }

    /// The tasks with a segment, ascending.
    pub(super) fn tasks(&self) -> impl Iterator<Item = u32> + '_ {
        self.segments.iter().map(|s| s.maker.task)
    }

    /// The segments by ascending task.
    pub(super) fn local(&self, job: JobId, port: Port) -> impl ExactSizeIterator<Item = LocalSegment> + '_ {
        let of = move |s: &FetchedSegment| s.maker.local(job, port, &self.files[s.file as usize], &s.segment);
        self.segments.iter().map(of)
    }
}
