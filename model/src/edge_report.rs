//! The report of an attempt on an output for other tasks: its size and digest, and about how large each partition is.
//!
//! A report has at most a kilobyte of hints, however many partitions there are, so all that a coordinator keeps and
//! sends for a stage grows with the number of its tasks and not with tasks times partitions. Exact offsets and lengths
//! stand in the index of the output itself.

use crate::mix::mixed;
use crate::segment::Segment;
use crate::total::total;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Most hints of one report.
pub const HINTS_MAX: usize = DENSE_MAX as usize;
/// Most hints of a dense list: with more partitions each hint is for several of them.
const DENSE_MAX: u32 = 1_024;
/// Most partitions with records whose hints are listed one by one.
const SPARSE_MAX: usize = 64;
/// Steps of the scale for each doubling of a size.
const STEPS: f64 = 6.0;

/// What an attempt has written to one edge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeReport {
    /// Bytes of all segments as stored, with the headers of blocks.
    pub bytes: u64,
    /// Records of all segments.
    pub records: u64,
    /// A digest of all segments. Two attempts of a task with equal digests have written the same records, unless the
    /// order of records is not deterministic.
    pub digest: u64,
    /// About how large each partition is.
    pub sizes: SizeHints,
}

impl EdgeReport {
    /// The report on these segments of an edge, which ascend by partition. Linear in their number.
    pub fn of(segments: &[Segment], partitions: u32) -> EdgeReport {
        let digest = segments.iter().fold(0, |hash, s| mixed(hash, u64::from(s.digest) << 32 | u64::from(s.partition)));
        EdgeReport {
            bytes: total(segments.iter().map(|s| s.length)),
            records: total(segments.iter().map(|s| s.records)),
            digest,
            sizes: SizeHints::of(segments.iter().map(|s| (s.partition, s.length)), partitions),
        }
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }
}

/// About how many bytes each partition has: hints of one byte on a logarithmic scale, within 6 % of the size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SizeHints {
    /// No partition has any bytes, or nothing is known.
    #[default]
    None,
    /// The partitions with records, ascending, and a hint for each.
    Sparse(Vec<(u32, u8)>),
    /// A hint for each group of consecutive partitions. All groups are of [`SizeHints::width`] partitions, except that the
    /// last one may have fewer.
    Dense(Vec<u8>),
}

impl SizeHints {
    /// Hints for these partitions, which ascend, each with its bytes.
    pub fn of(sizes: impl ExactSizeIterator<Item = (u32, u64)>, partitions: u32) -> SizeHints {
        if sizes.len() == 0 {
            return SizeHints::None;
        }
        if sizes.len() <= SPARSE_MAX {
            return SizeHints::Sparse(sizes.map(|(partition, bytes)| (partition, hint(bytes))).collect());
        }
        let width = SizeHints::width(partitions);
        let mut groups = vec![0u64; partitions.div_ceil(width) as usize];
        for (partition, bytes) in sizes {
            if let Some(group) = groups.get_mut((partition / width) as usize) {
                *group = group.saturating_add(bytes);
            }
        }
        SizeHints::Dense(groups.into_iter().map(hint).collect())
    }

    /// Number of consecutive partitions of one hint in a dense list.
    pub fn width(partitions: u32) -> u32 {
        partitions.div_ceil(DENSE_MAX).max(1)
    }

    /// Whether these can be hints for an edge with this number of partitions.
    pub fn fit(&self, partitions: u32) -> bool {
        match self {
            SizeHints::None => true,
            SizeHints::Sparse(list) => {
                list.len() <= SPARSE_MAX
                    && list.windows(2).all(|pair| pair[0].0 < pair[1].0)
                    && list.last().is_none_or(|(partition, _)| *partition < partitions)
            }
            SizeHints::Dense(hints) => hints.len() as u32 == partitions.div_ceil(SizeHints::width(partitions)),
        }
    }

    /// Calls `f` with each range of partitions that has bytes, and about how many they have together.
    pub fn for_each(&self, partitions: u32, mut f: impl FnMut(Range<u32>, u64)) {
        match self {
            SizeHints::None => {}
            SizeHints::Sparse(list) => {
                list.iter().for_each(|(partition, h)| f(*partition..partition + 1, bytes_of(*h)))
            }
            SizeHints::Dense(hints) => {
                let width = SizeHints::width(partitions);
                for (group, h) in (0u32..).zip(hints).filter(|(_, h)| **h > 0) {
                    let first = group.saturating_mul(width);
                    f(first..first.saturating_add(width).min(partitions), bytes_of(*h));
                }
            }
        }
    }
}

/// The hint for a size: 0 only for none.
pub fn hint(bytes: u64) -> u8 {
    match bytes {
        0 => 0,
        _ => (1.0 + ((bytes as f64).log2() * STEPS).round()).min(255.0) as u8,
    }
}

/// About the size that a hint stands for, in bytes.
pub fn bytes_of(hint: u8) -> u64 {
    match hint {
        0 => 0,
        _ => (f64::from(hint - 1) / STEPS).exp2().round() as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(partition: u32, length: u64, digest: u32) -> Segment {
        Segment { partition, offset: 0, length, records: 2, raw_length: length, digest }
    }

    #[test]
    fn hints_are_within_six_percent() {
        for bytes in (0..40).flat_map(|bits| [1u64 << bits, (1 << bits) + (1 << bits) / 3, (1 << bits) * 7 / 4]) {
            let about = bytes_of(hint(bytes)) as f64;
            assert!((about - bytes as f64).abs() <= 0.06 * bytes as f64 + 1.0, "{bytes}: {about}");
        }
        assert_eq!((hint(0), bytes_of(0)), (0, 0));
        assert!(hint(1) > 0 && hint(u64::MAX) == 255);
        assert!((0..255).all(|h| bytes_of(h) <= bytes_of(h + 1)));
    }

    #[test]
    fn few_hints_say_how_large_many_partitions_are() {
        for (partitions, every) in
            [(1, 1), (64, 1), (65, 1), (1_000, 1), (1_025, 1), (10_000, 3), (1_000_000, 7), (5_000, 500)]
        {
            let sizes: Vec<(u32, u64)> = (0..partitions).step_by(every).map(|p| (p, 100 + u64::from(p))).collect();
            let hints = SizeHints::of(sizes.iter().copied(), partitions);
            assert!(hints.fit(partitions), "{partitions}");
            let (mut sum, mut last) = (0, 0);
            hints.for_each(partitions, |range, bytes| {
                assert!(range.start >= last && range.end <= partitions && range.start < range.end, "{range:?}");
                (sum, last) = (sum + bytes, range.end);
            });
            let exact: u64 = sizes.iter().map(|(_, bytes)| bytes).sum();
            assert!(sum.abs_diff(exact) * 100 <= exact * 7, "{partitions}: {sum} for {exact}");
            let length = match hints {
                SizeHints::None => 0,
                SizeHints::Sparse(list) => list.len(),
                SizeHints::Dense(list) => list.len(),
            };
            assert!(length <= DENSE_MAX as usize);
        }
    }

    #[test]
    fn hints_of_another_edge_do_not_fit() {
        let dense = SizeHints::of((0..100).map(|p| (p, 9)).collect::<Vec<_>>().into_iter(), 100);
        assert!(dense.fit(100) && !dense.fit(99) && !dense.fit(101));
        assert!(!SizeHints::Sparse(vec![(4, 1)]).fit(4) && !SizeHints::Sparse(vec![(2, 1), (2, 1)]).fit(4));
        assert!(SizeHints::None.fit(1));
    }

    #[test]
    fn report_covers_every_segment() {
        let report = EdgeReport::of(&[segment(1, 10, 7), segment(4, 20, 8)], 5);
        assert_eq!((report.bytes, report.records), (30, 4));
        let others = [
            EdgeReport::of(&[segment(1, 10, 7)], 5),
            EdgeReport::of(&[segment(1, 10, 8), segment(4, 20, 7)], 5),
            EdgeReport::of(&[segment(2, 10, 7), segment(4, 20, 8)], 5),
        ];
        assert!(others.iter().all(|other| other.digest != report.digest));
        assert!(EdgeReport::of(&[], 5).is_empty());
    }
}
