//! What has arrived of a partition: the heads of its segments, and how many of their bytes.

use crate::wanted::WantedOutputs;
use std::path::Path;
use windrow_format::checksum::Crc32c;
use windrow_proto::convert::path_to_bytes;
use windrow_proto::pieces::head_bytes;
use windrow_proto::v1;

/// A segment that the peer has announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    /// Position of its output in the list of wanted ones.
    position: u32,
    length: u64,
    records: u64,
    raw_length: u64,
}

/// Segments in the order of their outputs; the last ones may be incomplete.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    heads: Vec<Head>,
    /// Number of the heads whose bytes are all here, and these bytes.
    complete: usize,
    complete_bytes: u64,
    /// Bytes of the first incomplete segment that are here.
    partial: u64,
    /// Bytes of the announced segments that are not here.
    missing: u64,
    /// Checksum of the heads that the present stream has announced.
    heads_sum: Crc32c,
}

impl Arrived {
    /// Number of complete segments.
    pub(super) fn complete(&self) -> usize {
        self.complete
    }

    /// Bytes that have arrived.
    pub(super) fn bytes(&self) -> u64 {
        self.complete_bytes + self.partial
    }

    /// Whether every announced segment is complete.
    pub(super) fn is_whole(&self) -> bool {
        self.missing == 0
    }

    /// Position of the first output that may have a segment which is not complete.
    pub(super) fn next_position(&self) -> u32 {
        self.complete.checked_sub(1).map_or(0, |last| self.heads[last].position + 1)
    }

    /// Forgets segments that are not complete, for a new stream.
    pub(super) fn begin_stream(&mut self) {
        self.heads.truncate(self.complete);
        (self.partial, self.missing) = (0, 0);
        self.heads_sum = Crc32c::new();
    }

    /// Adds the segments that begin next. False if they are not of the `outputs` that are wanted, in their order, or if `sum`,
    /// the checksum of all heads of the stream, is another one: then a head was changed, or is missing.
    pub(super) fn add(&mut self, heads: v1::SegmentHeads, sum: Option<u32>, outputs: u32) -> bool {
        let v1::SegmentHeads { index, length, records, raw_length } = &heads;
        if [length.len(), records.len(), raw_length.len()] != [index.len(); 3] {
            return false;
        }
        head_bytes(&heads).for_each(|head| self.heads_sum.update(&head));
        // Holders of earlier releases send none.
        if sum.is_some_and(|sum| sum != self.heads_sum.value()) {
            return false;
        }
        let v1::SegmentHeads { index, length, records, raw_length } = heads;
        let lengths = length.into_iter().zip(records).zip(raw_length);
        for (position, ((length, records), raw_length)) in index.into_iter().zip(lengths) {
            let ascends = self.heads.last().is_none_or(|last| last.position < position);
            // All bytes together must be a possible length of a file.
            let end = self.bytes().checked_add(self.missing).and_then(|bytes| bytes.checked_add(length));
            if !ascends || position >= outputs || length == 0 || end.is_none_or(|end| end > i64::MAX as u64) {
                return false;
            }
            self.missing += length;
            self.heads.push(Head { position, length, records, raw_length });
        }
        true
    }

    /// Accounts for bytes that have arrived. False if they are more than the announced segments have.
    pub(super) fn receive(&mut self, mut bytes: u64) -> bool {
        if bytes > self.missing {
            return false;
        }
        self.missing -= bytes;
        bytes += self.partial;
        while let Some(head) = self.heads.get(self.complete).filter(|head| head.length <= bytes) {
            bytes -= head.length;
            self.complete_bytes += head.length;
            self.complete += 1;
        }
        self.partial = bytes;
        true
    }

    /// The file for the executor.
    pub(super) fn into_file(self, path: &Path, outputs: &WantedOutputs) -> v1::FetchedFile {
        let attempts = || self.heads.iter().filter_map(|head| outputs.attempts.get(head.position as usize));
        v1::FetchedFile {
            path: path_to_bytes(path),
            task: attempts().map(|attempt| attempt.task.index).collect(),
            number: attempts().map(|attempt| attempt.number).collect(),
            epoch: attempts().map(|attempt| attempt.epoch.0).collect(),
            length: self.heads.iter().map(|head| head.length).collect(),
            records: self.heads.iter().map(|head| head.records).collect(),
            raw_length: self.heads.iter().map(|head| head.raw_length).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads(all: &[(u32, u64)]) -> v1::SegmentHeads {
        v1::SegmentHeads {
            index: all.iter().map(|head| head.0).collect(),
            length: all.iter().map(|head| head.1).collect(),
            records: vec![1; all.len()],
            raw_length: all.iter().map(|head| head.1).collect(),
        }
    }

    #[test]
    fn broken_stream_resumes_after_the_last_complete_segment() {
        let mut arrived = Arrived::default();
        assert!(arrived.add(heads(&[(1, 10), (4, 20)]), None, 9) && arrived.receive(15));
        assert_eq!(
            (arrived.complete(), arrived.bytes(), arrived.next_position(), arrived.is_whole()),
            (1, 15, 2, false)
        );
        arrived.begin_stream();
        assert_eq!((arrived.bytes(), arrived.next_position(), arrived.is_whole()), (10, 2, true));
        assert!(arrived.add(heads(&[(4, 20), (8, 1)]), None, 9) && arrived.receive(21));
        assert_eq!((arrived.complete(), arrived.next_position(), arrived.is_whole()), (3, 9, true));
    }

    #[test]
    fn segments_that_were_not_asked_for_are_refused() {
        let mut arrived = Arrived::default();
        assert!(!arrived.receive(1), "no segment has begun");
        assert!(arrived.add(heads(&[(1, 10)]), None, 3) && !arrived.receive(11));
        for bad in [&[(1, 5)][..], &[(0, 5)], &[(3, 5)], &[(2, 0)], &[(2, u64::MAX)], &[(2, i64::MAX as u64)]] {
            assert!(!arrived.add(heads(bad), None, 3), "{bad:?}");
        }
        assert!(!arrived.add(v1::SegmentHeads { index: vec![2], ..v1::SegmentHeads::default() }, None, 3));
    }

    #[test]
    fn head_that_was_lost_on_its_way_is_missed() {
        let sum = |all: &[(u32, u64)]| {
            let mut sum = Crc32c::new();
            head_bytes(&heads(all)).for_each(|head| sum.update(&head));
            Some(sum.value())
        };
        let sent = sum(&[(0, 5), (1, 6), (2, 7)]);
        for (arrives, adds) in [(&[(1, 6), (2, 7)][..], true), (&[(2, 7)], false), (&[(1, 6)], false), (&[], false)] {
            let mut arrived = Arrived::default();
            assert!(arrived.add(heads(&[(0, 5)]), sum(&[(0, 5)]), 9));
            assert_eq!(arrived.add(heads(arrives), sent, 9), adds, "{arrives:?}");
            // The next stream has a checksum of its own.
            arrived.begin_stream();
            assert!(arrived.add(heads(&[(1, 6)]), sum(&[(1, 6)]), 9));
        }
    }
}
