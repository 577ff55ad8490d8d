//! Files that a process keeps mapped for its tasks.
//!
//! The readers of a stage read different parts of the same files. If each mapped them by itself, the process would have as
//! many mappings of a file as it has readers, and would open and map every file once for each reader.
//!
//! A file may have grown since it was mapped, as spools do: it is mapped again if more of it is needed. A mapping with bytes
//! that could not be read is not used again.

use crate::error::Result;
use crate::mapped::MappedFile;
use crate::segments::{LocalSegment, open_file};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Files that are compared by the address of their path before the path itself is looked up.
const RECENT: usize = 4;

/// Mapped files by path. Threads share it. A kept file stays mapped, and its disk space in use, until it is forgotten or
/// makes room for another one.
#[derive(Debug)]
pub struct MappedFiles {
    kept_max: usize,
    kept: Mutex<HashMap<Arc<Path>, Arc<MappedFile>>>,
}

impl MappedFiles {
    /// Files that a process keeps by default: few enough for its other mappings, of which a system allows some 65,000.
    pub const KEPT_MAX: usize = 4_096;

    /// Keeps at most `kept_max` files mapped.
    pub fn new(kept_max: usize) -> MappedFiles {
        MappedFiles { kept_max, kept: Mutex::default() }
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<Arc<Path>, Arc<MappedFile>>> {
        // Every change is one call of the map.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A mapping of a file with its first `bytes` bytes, or with fewer if the file is shorter. It is kept for later calls if
    /// there is room.
    ///
    /// # Errors
    /// The file cannot be opened or mapped.
    pub fn get(&self, path: &Arc<Path>, bytes: u64) -> Result<Arc<MappedFile>> {
        match self.find(path, bytes) {
            Some(found) => Ok(found),
            None => Ok(self.keep(path, Arc::new(MappedFile::open(path)?))),
        }
    }

    /// Sets the mappings of segments that have none. Where there is no room for more files, their readers open them one after
    /// another, as they need them.
    ///
    /// # Errors
    /// A file is missing or cannot be mapped. The error names the first segment in it by its position.
    pub fn attach(&self, segments: &mut [LocalSegment]) -> Result<()> {
        let mut files: Vec<Wanted> = Vec::new();
        let mut numbers: HashMap<Arc<Path>, usize> = HashMap::new();
        let mut of_segment = vec![None; segments.len()];
        for (index, segment) in segments.iter().enumerate().filter(|(_, segment)| segment.resident.is_none()) {
            let end = segment.offset.saturating_add(segment.length);
            // Neighbours often share a file and its path, or alternate between the files of a few workers.
            let known = files.iter().rev().take(RECENT).position(|file| Arc::ptr_eq(&file.path, &segment.path));
            let number = match known {
                Some(back) => files.len() - 1 - back,
                None => *numbers.entry(segment.path.clone()).or_insert(files.len()),
            };
            match files.get_mut(number) {
                Some(file) => file.end = file.end.max(end),
                None => files.push(Wanted { path: segment.path.clone(), first: index, end }),
            }
            of_segment[index] = Some(number);
        }
        let mapped: Vec<_> = files.iter().map(|file| self.if_kept(file)).collect::<Result<_>>()?;
        for (segment, number) in segments.iter_mut().zip(of_segment) {
            if let Some(file) = number.and_then(|number| mapped[number].as_ref()) {
                segment.resident = Some(file.clone());
            }
        }
        Ok(())
    }

    /// Forgets a file. Its last reader unmaps it.
    pub fn forget(&self, path: &Path) {
        let forgotten = self.kept().remove(path);
        // It may be the last reference, and unmapping takes time: without the lock.
        drop(forgotten);
    }

    /// Forgets all files that `is_needed` does not name.
    pub fn retain(&self, is_needed: impl Fn(&Path) -> bool) {
        let mut kept = self.kept();
        let paths: Vec<_> = kept.keys().filter(|path| !is_needed(path)).cloned().collect();
        let forgotten: Vec<_> = paths.iter().filter_map(|path| kept.remove(path)).collect();
        drop(kept);
        drop(forgotten);
    }

    fn find(&self, path: &Path, bytes: u64) -> Option<Arc<MappedFile>> {
        let kept = self.kept();
        let found = kept.get(path).filter(|file| file.len() as u64 >= bytes && file.torn_at().is_none())?;
        Some(found.clone())
    }

    /// The mapping of a file if it is kept, or can be from now on.
    fn if_kept(&self, wanted: &Wanted) -> Result<Option<Arc<MappedFile>>> {
        if let Some(found) = self.find(&wanted.path, wanted.end) {
            return Ok(Some(found));
        }
        if !has_room(&mut self.kept(), &wanted.path, self.kept_max) {
            return Ok(None);
        }
        let file = open_file(Some(wanted.first), &wanted.path)?;
        Ok(Some(self.keep(&wanted.path, file)))
    }

    /// Keeps a mapping if there is room, unless another thread has come first with one that is as long.
    fn keep(&self, path: &Arc<Path>, file: Arc<MappedFile>) -> Arc<MappedFile> {
        let mut kept = self.kept();
        if !has_room(&mut kept, path, self.kept_max) {
            return file;
        }
        let before = match kept.entry(path.clone()) {
            Entry::Vacant(free) => {
                free.insert(file.clone());
                None
            }
            Entry::Occupied(used) if used.get().len() >= file.len() && used.get().torn_at().is_none() => {
                return used.get().clone();
            }
            Entry::Occupied(mut shorter) => Some(shorter.insert(file.clone())),
        };
        drop(kept);
        drop(before);
        file
    }
}

/// A file with segments of a list.
struct Wanted {
    path: Arc<Path>,
    /// Position of the first segment in it.
    first: usize,
    /// Offset after the last byte of any.
    end: u64,
}

/// Returns whether a file can be kept; forgets files without readers if that makes room.
fn has_room(kept: &mut HashMap<Arc<Path>, Arc<MappedFile>>, path: &Path, kept_max: usize) -> bool {
    if kept.len() >= kept_max && !kept.contains_key(path) {
        kept.retain(|_, file| Arc::strong_count(file) > 1);
    }
    kept.len() < kept_max || kept.contains_key(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::EngineError;
    use crate::segments::open_concat;
    use std::fs::{self, File};
    use std::io::Write;
    use windrow_format::block::{FormatError, Identity};
    use windrow_format::codec::Codec;
    use windrow_format::shuffle::ShuffleWriter;

    fn path(folder: &Path, name: &str, bytes: &[u8]) -> Arc<Path> {
        let path = folder.join(name);
        fs::write(&path, bytes).unwrap();
        path.into()
    }

    #[test]
    fn file_is_mapped_once_until_more_of_it_is_needed() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path(), "spool", b"first");
        let files = MappedFiles::new(10);
        let first = files.get(&path, 5).unwrap();
        File::options().append(true).open(&path).unwrap().write_all(b"second").unwrap();
        assert!(Arc::ptr_eq(&first, &files.get(&path, 3).unwrap()));
        let second = files.get(&path, 6).unwrap();
        assert_eq!((&first[..], &second[..]), (&b"first"[..], &b"firstsecond"[..]));
        assert!(Arc::ptr_eq(&second, &files.get(&path, 0).unwrap()), "the longer one is kept");
        files.forget(&path);
        assert!(!Arc::ptr_eq(&second, &files.get(&path, 0).unwrap()));
        assert_eq!(files.get(&path, 100).unwrap().len(), 11, "a reader finds that it is too short");
    }

    #[test]
    fn mapping_with_unreadable_bytes_is_not_used_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = path(folder.path(), "file", &[7; 3 << 12]);
        let files = MappedFiles::new(10);
        let torn = files.get(&path, 1).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(1).unwrap();
        assert_eq!(torn[1 << 12], 0);
        fs::write(&path, [8; 3 << 12]).unwrap();
        assert_eq!(files.get(&path, 3 << 12).unwrap()[1 << 12], 8);
    }

    #[test]
    fn files_in_use_are_kept_and_others_make_room() {
        let folder = tempfile::tempdir().unwrap();
        let [a, b, c] = ["a", "b", "c"].map(|name| path(folder.path(), name, name.as_bytes()));
        let files = MappedFiles::new(2);
        let (in_use, _) = (files.get(&a, 1).unwrap(), files.get(&b, 1).unwrap());
        let third = files.get(&c, 1).unwrap();
        assert!(Arc::ptr_eq(&in_use, &files.get(&a, 1).unwrap()) && Arc::ptr_eq(&third, &files.get(&c, 1).unwrap()));
        assert_eq!(&files.get(&b, 1).unwrap()[..], b"b", "it is handed out and not kept");
        assert_eq!(files.kept().len(), 2);
        files.retain(|path| *path == *c);
        assert!(files.kept().keys().eq([&c]));
    }

    fn segment(folder: &Path, name: &str) -> LocalSegment {
        let path = folder.join(name);
        let mut writer = ShuffleWriter::create(&path, Identity::default(), Codec::None).unwrap();
        (0..100u32).for_each(|n| writer.push(0, &n.to_be_bytes(), b"value").unwrap());
        LocalSegment::of(path, &writer.finish().unwrap()[0], Identity::default())
    }

    fn records(segments: Vec<LocalSegment>) -> Result<usize> {
        let mut records = 0;
        open_concat(segments)?.for_each(&|| Ok(()), |_, _| {
            records += 1;
            Ok(())
        })?;
        Ok(records)
    }

    #[test]
    fn readers_share_mappings_as_far_as_there_is_room() {
        let folder = tempfile::tempdir().unwrap();
        let of: Vec<_> = (0..4).map(|n| segment(folder.path(), &n.to_string())).collect();
        let files = MappedFiles::new(2);
        let mut lists = [(); 2].map(|()| [&of[..], &of[..2]].concat());
        lists.iter_mut().for_each(|list| files.attach(list).unwrap());
        for (one, other) in lists[0].iter().zip(&lists[1]) {
            match (&one.resident, &other.resident) {
                (Some(one), Some(other)) => assert!(Arc::ptr_eq(one, other)),
                (one, other) => assert!(one.is_none() && other.is_none()),
            }
        }
        assert_eq!(lists[0].iter().filter(|s| s.resident.is_some()).count(), 4);
        assert!(lists.into_iter().all(|list| records(list).unwrap() == 600));
    }

    #[test]
    fn missing_and_changed_files_are_blamed_on_their_segments() {
        let folder = tempfile::tempdir().unwrap();
        let of: Vec<_> = (0..3).map(|n| segment(folder.path(), &n.to_string())).collect();
        fs::remove_file(&of[1].path).unwrap();
        let mut list = [&of[..1], &of[..]].concat();
        for files in [MappedFiles::new(10), MappedFiles::new(0)] {
            let error = files.attach(&mut list).and_then(|()| records(list.clone())).unwrap_err();
            let EngineError::Segment { index: 2, source: FormatError::Gone(_), .. } = error else { panic!("{error}") };
        }
        // A byte of a mapped block changes before it is read; a file is cut, and reads as zeros.
        let mut list = vec![of[0].clone(), of[2].clone()];
        MappedFiles::new(10).attach(&mut list).unwrap();
        let mut bytes = fs::read(&of[2].path).unwrap();
        bytes[50] ^= 1;
        std::os::unix::fs::FileExt::write_all_at(&File::options().write(true).open(&of[2].path).unwrap(), &bytes, 0)
            .unwrap();
        let error = records(list).unwrap_err();
        let EngineError::Segment { index: 1, source: FormatError::Checksum { .. }, .. } = error else {
            panic!("{error}")
        };
        let mut list = vec![of[0].clone()];
        MappedFiles::new(10).attach(&mut list).unwrap();
        File::options().write(true).open(&of[0].path).unwrap().set_len(0).unwrap();
        let error = records(list).unwrap_err();
        assert!(matches!(error, EngineError::Segment { index: 0, .. }), "{error}");
    }

    #[test]
    fn segment_behind_the_end_of_its_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let whole = segment(folder.path(), "file");
        let mut list = vec![LocalSegment { offset: u64::MAX, ..whole }];
        MappedFiles::new(10).attach(&mut list).unwrap();
        let error = records(list).unwrap_err();
        let EngineError::Segment { index: 0, source: FormatError::Truncated, .. } = error else { panic!("{error}") };
    }
}
