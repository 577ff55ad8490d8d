//! Crumbs: the current record of each thread of a process, in memory that outlives the process.
//!
//! The memory is an unnamed file (or another shared mapping) of 64-bit words in the machine's byte order, written by
//! the working threads of an executor and read by its parent after it has ended. One store records the current record,
//! so that a fatal signal can be reported with its record. The idea is that of the last-gasp packet in Google's
//! MapReduce (Dean and Ghemawat, 2004, section 4.6).
//!
//! ```text
//! page 0: magic, crash (0, or signal << 32 | slot + 1; signal 0 is an exit), ended
//! then SLOTS slots of SLOT_WORDS words: active, offset, length of the file, steps, attempt (6 words), length of the path, path,
//!      and in the last two words the number of records that were read, and of all records (0: unknown)
//! ```
//!
//! No path reaches the last two words: the system opens no path of that length.

mod progress;

use rustix::fs::MemfdFlags;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use windrow_model::{AttemptId, Epoch, Incarnation, JobId, StageId, TaskId};

/// Number of threads that can leave crumbs. Further threads run, but are not named.
pub const SLOTS: usize = 256;
const SLOT_WORDS: usize = 1024;
const HEADER_WORDS: usize = 512;
/// Size of the whole region in words.
pub const WORDS: usize = HEADER_WORDS + SLOTS * SLOT_WORDS;
/// Size of the whole region in bytes.
pub const BYTES: usize = WORDS * 8;

const MAGIC: u64 = u64::from_le_bytes(*b"wcrumb02");
/// Offset value that means "no record".
const NOWHERE: u64 = u64::MAX;

const CRASH: usize = 1;
const ENDED: usize = 2;

const ACTIVE: usize = 0;
const OFFSET: usize = 1;
const FILE_BYTES: usize = 2;
const STEPS: usize = 3;
const ATTEMPT: usize = 4;
const ATTEMPT_WORDS: usize = 6;
const PATH_LENGTH: usize = ATTEMPT + ATTEMPT_WORDS;
const PATH: usize = PATH_LENGTH + 1;
const RECORDS: usize = SLOT_WORDS - 2;
const RECORDS_ALL: usize = SLOT_WORDS - 1;
const PATH_MAX: usize = (RECORDS - PATH) * 8;

/// Creates a region that a parent shares with an executor: memory with a file descriptor.
///
/// # Errors
/// The system has no memory or descriptors left.
pub fn region() -> io::Result<File> {
    let file = rustix::fs::memfd_create(c"windrow-crumbs", MemfdFlags::CLOEXEC)?;
    rustix::fs::ftruncate(&file, BYTES as u64)?;
    Ok(File::from(file))
}

/// The region in the process that leaves crumbs.
#[derive(Clone, Copy, Debug)]
pub struct Crumbs<'a>(&'a [AtomicU64]);

impl<'a> Crumbs<'a> {
    /// Uses a region of [`WORDS`] words, zeroed or used before; `None` if it has another size.
    pub fn new(words: &'a [AtomicU64]) -> Option<Crumbs<'a>> {
        (words.len() == WORDS).then(|| {
            words[0].store(MAGIC, Ordering::Relaxed);
            Crumbs(words)
        })
    }

    /// The slot of one thread.
    pub fn slot(&self, index: usize) -> Option<Slot<'a>> {
        let words = self.0[HEADER_WORDS..].chunks_exact(SLOT_WORDS).nth(index)?;
        Some(Slot(words))
    }

    /// Records a fatal signal, or 0 for an exit, and the slot of its thread. Only the first call counts. May be called
    /// in signal handlers: takes no lock and allocates nothing.
    pub fn crashed(&self, signal: u32, slot: Option<usize>) {
        let value = (u64::from(signal) << 32) | slot.map_or(0, |s| s as u64 + 1);
        let _ = self.0[CRASH].compare_exchange(0, value, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Records that the following exit is intended.
    pub fn ended(&self) {
        self.0[ENDED].store(1, Ordering::Relaxed);
    }
}

/// The current position of one thread.
#[derive(Clone, Copy, Debug)]
pub struct Slot<'a>(&'a [AtomicU64]);

/// Allocates a slot for a thread that has none in a region.
pub fn private_slot() -> Slot<'static> {
    let words: Vec<AtomicU64> = (0..SLOT_WORDS).map(|_| AtomicU64::new(0)).collect();
    Slot(words.leak())
}

impl Slot<'_> {
    /// Records that the thread starts work on an attempt.
    pub fn begin(&self, attempt: &AttemptId) {
        self.set(OFFSET, NOWHERE);
        self.set(PATH_LENGTH, 0);
        self.set(RECORDS, 0);
        self.set(RECORDS_ALL, 0);
        for (i, word) in attempt_words(attempt).into_iter().enumerate() {
            self.set(ATTEMPT + i, word);
        }
        self.set(ACTIVE, 1);
    }

    /// Records that the thread has finished its attempt.
    pub fn end(&self) {
        self.set(ACTIVE, 0);
    }

    /// Returns whether the thread is between `begin` and `end`.
    pub fn is_active(&self) -> bool {
        self.0[ACTIVE].load(Ordering::Relaxed) == 1
    }

    /// Records the file of the following records, and its length in bytes at planning time.
    pub fn file(&self, path: &Path, bytes: u64) {
        self.set(OFFSET, NOWHERE);
        let path = path.as_os_str().as_bytes();
        // A longer path could not have been opened.
        let path = &path[..path.len().min(PATH_MAX)];
        for (i, piece) in path.chunks(8).enumerate() {
            let mut word = [0; 8];
            word[..piece.len()].copy_from_slice(piece);
            self.set(PATH + i, u64::from_ne_bytes(word));
        }
        self.set(FILE_BYTES, bytes);
        self.set(PATH_LENGTH, path.len() as u64);
    }

    /// Records that the thread processes the record at this offset.
    #[inline]
    pub fn record(&self, offset: u64) {
        self.set(OFFSET, offset);
    }

    /// Offset of the current record; an impossible offset if there is none.
    #[inline]
    pub fn offset(&self) -> u64 {
        self.0[OFFSET].load(Ordering::Relaxed)
    }

    /// Records progress other than a record: a block, a group.
    #[inline]
    pub fn step(&self) {
        // This thread is the only writer of the word.
        self.set(STEPS, self.0[STEPS].load(Ordering::Relaxed).wrapping_add(1));
    }

    /// Records how many records of other tasks the attempt reads in all.
    pub fn reads(&self, records: u64) {
        self.set(RECORDS_ALL, records);
    }

    /// Records how many records the attempt has read.
    #[inline]
    pub fn has_read(&self, records: u64) {
        self.set(RECORDS, records);
    }

    /// Records that the attempt has read one more record.
    #[inline]
    pub fn has_read_one(&self) {
        // This thread is the only writer of the word.
        self.has_read(self.0[RECORDS].load(Ordering::Relaxed).wrapping_add(1));
    }

    /// The position of the thread, if it is active.
    pub fn now(&self) -> Option<Now> {
        self.is_active().then(|| now(|i| self.0[i].load(Ordering::Relaxed)))
    }

    /// Records that the thread processes no record.
    pub fn no_record(&self) {
        self.set(OFFSET, NOWHERE);
    }

    /// The current file and record of the thread.
    pub fn place(&self) -> Option<Place> {
        place(|i| self.0[i].load(Ordering::Relaxed))
    }

    #[inline]
    fn set(&self, word: usize, value: u64) {
        self.0[word].store(value, Ordering::Relaxed);
    }
}

/// A record of an input file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Path of the file.
    pub file: PathBuf,
    /// Offset of the record in the file, in bytes.
    pub offset: u64,
    /// Length of the file in bytes at planning time.
    pub file_bytes: u64,
}

/// The crumbs of a process that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Last {
    /// The fatal signal, if one was seen.
    pub signal: Option<u32>,
    /// The attempt of the thread that got the signal or called `exit`, with its record if it was at one.
    pub at: Option<(AttemptId, Option<Place>)>,
    /// Whether the process had announced its exit.
    pub ended: bool,
}

/// Reads the region of a process that has ended; `None` if the process had not set it up.
///
/// # Errors
/// The region cannot be read.
pub fn read_region(region: &File) -> io::Result<Option<Last>> {
    let mut bytes = vec![0; BYTES];
    region.read_exact_at(&mut bytes, 0)?;
    Ok(read(&bytes))
}

/// The current position of an active thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Now {
    /// The attempt that the thread runs.
    pub attempt: AttemptId,
    /// Changes whenever the thread makes progress.
    pub mark: (u64, u64),
    /// The current record, if the thread is at one.
    pub place: Option<Place>,
    /// Records that the attempt has read.
    pub records: u64,
    /// Records of other tasks that it reads in all; 0 if it reads files.
    pub records_all: u64,
}

/// Parses the words of an active slot.
fn now(word: impl Fn(usize) -> u64) -> Now {
    Now {
        attempt: attempt_of(std::array::from_fn(|i| word(ATTEMPT + i))),
        mark: (word(OFFSET), word(STEPS).wrapping_add(word(RECORDS))),
        place: place(&word),
        records: word(RECORDS),
        records_all: word(RECORDS_ALL),
    }
}

/// The positions of the active threads of a live process. A slot that is being written may mix old and new values.
///
/// # Errors
/// The region cannot be read.
pub fn read_now(region: &File) -> io::Result<Vec<Now>> {
    let mut found = Vec::new();
    for slot in 0..SLOTS {
        let start = ((HEADER_WORDS + slot * SLOT_WORDS) * 8) as u64;
        let mut head = [0; (PATH_LENGTH + 1) * 8];
        region.read_exact_at(&mut head, start)?;
        let words = |bytes: &[u8], i: usize| {
            bytes.get(i * 8..).and_then(|b| b.first_chunk::<8>()).map_or(0, |b| u64::from_ne_bytes(*b))
        };
        if head.iter().all(|b| *b == 0) {
            // Slots are taken in order: this one and all later ones were never used.
            break;
        }
        if words(&head, ACTIVE) != 1 {
            continue;
        }
        let mut whole = vec![0; SLOT_WORDS * 8];
        region.read_exact_at(&mut whole, start)?;
        found.push(now(|i: usize| words(&whole, i)));
    }
    Ok(found)
}

/// Parses the bytes of a region.
pub fn read(bytes: &[u8]) -> Option<Last> {
    let word = |i: usize| {
        let at = bytes.get(i * 8..)?.first_chunk::<8>()?;
        Some(u64::from_ne_bytes(*at))
    };
    if bytes.len() != BYTES || word(0)? != MAGIC {
        return None;
    }
    let crash = word(CRASH)?;
    let slot = (crash as u32 as usize).checked_sub(1).filter(|s| *s < SLOTS);
    let at = slot.and_then(|slot| {
        let start = HEADER_WORDS + slot * SLOT_WORDS;
        let word = |i: usize| word(start + i).unwrap_or(0);
        (word(ACTIVE) == 1).then(|| (attempt_of(std::array::from_fn(|i| word(ATTEMPT + i))), place(word)))
    });
    let signal = Some((crash >> 32) as u32).filter(|s| *s != 0);
    Some(Last { signal, at, ended: word(ENDED)? == 1 })
}

fn place(word: impl Fn(usize) -> u64) -> Option<Place> {
    let (offset, length) = (word(OFFSET), word(PATH_LENGTH) as usize);
    if offset == NOWHERE || length == 0 || length > PATH_MAX {
        return None;
    }
    let mut path: Vec<u8> = (0..length.div_ceil(8)).flat_map(|i| word(PATH + i).to_ne_bytes()).collect();
    path.truncate(length);
    Some(Place { file: PathBuf::from(OsString::from_vec(path)), offset, file_bytes: word(FILE_BYTES) })
}

fn attempt_words(attempt: &AttemptId) -> [u64; ATTEMPT_WORDS] {
    let (high, low) = attempt.task.job.0.as_u64_pair();
    let task = (u64::from(attempt.task.stage.0) << 32) | u64::from(attempt.task.index);
    [high, low, task, u64::from(attempt.number), attempt.epoch.0, attempt.incarnation.0]
}

fn attempt_of([high, low, task, number, epoch, incarnation]: [u64; ATTEMPT_WORDS]) -> AttemptId {
    let mut job = [0; 16];
    job[..8].copy_from_slice(&high.to_be_bytes());
    job[8..].copy_from_slice(&low.to_be_bytes());
    AttemptId {
        task: TaskId { job: JobId::from_bytes(job), stage: StageId((task >> 32) as u32), index: task as u32 },
        number: number as u32,
        epoch: Epoch(epoch),
        incarnation: Incarnation(incarnation),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region() -> Vec<AtomicU64> {
        (0..WORDS).map(|_| AtomicU64::new(0)).collect()
    }
    fn bytes(words: &[AtomicU64]) -> Vec<u8> {
        words.iter().flat_map(|w| w.load(Ordering::Relaxed).to_ne_bytes()).collect()
    }
    fn attempt() -> AttemptId {
        AttemptId {
            task: TaskId { job: JobId::from_bytes([7; 16]), stage: StageId(3), index: 12 },
            number: 2,
            epoch: Epoch(5),
            incarnation: Incarnation(9),
        }
    }

    #[test]
    fn a_crash_names_its_attempt_and_record() {
        let words = region();
        let crumbs = Crumbs::new(&words).unwrap();
        let slot = crumbs.slot(17).unwrap();
        slot.begin(&attempt());
        let file = PathBuf::from("/a folder/with a rather long name/in");
        slot.file(&file, 1000);
        slot.record(123);
        crumbs.slot(18).unwrap().begin(&attempt());
        crumbs.crashed(11, Some(17));
        crumbs.crashed(6, Some(18));
        let place = Place { file, offset: 123, file_bytes: 1000 };
        assert_eq!(slot.place(), Some(place.clone()));
        let last = Last { signal: Some(11), at: Some((attempt(), Some(place))), ended: false };
        assert_eq!(read(&bytes(&words)), Some(last));
    }

    #[test]
    fn thread_between_records_names_none() {
        let words = region();
        let crumbs = Crumbs::new(&words).unwrap();
        let slot = crumbs.slot(0).unwrap();
        slot.begin(&attempt());
        slot.file(Path::new("/in"), 5);
        crumbs.crashed(6, Some(0));
        assert_eq!(read(&bytes(&words)).unwrap().at, Some((attempt(), None)));
        slot.end();
        assert_eq!(read(&bytes(&words)).unwrap().at, None);
    }

    #[test]
    fn intended_exit_is_recorded() {
        let words = region();
        assert_eq!(read(&bytes(&words)), None, "nothing was left");
        let crumbs = Crumbs::new(&words).unwrap();
        assert_eq!(read(&bytes(&words)), Some(Last { signal: None, at: None, ended: false }));
        crumbs.ended();
        assert!(read(&bytes(&words)).unwrap().ended);
        assert!(Crumbs::new(&words[1..]).is_none() && crumbs.slot(SLOTS).is_none());
    }

    proptest::proptest! {
        #[test]
        fn garbage_is_read_without_a_panic(words in proptest::collection::vec((0..WORDS, proptest::num::u64::ANY), 0..40)) {
            let region = region();
            let _ = Crumbs::new(&region);
            for (i, word) in words {
                region[i].store(word, Ordering::Relaxed);
            }
            let _ = read(&bytes(&region));
        }
    }
}
