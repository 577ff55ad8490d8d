//! The part of an edge that all of its readers have read, and the parts of files to free for it.

use super::shuffle::FilePart;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use windrow_engine::Hole;

/// Bytes that are returned to the system at once.
const SWEEP_BYTES: u64 = 64 << 20;
/// Average bytes of each file that are returned at once, because each file costs a few calls.
const SWEEP_BYTES_PER_FILE: u64 = 1 << 20;
/// Holes start and end at multiples of this, because the system frees whole pages only.
const ALIGN: u64 = 64 << 10;

/// The part of an edge that all readers have read.
#[derive(Default)]
pub(super) struct Released {
    /// All partitions below this one.
    low: u32,
    /// Later partitions, with their segments in files.
    ahead: BTreeMap<u32, Vec<FilePart>>,
    files: HashMap<Arc<Path>, Stretch>,
    /// Bytes that have been read and are not yet freed.
    bytes: u64,
}

/// The start of a file.
#[derive(Default)]
struct Stretch {
    /// Offset up to which all readers have read.
    read: u64,
    /// Offset up to which the file has been freed.
    gone: u64,
}

impl Released {
    /// Records that all readers have read a partition, of which these segments are in files. Adds what can be freed.
    pub(super) fn release(&mut self, partition: u32, in_files: Vec<FilePart>, holes: &mut Vec<Hole>) {
        self.ahead.insert(partition, in_files);
        while let Some(parts) = self.ahead.remove(&self.low) {
            self.low += 1;
            for FilePart { file, end, .. } in parts {
                let stretch = self.files.entry(file).or_default();
                let before = std::mem::replace(&mut stretch.read, end / ALIGN * ALIGN);
                self.bytes += stretch.read - before;
            }
        }
        if self.bytes >= SWEEP_BYTES.max(self.files.len() as u64 * SWEEP_BYTES_PER_FILE) {
            self.bytes = 0;
            for (path, stretch) in self.files.iter_mut().filter(|(_, s)| s.gone < s.read) {
                holes.push(Hole { path: path.clone(), from: stretch.gone, to: stretch.read });
                stretch.gone = stretch.read;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use windrow_model::{Port, StageId};

    /// Files of one edge, given by the lengths of their segments: for each partition, the segments that are not empty.
    fn partitions(lengths: &[Vec<u64>]) -> Vec<Vec<FilePart>> {
        let mut partitions = vec![Vec::new(); lengths.first().map_or(0, Vec::len)];
        for (index, lengths) in lengths.iter().enumerate() {
            let (file, mut end): (Arc<Path>, u64) = (Path::new(&format!("file-{index}")).into(), 0);
            for (partition, length) in lengths.iter().enumerate().filter(|(_, length)| **length > 0) {
                end += length;
                let port = Port { stage: StageId(0), output: 0 };
                partitions[partition].push(FilePart { port, file: file.clone(), end });
            }
        }
        partitions
    }

    proptest! {
        /// In any reading order, only read parts are freed, and in the end all but the last sweep.
        #[test]
        fn only_read_parts_are_freed(
            lengths in prop::collection::vec(prop::collection::vec(prop_oneof![Just(0u64), 1..40_000_000u64], 12), 1..4),
            order in Just((0..12u32).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let partitions = partitions(&lengths);
            let mut released = Released::default();
            let mut gone: HashMap<Arc<Path>, u64> = HashMap::new();
            let mut read = Vec::new();
            for partition in order {
                let mut holes = Vec::new();
                released.release(partition, partitions[partition as usize].clone(), &mut holes);
                read.push(partition);
                for hole in holes {
                    let gone = gone.entry(hole.path.clone()).or_default();
                    prop_assert_eq!(hole.from, *gone, "without gaps");
                    prop_assert!(hole.from < hole.to && hole.to.is_multiple_of(ALIGN));
                    *gone = hole.to;
                }
                for (at, part) in (0u32..).zip(&partitions).flat_map(|(p, parts)| parts.iter().map(move |part| (p, part))) {
                    let index: usize = part.file.to_str().unwrap()["file-".len()..].parse().unwrap();
                    let offset = part.end - lengths[index][at as usize];
                    prop_assert!(read.contains(&at) || gone.get(&part.file).is_none_or(|gone| *gone <= offset));
                }
            }
            let all: u64 = lengths.iter().flatten().sum();
            let gone: u64 = gone.values().sum();
            let kept = SWEEP_BYTES + lengths.len() as u64 * ALIGN;
            prop_assert!(gone + kept >= all, "{gone} of {all}");
        }
    }

    #[test]
    fn partitions_read_in_order_are_freed_as_read() {
        let mut released = Released::default();
        let mut holes = Vec::new();
        for (partition, parts) in (0..).zip(partitions(&[vec![32 << 20; 8], vec![32 << 20; 8]])) {
            released.release(partition, parts, &mut holes);
        }
        assert_eq!(holes.len(), 16);
        assert_eq!(holes.iter().map(|h| h.to - h.from).sum::<u64>(), 2 * 8 * (32 << 20));
    }
}
