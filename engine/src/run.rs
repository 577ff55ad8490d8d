//! Runs: sorted spills of one input, and their merge.
//!
//! A run is one file, or several files with ascending key ranges that threads have written at the same time. Files are
//! mapped and then unlinked, so a crash leaves nothing behind and disk space is freed as soon as a run has been merged.
//! Runs are kept in order of arrival and only neighbours are merged, so equal keys keep their order transform any number
//! of passes.

mod file;

pub(crate) use file::{MappedCursor, Output, RunFile};

use crate::error::{EngineError, Result};
use crate::memory::Claim;
use crate::merge::{Cursor, Merge};
use crate::pairs::Pairs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use windrow_failpoint::failpoint;
use windrow_format::codec::Codec;
use windrow_format::{names, quota};

/// Most files of runs or segments that one merge opens: up to this number a mapping and a read-ahead for each stay
/// cheap.
pub(crate) const FAN_IN_MAX: usize = 512;
/// Records from which on a run is split into several files. Below this number writing takes less time than another
/// thread needs to join. (Tests use a small number to cover the split.)
const FILE_RECORDS: usize = if cfg!(test) { 1 << 8 } else { 1 << 18 };
/// Most files of a run.
const FILES_MAX: usize = 8;

/// A path in `folder` that no other run of this process has used.
pub(crate) fn unique_path(folder: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    folder.join(names::run_file(std::process::id(), NEXT.fetch_add(1, Relaxed)))
}

/// Transforms a merged stream on its way to a file: copies or folds the records.
pub(crate) trait MergeTransform {
    /// Takes the next record in key order.
    fn record(&mut self, out: &mut Output, key: &[u8], value: &[u8]) -> Result<()>;
    /// Ends the stream after the last record.
    fn end(&mut self, out: &mut Output) -> Result<()>;
}

/// Copies records unchanged.
pub(crate) struct Unchanged;

impl MergeTransform for Unchanged {
    #[inline]
    fn record(&mut self, out: &mut Output, key: &[u8], value: &[u8]) -> Result<()> {
        out.push(key, value)
    }
    fn end(&mut self, _: &mut Output) -> Result<()> {
        Ok(())
    }
}

/// One sorted spill.
pub(crate) struct Run {
    /// Files with ascending key ranges that do not overlap.
    files: Vec<RunFile>,
    /// Number of merges that its records have been transform.
    level: u32,
}

impl Run {
    /// Size of the files in bytes.
    fn bytes(&self) -> u64 {
        self.files.iter().map(RunFile::bytes).sum()
    }

    /// Bytes of memory that a reader needs. The files are read one at a time.
    fn buffer_bytes(&self) -> usize {
        self.files.iter().map(RunFile::buffer_bytes).max().unwrap_or(0)
    }

    /// A cursor before the first record.
    fn cursor(&self) -> Result<RunCursor> {
        let open = |file: &RunFile| Ok((file.cursor()?, file.path().to_path_buf()));
        let mut files = self.files.iter().map(open).collect::<Result<Vec<_>>>()?.into_iter();
        Ok(RunCursor { current: files.next(), rest: files })
    }
}

/// Number of mapped files of these runs.
fn files(runs: &[Run]) -> usize {
    runs.iter().map(|run| run.files.len()).sum()
}

/// Reads the files of a run one after the other and closes each at its end.
struct RunCursor {
    /// The open file and its path, which errors name.
    current: Option<(MappedCursor, PathBuf)>,
    rest: std::vec::IntoIter<(MappedCursor, PathBuf)>,
}

impl Cursor for RunCursor {
    type Error = EngineError;

    #[inline]
    fn advance(&mut self) -> Result<bool> {
        while let Some((cursor, path)) = &mut self.current {
            if cursor.advance().map_err(EngineError::file(path))? {
                return Ok(true);
            }
            self.current = self.rest.next();
        }
        Ok(false)
    }
    #[inline]
    fn record(&self) -> (&[u8], &[u8]) {
        self.current.as_ref().map_or((&[], &[]), |(cursor, _)| cursor.record())
    }
}

/// The runs of one input.
pub(crate) struct Runs {
    folder: PathBuf,
    codec: Codec,
    list: Vec<Run>,
    written: u64,
    bytes: u64,
}

impl Runs {
    /// Creates an empty list of runs; later runs are written to `folder`.
    pub(crate) fn new(folder: &Path, codec: Codec) -> Self {
        Runs { folder: folder.to_path_buf(), codec, list: Vec::new(), written: 0, bytes: 0 }
    }

    /// Returns whether nothing was spilled.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Number of runs written so far, including those of merge passes, and their size in bytes.
    pub(crate) fn written(&self) -> (u64, u64) {
        (self.written, self.bytes)
    }

    /// Writes a new run, which becomes the last in order of arrival.
    pub(crate) fn spill(&mut self, fill: impl FnOnce(&mut Output) -> Result<()>) -> Result<()> {
        let file = RunFile::write(&self.folder, self.codec, fill)?;
        self.add(Run { files: vec![file], level: 0 });
        Ok(())
    }

    /// Writes a new run of `records` records; idle threads of the pool write parts of it. `fill` must be able to write
    /// any range.
    pub(crate) fn spill_with_help(
        &mut self,
        records: usize,
        fill: &(impl Fn(Range<usize>, &mut Output) -> Result<()> + Sync),
    ) -> Result<()> {
        // Outside of a pool there is no thread to help.
        let threads = rayon::current_thread_index().map_or(1, |_| rayon::current_num_threads());
        let files = if threads == 1 { 1 } else { (2 * threads).min(FILES_MAX).min(records / FILE_RECORDS) };
        let (folder, codec, quota) = (&*self.folder, self.codec, quota::current());
        let write = |range: Range<usize>| {
            let _entered = quota::enter(quota.clone());
            RunFile::write(folder, codec, |out| fill(range, out))
        };
        let mut run = Run { files: Vec::new(), level: 0 };
        for file in each_with_help(0..records, files, &write) {
            run.files.push(file?);
        }
        self.add(run);
        Ok(())
    }

    fn add(&mut self, run: Run) {
        self.written += 1;
        self.bytes += run.bytes();
        self.list.push(run);
    }

    /// Merges the last runs of one level when they reach the fan-in limit: each run is a mapping, and a process may
    /// have only some ten thousand mappings.
    pub(crate) fn compact(&mut self, transform: &mut impl MergeTransform) -> Result<()> {
        loop {
            let level = self.list.last().map_or(0, |r| r.level);
            let alike = self.list.iter().rev().take_while(|r| r.level == level).count();
            let first = self.list.len() - alike;
            if files(&self.list[first..]) < FAN_IN_MAX {
                return Ok(());
            }
            let group = self.list.split_off(first);
            self.merge_group(group, transform)?;
            if let Some(merged) = self.list.last_mut() {
                merged.level = level + 1;
            }
        }
    }

    /// Returns whether all runs can be merged at once within `memory` bytes of buffers.
    fn fit(&self, memory: usize) -> bool {
        files(&self.list) <= FAN_IN_MAX && self.list.iter().map(Run::buffer_bytes).sum::<usize>() <= memory
    }

    /// Merges neighbouring runs until the claim covers the buffers of the remaining ones, and returns those as one
    /// sequence. The claim must outlive the result.
    pub(crate) fn merge(mut self, claim: &mut Claim, transform: &mut impl MergeTransform) -> Result<MergedRuns> {
        claim.mark_unspillable();
        claim.grow_towards(self.list.iter().map(Run::buffer_bytes).sum());
        let memory = claim.held();
        while !self.fit(memory) && self.list.len() > 2 {
            let old = std::mem::take(&mut self.list);
            let mut group: Vec<Run> = Vec::new();
            let mut bytes = 0;
            for run in old {
                let more = run.buffer_bytes();
                let is_full = files(&group) + run.files.len() > FAN_IN_MAX || bytes + more > memory;
                if group.len() >= 2 && is_full {
                    self.merge_group(std::mem::take(&mut group), transform)?;
                    bytes = 0;
                }
                bytes += more;
                group.push(run);
            }
            self.merge_group(group, transform)?;
        }
        MergedRuns::new(&self.list)
    }

    fn merge_group(&mut self, mut group: Vec<Run>, transform: &mut impl MergeTransform) -> Result<()> {
        if group.len() == 1 {
            self.list.append(&mut group);
            return Ok(());
        }
        failpoint!("merge").map_err(EngineError::io("write", &self.folder))?;
        let mut merged = MergedRuns::new(&group)?;
        self.spill(|out| {
            while let Some((key, value)) = merged.peek() {
                transform.record(out, key, value)?;
                merged.advance()?;
            }
            transform.end(out)
        })
    }
}

/// Runs as one sorted sequence; equal keys are returned in the order of the runs.
pub(crate) struct MergedRuns(Merge<RunCursor>);

impl MergedRuns {
    fn new(runs: &[Run]) -> Result<Self> {
        let cursors = runs.iter().map(Run::cursor).collect::<Result<Vec<_>>>()?;
        Merge::new(cursors).map(MergedRuns).map_err(|e| e.source)
    }
}

impl Pairs for MergedRuns {
    #[inline]
    fn peek(&self) -> Option<(&[u8], &[u8])> {
        self.0.current().map(|c| c.record())
    }
    #[inline]
    fn advance(&mut self) -> Result<()> {
        self.0.advance().map_err(|e| e.source)
    }
}

/// Splits the range into `parts` ranges, calls `f` on each and returns the results in order. Idle threads of the pool
/// take over halves.
fn each_with_help<X: Send>(range: Range<usize>, parts: usize, f: &(impl Fn(Range<usize>) -> X + Sync)) -> Vec<X> {
    if parts < 2 {
        return vec![f(range)];
    }
    let left = parts / 2;
    let middle = range.start + range.len() / parts * left;
    let (mut all, mut rest) = rayon::join(
        || each_with_help(range.start..middle, left, f),
        || each_with_help(middle..range.end, parts - left, f),
    );
    all.append(&mut rest);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::Share;
    use windrow_format::block::FormatError;
    use windrow_format::quota::Quota;
    use windrow_model::Code;

    const RECORDS: usize = 40_000;

    fn in_pool<X: Send>(threads: usize, f: impl FnOnce() -> X + Send) -> X {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(f)
    }

    /// Spills the same records, with numbers as keys, `times` times.
    fn spilled(folder: &Path, times: u32) -> Result<Runs> {
        let mut runs = Runs::new(folder, Codec::Lz4);
        (0..times).try_for_each(|time| spill(&mut runs, RECORDS, time))?;
        Ok(runs)
    }

    fn spill(runs: &mut Runs, records: usize, time: u32) -> Result<()> {
        runs.spill_with_help(records, &|range, out| {
            range.into_iter().try_for_each(|n| out.push(&(n as u32).to_be_bytes(), &time.to_be_bytes()))
        })
    }

    /// Reads to the first error: the number of records in the right order, and the error.
    fn read(runs: Runs, times: usize) -> (usize, Result<()>) {
        let mut claim = Share::alone(16 << 20, 1).input();
        let merged = match runs.merge(&mut claim, &mut Unchanged) {
            Ok(merged) => merged,
            Err(e) => return (0, Err(e)),
        };
        let (mut pairs, mut read) = (merged, 0);
        while let Some((key, value)) = pairs.peek() {
            let expected = ((read / times) as u32, (read % times) as u32);
            assert_eq!((key, value), (&expected.0.to_be_bytes()[..], &expected.1.to_be_bytes()[..]));
            read += 1;
            if let Err(e) = pairs.advance() {
                return (read, Err(e));
            }
        }
        (read, Ok(()))
    }

    #[test]
    fn run_is_split_into_files_by_thread_count() {
        let folder = tempfile::tempdir().unwrap();
        for (threads, expected) in [(1, 1), (2, 4), (3, 6), (4, FILES_MAX), (9, FILES_MAX)] {
            let runs = in_pool(threads, || spilled(folder.path(), 1)).unwrap();
            assert_eq!(runs.list[0].files.len(), expected);
            assert_eq!(runs.written(), (1, runs.list[0].bytes()));
            assert_eq!(in_pool(threads, || read(runs, 1)).0, RECORDS);
        }
        assert_eq!(spilled(folder.path(), 1).unwrap().list[0].files.len(), 1, "there is no pool");
        let few = in_pool(4, || {
            let mut runs = Runs::new(folder.path(), Codec::Lz4);
            spill(&mut runs, 2 * FILE_RECORDS, 0).unwrap();
            runs.list[0].files.len()
        });
        assert_eq!(few, 2);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn compaction_bounds_the_number_of_files() {
        let folder = tempfile::tempdir().unwrap();
        let (times, records) = (150, FILES_MAX * FILE_RECORDS);
        let (all, end) = in_pool(4, || {
            let mut runs = Runs::new(folder.path(), Codec::Lz4);
            for time in 0..times {
                spill(&mut runs, records, time as u32).unwrap();
                runs.compact(&mut Unchanged).unwrap();
                assert!(files(&runs.list) < FAN_IN_MAX + FILES_MAX);
            }
            assert!(runs.written().0 > times as u64);
            read(runs, times)
        });
        assert!(end.is_ok());
        assert_eq!(all, times * records);
    }

    #[test]
    fn damaged_run_file_is_named_after_its_good_records() {
        let folder = tempfile::tempdir().unwrap();
        let mut seen = None;
        for threads in [2, 4, 2] {
            let (read, path, found) = in_pool(threads, || {
                let mut runs = spilled(folder.path(), 3).unwrap();
                let files = &mut runs.list[1].files;
                let last = files.len() - 1;
                let at = files[last].damage(folder.path());
                let path = files[last].path().to_path_buf();
                let (read, end) = read(runs, 3);
                match end {
                    Err(EngineError::File { path: named, source: FormatError::Checksum { offset } }) => {
                        assert_eq!(offset, at);
                        (read, path, named)
                    }
                    other => panic!("{other:?}"),
                }
            });
            assert_eq!(path, found);
            assert!(read > 0 && read < 3 * RECORDS);
            if threads == 2 {
                assert_eq!(*seen.get_or_insert(read), read);
            }
        }
    }

    #[test]
    fn bytes_of_helper_threads_count_against_the_quota() {
        let folder = tempfile::tempdir().unwrap();
        in_pool(4, || {
            // Wakes all threads of the pool.
            rayon::broadcast(|_| ());
            let bytes = spilled(folder.path(), 1).unwrap().written().1;
            let _entered = Quota::new(bytes + bytes / 2).enter();
            let one = spilled(folder.path(), 1).unwrap();
            assert_eq!(spilled(folder.path(), 1).err().map(|e| e.code()), Some(Code::ScratchQuotaExceeded));
            drop(one);
            assert_eq!(spilled(folder.path(), 1).unwrap().written().1, bytes);
        });
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
