//! Runs: sorted spills of one input, and their merge.
//!
//! A run is one file, or several with ascending ranges of keys, which threads have written at the same time. Files are mapped and then
//! unlinked, so that nothing is left behind whatever happens, and disk space returns as soon as they have been merged. Runs stand in
//! order of arrival, and only neighbours are merged, so that equal keys keep their order through any number of passes.

mod file;

pub use file::{MappedCursor, Output, RunFile};

use crate::error::{EngineError, Result};
use crate::memory::Claim;
use crate::merge::{Cursor, Merge};
use crate::segments::Pairs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use windrow_failpoint::failpoint;
use windrow_format::codec::Codec;
use windrow_format::{names, quota};

/// Most files of runs or segments that are merged at once: what mappings and a read-ahead each still cost little for.
pub const FAN_IN_MAX: usize = 512;
/// From so many records on a run may become several files: writing one takes longer than it takes another thread to notice. (In tests
/// it is done with few, too.)
const FILE_RECORDS: usize = if cfg!(test) { 1 << 8 } else { 1 << 18 };
/// Most files of a run.
const FILES_MAX: usize = 8;

/// A path in `folder` that no other run of this process has had.
pub fn unique_path(folder: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    folder.join(names::run_file(std::process::id(), NEXT.fetch_add(1, Relaxed)))
}

/// What happens to a merged stream on its way to a file: copied, or folded.
pub trait Through {
    /// The next record, in order.
    fn record(&mut self, out: &mut Output, key: &[u8], value: &[u8]) -> Result<()>;
    /// After the last one.
    fn end(&mut self, out: &mut Output) -> Result<()>;
}

/// Records go through as they are.
pub struct Copied;

impl Through for Copied {
    #[inline]
    fn record(&mut self, out: &mut Output, key: &[u8], value: &[u8]) -> Result<()> {
        out.push(key, value)
    }
    fn end(&mut self, _: &mut Output) -> Result<()> {
        Ok(())
    }
}

/// One sorted spill.
pub struct Run {
    /// Each with the keys that follow those of the one before.
    files: Vec<RunFile>,
    /// How often its records have been merged.
    level: u32,
}

impl Run {
    /// Bytes of the files.
    fn bytes(&self) -> u64 {
        self.files.iter().map(RunFile::bytes).sum()
    }

    /// Bytes of memory that reading it needs: its files are read one after the other.
    fn buffer_bytes(&self) -> usize {
        self.files.iter().map(RunFile::buffer_bytes).max().unwrap_or(0)
    }

    /// Before its first record.
    fn cursor(&self) -> Result<RunCursor> {
        let open = |file: &RunFile| Ok((file.cursor()?, file.path().to_path_buf()));
        let mut files = self.files.iter().map(open).collect::<Result<Vec<_>>>()?.into_iter();
        Ok(RunCursor { current: files.next(), rest: files })
    }
}

/// How many mapped files these runs are.
fn files(runs: &[Run]) -> usize {
    runs.iter().map(|run| run.files.len()).sum()
}

/// Reads the files of a run one after the other, and lets go of each when it has come to its end.
struct RunCursor {
    /// With its path, for errors.
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
pub struct Runs {
    folder: PathBuf,
    codec: Codec,
    list: Vec<Run>,
    written: u64,
    bytes: u64,
}

impl Runs {
    /// No runs yet; they will be written to `folder`.
    pub fn new(folder: &Path, codec: Codec) -> Self {
        Runs { folder: folder.to_path_buf(), codec, list: Vec::new(), written: 0, bytes: 0 }
    }

    /// Whether nothing was spilled.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Runs written so far, those of merge passes included, and their bytes.
    pub fn written(&self) -> (u64, u64) {
        (self.written, self.bytes)
    }

    /// Writes a new run, the last in order of arrival.
    pub fn spill(&mut self, fill: impl FnOnce(&mut Output) -> Result<()>) -> Result<()> {
        let file = RunFile::write(&self.folder, self.codec, fill)?;
        self.add(Run { files: vec![file], level: 0 });
        Ok(())
    }

    /// The same for so many records, of which `fill` writes any range: threads of the pool that have nothing to do write a part.
    pub fn spill_with_help(
        &mut self,
        records: usize,
        fill: &(impl Fn(Range<usize>, &mut Output) -> Result<()> + Sync),
    ) -> Result<()> {
        // Outside of a pool there is nobody who helps.
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

    /// Merges the last runs into one when there are many: every run is a mapping, of which a process has some ten thousand.
    pub fn compact(&mut self, through: &mut impl Through) -> Result<()> {
        loop {
            let level = self.list.last().map_or(0, |r| r.level);
            let alike = self.list.iter().rev().take_while(|r| r.level == level).count();
            let first = self.list.len() - alike;
            if files(&self.list[first..]) < FAN_IN_MAX {
                return Ok(());
            }
            let group = self.list.split_off(first);
            self.merge_group(group, through)?;
            if let Some(merged) = self.list.last_mut() {
                merged.level = level + 1;
            }
        }
    }

    /// Whether all runs can be merged at once within `memory` bytes of buffers.
    fn fit(&self, memory: usize) -> bool {
        files(&self.list) <= FAN_IN_MAX && self.list.iter().map(Run::buffer_bytes).sum::<usize>() <= memory
    }

    /// Merges neighbouring runs until the buffers for the rest are covered, and gives that. The claim must last as long.
    pub fn merge(mut self, claim: &mut Claim, through: &mut impl Through) -> Result<MergedRuns> {
        claim.stay();
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
                    self.merge_group(std::mem::take(&mut group), through)?;
                    bytes = 0;
                }
                bytes += more;
                group.push(run);
            }
            self.merge_group(group, through)?;
        }
        MergedRuns::new(&self.list)
    }

    fn merge_group(&mut self, mut group: Vec<Run>, through: &mut impl Through) -> Result<()> {
        if group.len() == 1 {
            self.list.append(&mut group);
            return Ok(());
        }
        failpoint!("merge").map_err(EngineError::io("write", &self.folder))?;
        let mut merged = MergedRuns::new(&group)?;
        self.spill(|out| {
            while let Some((key, value)) = merged.peek() {
                through.record(out, key, value)?;
                merged.advance()?;
            }
            through.end(out)
        })
    }
}

/// Runs as one sorted sequence; equal keys come in the order of the runs.
pub struct MergedRuns(Merge<RunCursor>);

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

/// Calls `f` with so many parts of the range, in order; half of them on another thread if one has time.
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

    /// Spills so often the same records with numbers as keys.
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

    /// Reads what it can: how many records in their right order, and the error.
    fn read(runs: Runs, times: usize) -> (usize, Result<()>) {
        let mut claim = Share::alone(16 << 20, 1).input();
        let merged = match runs.merge(&mut claim, &mut Copied) {
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
    fn a_run_becomes_as_many_files_as_may_be_written_at_a_time() {
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
    fn runs_are_merged_before_their_files_are_too_many() {
        let folder = tempfile::tempdir().unwrap();
        let (times, records) = (150, FILES_MAX * FILE_RECORDS);
        let (all, end) = in_pool(4, || {
            let mut runs = Runs::new(folder.path(), Codec::Lz4);
            for time in 0..times {
                spill(&mut runs, records, time as u32).unwrap();
                runs.compact(&mut Copied).unwrap();
                assert!(files(&runs.list) < FAN_IN_MAX + FILES_MAX);
            }
            assert!(runs.written().0 > times as u64);
            read(runs, times)
        });
        assert!(end.is_ok());
        assert_eq!(all, times * records);
    }

    #[test]
    fn a_damaged_file_of_a_run_is_named_after_what_lies_before_the_damage() {
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
    fn what_other_threads_write_counts_against_the_quota_of_the_attempt() {
        let folder = tempfile::tempdir().unwrap();
        in_pool(4, || {
            // The others are at hand.
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
