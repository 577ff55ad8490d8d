//! The segments of one output of a stage by partition, for all readers of that output in a process.
//!
//! A reader needs one entry from the index of each of the stage's tasks. If every reader read those indexes by itself,
//! the cost would be tasks x partitions for each reader. So the indexes are read and checked once, and their entries are
//! kept by partition, in the order of the outputs:
//!
//! ```text
//! for each segment: position of the output, minus that of the segment before; offset in the image; length; records;
//!                   length minus raw length, as zigzag                               (varints; about nine bytes in all)
//! ```
//! If all entries need more memory than is allowed, a range of partitions is kept: a window. Readers of a stage come by
//! about ascending partitions, so a window serves many of them before the indexes are read again for the next one.

use crate::block::{FormatError, Identity};
use crate::regular_file;
use crate::shuffle::IndexReader;
use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use windrow_model::{Escape, Segment};

/// Most files that are kept open while indexes are read: those that hold many images.
const OPEN_MAX: usize = 64;

/// The image of one task's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputImage {
    /// The file that holds it. Images of one file share the path.
    pub file: Arc<Path>,
    /// Offset of its first byte in the file.
    pub base: u64,
    /// Its length in bytes; 0 for an output without records, which has no image.
    pub length: u64,
}

/// An output whose index could not be read.
#[derive(Debug, thiserror::Error)]
#[error("the index of output {position} at byte {} of {}: {source}", image.base, image.file.escaped())]
pub struct UnreadableOutput {
    /// Position of the output in the list that the index was built from.
    pub position: u32,
    /// Its image.
    pub image: OutputImage,
    /// What is wrong: [`FormatError::Gone`] for a missing file, a damaged index, or an IO error.
    pub source: FormatError,
}

/// The segments of many images by partition. Threads share it.
#[derive(Debug)]
pub struct StageIndex {
    images: Vec<OutputImage>,
    partitions: u32,
    /// Bytes of memory that the kept entries may use.
    bytes_max: usize,
    kept: Mutex<Kept>,
    owners: Owners,
    /// Bytes of memory of the kept entries.
    memory: AtomicUsize,
}

/// Which attempt and output each image must be of, by its position.
struct Owners(Box<dyn Fn(u32) -> Identity + Send + Sync>);

impl std::fmt::Debug for Owners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Owners")
    }
}

#[derive(Debug)]
struct Kept {
    window: Arc<Window>,
    /// Partitions of the first window. Others begin at its multiples.
    step: u32,
}

impl StageIndex {
    /// An index of these outputs of a stage with at most this number of partitions, in task order. The image at each position
    /// must be the one of `owner`, which is called with the position; its partition is ignored. The index reads nothing before
    /// the first call of [`partition`](Self::partition). Kept entries use at most `bytes_max` bytes of memory, or those of one
    /// partition if that is more; each image takes another 32 bytes.
    pub fn new(
        images: Vec<OutputImage>,
        partitions: u32,
        bytes_max: usize,
        owner: impl Fn(u32) -> Identity + Send + Sync + 'static,
    ) -> StageIndex {
        let kept = Kept { window: Arc::default(), step: partitions.max(1) };
        let (kept, memory) = (Mutex::new(kept), AtomicUsize::new(0));
        StageIndex { images, partitions, bytes_max, kept, owners: Owners(Box::new(owner)), memory }
    }

    /// [`new`](Self::new) that reads and checks the index of every image at once.
    ///
    /// # Errors
    /// The first output whose index is missing, damaged or of another owner, or has a partition that the stage does not have.
    pub fn build(
        images: Vec<OutputImage>,
        partitions: u32,
        bytes_max: usize,
        owner: impl Fn(u32) -> Identity + Send + Sync + 'static,
    ) -> Result<StageIndex, UnreadableOutput> {
        let index = StageIndex::new(images, partitions, bytes_max, owner);
        index.partition(0)?;
        Ok(index)
    }

    /// The outputs that the index was built from.
    pub fn images(&self) -> &[OutputImage] {
        &self.images
    }

    /// Bytes of memory of the kept entries.
    pub fn memory(&self) -> usize {
        self.memory.load(Ordering::Relaxed)
    }

    /// Drops the kept entries, unless another thread is reading them. The next call of [`partition`](Self::partition) reads
    /// them again.
    pub fn forget(&self) {
        let mut kept = match self.kept.try_lock() {
            Ok(kept) => kept,
            Err(TryLockError::Poisoned(e)) => e.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        kept.window = Arc::default();
        self.memory.store(0, Ordering::Relaxed);
    }

    /// The segments of a partition with the positions of their outputs, ascending. Offsets count from the first byte of the
    /// file. Digests are not kept and are zero. Reads the indexes again if the partition is not in the window; other threads
    /// that need that wait meanwhile.
    ///
    /// # Errors
    /// An output whose index is missing or damaged by now.
    pub fn partition(&self, partition: u32) -> Result<Vec<(u32, Segment)>, UnreadableOutput> {
        if partition >= self.partitions {
            return Ok(Vec::new());
        }
        Ok(self.window_of(partition)?.segments(partition, &self.images))
    }

    /// The window with a partition. The lock is held while it is read, so that threads do not read the same one.
    fn window_of(&self, partition: u32) -> Result<Arc<Window>, UnreadableOutput> {
        let mut kept = self.lock();
        if !kept.window.partitions.contains(&partition) {
            let start = partition / kept.step * kept.step;
            let wanted = start..start.saturating_add(kept.step).min(self.partitions);
            let window = Window::read(self, wanted, partition)?;
            if kept.step >= self.partitions {
                kept.step = window.partitions.len() as u32;
            }
            self.memory.store(window.memory(), Ordering::Relaxed);
            kept.window = Arc::new(window);
        }
        Ok(kept.window.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // The window is changed by one assignment, and any step is valid.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The entries of consecutive partitions.
#[derive(Debug, Default)]
struct Window {
    partitions: Range<u32>,
    /// By partition, up to the last one with a segment.
    lists: Vec<List>,
}

/// The entries of one partition.
#[derive(Clone, Debug, Default)]
struct List {
    bytes: Vec<u8>,
    /// Position of the last output.
    last: u32,
    segments: u32,
}

impl Window {
    /// Reads the entries of `wanted` partitions from all images. While they take too much memory, the half without
    /// partition `kept` is dropped.
    fn read(index: &StageIndex, wanted: Range<u32>, kept: u32) -> Result<Window, UnreadableOutput> {
        let StageIndex { images, partitions, bytes_max, owners: Owners(owner), .. } = index;
        let (partitions, bytes_max) = (*partitions, *bytes_max);
        let mut window = Window { lists: Vec::new(), partitions: wanted };
        let mut bytes = 0;
        let mut files = Files::of(images);
        let mut reader = IndexReader::default();
        for (position, image) in (0u32..).zip(images).filter(|(_, image)| image.length > 0) {
            let unreadable = |source| UnreadableOutput { position, image: image.clone(), source };
            let file = files.open(&image.file).map_err(unreadable)?;
            let mut largest = None;
            let each = |segment: Segment| {
                largest = Some(segment.partition);
                let Some(at) = window.position(segment.partition) else { return };
                if window.lists.len() <= at {
                    window.lists.resize_with(at + 1, List::default);
                }
                let list = &mut window.lists[at];
                let before = list.bytes.capacity();
                list.push(position, &segment);
                bytes += list.bytes.capacity() - before;
            };
            reader.read(&file, image.base, image.length, &owner(position), each).map_err(unreadable)?;
            if largest >= Some(partitions) {
                return Err(unreadable(FormatError::Malformed(
                    "the index has a partition that its stage does not have",
                )));
            }
            while bytes > bytes_max && window.partitions.len() > 1 {
                window.halve(kept);
                bytes = window.memory();
            }
        }
        window.lists.iter_mut().for_each(|list| list.bytes.shrink_to_fit());
        Ok(window)
    }

    fn position(&self, partition: u32) -> Option<usize> {
        self.partitions.contains(&partition).then(|| (partition - self.partitions.start) as usize)
    }

    fn halve(&mut self, kept: u32) {
        let Range { start, end } = self.partitions;
        let middle = start + (end - start) / 2;
        let upper = self.lists.split_off(self.lists.len().min((middle - start) as usize));
        if kept < middle {
            self.partitions = start..middle;
        } else {
            (self.partitions, self.lists) = (middle..end, upper);
        }
    }

    fn memory(&self) -> usize {
        self.lists.iter().map(|list| list.bytes.capacity()).sum()
    }

    fn segments(&self, partition: u32, images: &[OutputImage]) -> Vec<(u32, Segment)> {
        let Some(list) = self.position(partition).and_then(|at| self.lists.get(at)) else { return Vec::new() };
        let mut segments = Vec::with_capacity(list.segments as usize);
        let (mut rest, mut position) = (&list.bytes[..], 0u32);
        // The list is this window's own, so no number in it ends early.
        while let Some([step, offset, length, records, difference]) = read_numbers(&mut rest) {
            position = position.wrapping_add(step as u32);
            let base = images.get(position as usize).map_or(0, |image| image.base);
            let raw_length = length.wrapping_sub(unzigzag(difference));
            let offset = base.saturating_add(offset);
            segments.push((position, Segment { partition, offset, length, records, raw_length, digest: 0 }));
        }
        segments
    }
}

impl List {
    fn push(&mut self, position: u32, segment: &Segment) {
        let step = position - std::mem::replace(&mut self.last, position);
        let difference = zigzag(segment.length.wrapping_sub(segment.raw_length));
        let numbers = [u64::from(step), segment.offset, segment.length, segment.records, difference];
        numbers.into_iter().for_each(|number| push_varint(&mut self.bytes, number));
        self.segments += 1;
    }
}

/// Files that hold images. A file with several images is opened once, or few times if there are many such files.
struct Files {
    images: HashMap<Arc<Path>, u32>,
    open: HashMap<Arc<Path>, Arc<File>>,
}

impl Files {
    fn of(images: &[OutputImage]) -> Files {
        let mut counts: HashMap<Arc<Path>, u32> = HashMap::new();
        // Images of one file are neighbours more often than not.
        for run in images.chunk_by(|a, b| Arc::ptr_eq(&a.file, &b.file)) {
            *counts.entry(run[0].file.clone()).or_default() += run.len() as u32;
        }
        Files { images: counts, open: HashMap::new() }
    }

    fn open(&mut self, path: &Arc<Path>) -> Result<Arc<File>, FormatError> {
        if let Some(file) = self.open.get(path) {
            return Ok(file.clone());
        }
        let opened = regular_file::open(path);
        let file =
            Arc::new(opened.map_err(|e| if FormatError::is_gone(&e) { FormatError::Gone(e) } else { e.into() })?);
        if self.images.get(path).is_some_and(|images| *images > 1) {
            if self.open.len() >= OPEN_MAX {
                self.open.clear();
            }
            self.open.insert(path.clone(), file.clone());
        }
        Ok(file)
    }
}

/// Maps numbers near zero, which may be negative, to small numbers.
fn zigzag(n: u64) -> u64 {
    n << 1 ^ ((n as i64) >> 63) as u64
}

fn unzigzag(n: u64) -> u64 {
    n >> 1 ^ (n & 1).wrapping_neg()
}

fn push_varint(to: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        to.push(n as u8 | 0x80);
        n >>= 7;
    }
    to.push(n as u8);
}

fn read_varint(from: &mut &[u8]) -> Option<u64> {
    let mut n = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        n |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            return Some(n);
        }
    }
    None
}

fn read_numbers<const N: usize>(from: &mut &[u8]) -> Option<[u64; N]> {
    let mut numbers = [0; N];
    for number in &mut numbers {
        *number = read_varint(from)?;
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::{HEADER_BYTES, Header};
    use crate::codec::Codec;
    use crate::shuffle::{Segments, ShuffleWriter};
    use proptest::prelude::*;
    use std::fs;

    /// The owner of all images of these tests.
    fn same(_: u32) -> Identity {
        Identity::default()
    }

    /// The bytes of an image with a segment of one block for each partition. Blocks are not read here.
    fn image(lengths: &[(u32, u32)]) -> (Vec<u8>, Vec<Segment>) {
        let mut segments = Segments::default();
        for (partition, length) in lengths {
            let header = Header {
                codec: Codec::Lz4,
                raw_length: length.wrapping_mul(*partition + 1),
                stored_length: *length,
                records: length / 2 + 1,
                sorted: false,
                digest: *length,
            };
            segments.add(*partition, &header);
        }
        let tail = segments.tail(&same(0));
        let bytes = [vec![0; segments.image_bytes() as usize - tail.len()], tail].concat();
        (bytes, segments.into_list())
    }

    /// Writes images into files, several into one if `shared`, and returns them with their segments.
    fn written(folder: &Path, outputs: &[Vec<(u32, u32)>], shared: &[bool]) -> Vec<(OutputImage, Vec<Segment>)> {
        let mut spool = b"before the first image".to_vec();
        let path: Arc<Path> = folder.join("spool").into();
        let mut all = Vec::new();
        for (at, (lengths, shared)) in outputs.iter().zip(shared).enumerate() {
            let (bytes, segments) = image(lengths);
            let length = if segments.is_empty() { 0 } else { bytes.len() as u64 };
            if *shared {
                all.push((OutputImage { file: path.clone(), base: spool.len() as u64, length }, segments));
                spool.extend_from_slice(&bytes);
                continue;
            }
            let own = folder.join(format!("own-{at}"));
            if length > 0 {
                fs::write(&own, bytes).unwrap();
            }
            all.push((OutputImage { file: own.into(), base: 0, length }, segments));
        }
        fs::write(path, spool).unwrap();
        all
    }

    fn built(all: &[(OutputImage, Vec<Segment>)], partitions: u32, bytes_max: usize) -> StageIndex {
        StageIndex::build(all.iter().map(|(image, _)| image.clone()).collect(), partitions, bytes_max, same).unwrap()
    }

    /// What every reader would find in the indexes by itself.
    fn model(all: &[(OutputImage, Vec<Segment>)], partition: u32) -> Vec<(u32, Segment)> {
        let absolute = |base: u64, s: &Segment| Segment { offset: base + s.offset, digest: 0, ..*s };
        let of = |(position, (image, segments)): (u32, &(OutputImage, Vec<Segment>))| {
            let found = segments.iter().find(|s| s.partition == partition);
            found.map(|s| (position, absolute(image.base, s)))
        };
        (0u32..).zip(all).filter_map(of).collect()
    }

    fn outputs() -> impl Strategy<Value = Vec<(Vec<(u32, u32)>, bool)>> {
        let lengths = prop::collection::btree_map(0u32..9, prop_oneof![0u32..300, 0u32..70_000], 0..9);
        let output = (lengths.prop_map(|lengths| lengths.into_iter().collect()), any::<bool>());
        prop::collection::vec(output, 0..12)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn index_equals_the_indexes_of_all_images(
            outputs in outputs(),
            bytes_max in prop_oneof![Just(0usize), Just(usize::MAX), 0usize..500],
            order in prop::collection::vec(0u32..10, 1..20),
            partitions in prop_oneof![Just(9u32), Just(1_000_000)],
            forgotten in 0usize..20,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let (lengths, shared): (Vec<_>, Vec<_>) = outputs.into_iter().unzip();
            let all = written(folder.path(), &lengths, &shared);
            let images = all.iter().map(|(image, _)| image.clone()).collect();
            let index = StageIndex::new(images, partitions, bytes_max, same);
            let largest = (0..9).map(|p| model(&all, p).len() * 50).max().unwrap_or(0);
            for (at, partition) in order.into_iter().chain(0..9).enumerate() {
                if at == forgotten {
                    index.forget();
                    prop_assert_eq!(index.memory(), 0);
                }
                prop_assert_eq!(index.partition(partition).unwrap(), model(&all, partition));
                prop_assert!(index.memory() <= bytes_max.max(largest));
            }
        }

        #[test]
        fn numbers_of_any_size_read_back(numbers in prop::collection::vec(any::<u64>(), 0..20)) {
            let mut bytes = Vec::new();
            numbers.iter().for_each(|n| push_varint(&mut bytes, zigzag(*n)));
            let mut rest = &bytes[..];
            let read: Vec<u64> = std::iter::from_fn(|| read_varint(&mut rest)).map(unzigzag).collect();
            prop_assert_eq!(read, numbers);
        }
    }

    #[test]
    fn unreadable_output_is_named_by_its_position() {
        let folder = tempfile::tempdir().unwrap();
        let lengths = vec![vec![(0, 5), (3, 5)]; 4];
        let all = written(folder.path(), &lengths, &[true, false, true, true]);
        let images = || all.iter().map(|(image, _)| image.clone()).collect::<Vec<_>>();
        let error = StageIndex::build(images(), 3, usize::MAX, same).unwrap_err();
        assert_eq!((error.position, error.source.code()), (0, windrow_model::Code::SegmentCorrupt));
        assert!(error.to_string().contains("a partition that its stage does not have"), "{error}");
        let index = built(&all, 4, 0);
        assert_eq!(index.partition(0).unwrap().len(), 4);
        fs::remove_file(&all[1].0.file).unwrap();
        let error = index.partition(3).unwrap_err();
        assert!(error.position == 1 && matches!(error.source, FormatError::Gone(_)), "{error}");
        fs::write(&all[1].0.file, image(&lengths[1]).0).unwrap();
        assert_eq!(index.partition(3).unwrap(), model(&all, 3));
        // One bit of an index in the spool.
        let damaged = &all[2].0;
        let mut bytes = fs::read(&damaged.file).unwrap();
        bytes[(damaged.base + damaged.length) as usize - 40] ^= 1;
        fs::write(&damaged.file, &bytes).unwrap();
        let error = StageIndex::build(images(), 4, usize::MAX, same).unwrap_err();
        assert!(error.position == 2 && matches!(error.source, FormatError::Checksum { .. }), "{error}");
        // The spool ends within the last image.
        bytes[(damaged.base + damaged.length) as usize - 40] ^= 1;
        bytes.pop();
        fs::write(&damaged.file, &bytes).unwrap();
        let error = StageIndex::build(images(), 4, usize::MAX, same).unwrap_err();
        assert!(error.position == 3 && matches!(error.source, FormatError::Truncated), "{error}");
    }

    #[test]
    fn entries_of_small_segments_take_ten_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let lengths: Vec<(u32, u32)> = (0..500).map(|partition| (partition, 90)).collect();
        let all = written(folder.path(), &vec![lengths; 200], &[true; 200]);
        let index = built(&all, 500, usize::MAX);
        assert!(index.memory() <= 10 * 500 * 200, "{}", index.memory());
        // A file is read again only for a partition outside of the window.
        fs::remove_file(&all[0].0.file).unwrap();
        assert!((0..500).all(|p| index.partition(p).unwrap() == model(&all, p)));
    }

    #[test]
    fn image_of_another_attempt_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let identity = |task| Identity { task, ..Identity::default() };
        let image = |task: u32| {
            let path = folder.path().join(format!("{task}"));
            let mut writer = ShuffleWriter::create(&path, identity(task), Codec::None).unwrap();
            // No partition has records of both.
            writer.push(task, b"key", b"value").unwrap();
            writer.finish().unwrap();
            let length = path.metadata().unwrap().len();
            OutputImage { file: path.into(), base: 0, length }
        };
        let [a, b] = [image(0), image(1)];
        let read = |images: [&OutputImage; 2]| {
            let index = StageIndex::new(images.into_iter().cloned().collect(), 2, usize::MAX, identity);
            index.partition(0).map(|segments| segments.len()).map_err(|e| e.position)
        };
        assert_eq!((read([&a, &b]), read([&b, &a]), read([&a, &a])), (Ok(1), Err(0), Err(1)));
    }

    #[test]
    fn impossible_places_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path: Arc<Path> = folder.path().join("spool").into();
        fs::write(&path, image(&[(0, 5)]).0).unwrap();
        for (base, length) in
            [(u64::MAX, 2), (0, 27), (0, 1), (1 << 62, 1 << 62), (0, u64::MAX), (1, HEADER_BYTES as u64)]
        {
            let image = OutputImage { file: path.clone(), base, length };
            assert!(StageIndex::build(vec![image], 1, usize::MAX, same).is_err(), "{base} {length}");
        }
    }
}
