//! A spool: one file to which many tasks of a process append their small outputs.
//!
//! A file for each output costs a lookup, an inode, a few blocks of metadata and a deletion, and its reader an open and a
//! mapping. For an output of some kilobytes that is more than its bytes cost. An append to a spool is one write.
//!
//! Space is reserved under a lock and written without it, so threads append at the same time. A place is returned after
//! its bytes are written, and its bytes never change from then on; the file around it grows. A write that fails returns no
//! place, and its space is given back to the file or to the file system.

use crate::durable::parent;
use crate::gather;
use crate::in_place::InPlace;
use crate::private;
use crate::quota::Charged;
use crate::regular_file;
use rustix::fs::{FallocateFlags, fallocate};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use windrow_failpoint::failpoint;
use windrow_model::total;

/// A part of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Offset of its first byte in the file.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
}

/// A file that grows by appends of many threads. It stays when this is dropped.
#[derive(Debug)]
pub struct Spool {
    path: Arc<Path>,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// The file is made by the first append, so that a process without outputs leaves no file behind.
    NotMade,
    Open {
        file: Arc<File>,
        place: InPlace,
        /// Offset after the last reserved byte.
        end: u64,
    },
    /// The path no longer leads to the file, so no reader would find another byte of it.
    Displaced,
}

impl Spool {
    /// A spool at a path that no file has. The first append makes the file, and its folder if needed.
    pub fn new(path: impl Into<Arc<Path>>) -> Spool {
        Spool { path: path.into(), state: Mutex::new(State::NotMade) }
    }

    /// The path of the file.
    pub fn path(&self) -> &Arc<Path> {
        &self.path
    }

    /// Appends pieces as one stretch of bytes, which count towards the quota of this thread. Makes one system call to write
    /// up to a megabyte, and one to look at the path.
    ///
    /// Returns `None` if the file takes no more bytes, although another file may: it was deleted or moved, or has reached
    /// the limit on the size of files.
    ///
    /// # Errors
    /// The file cannot be made or written, something else has its path, or the quota is exceeded. The spool holds none of
    /// the bytes then, and later appends are not affected.
    pub fn append(&self, pieces: &[&[u8]]) -> io::Result<Option<Place>> {
        let length = total(pieces.iter().map(|piece| piece.len() as u64));
        let mut charged = Charged::new();
        charged.add(length)?;
        let Some((file, offset)) = self.reserve(length)? else { return Ok(None) };
        let place = Place { offset, length };
        let ready = failpoint!("shuffle.write");
        match ready.and_then(|()| gather::write_all_at(&file, offset, pieces.iter().copied())) {
            Ok(()) => {
                charged.keep();
                Ok(Some(place))
            }
            Err(e) => {
                self.take_back(&file, place);
                if e.kind() == ErrorKind::FileTooLarge { Ok(None) } else { Err(e) }
            }
        }
    }

    /// Gives back the space of a place that was not reported to any reader.
    pub fn give_back(&self, place: Place) {
        let file = match &*self.state() {
            State::Open { file, .. } => file.clone(),
            State::NotMade | State::Displaced => return,
        };
        self.take_back(&file, place);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is one assignment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reserves the next `length` bytes; returns the file and their offset.
    fn reserve(&self, length: u64) -> io::Result<Option<(Arc<File>, u64)>> {
        let mut state = self.state();
        if let State::NotMade = *state {
            let file = create_with_folder(&self.path)?;
            let place = InPlace::of(&self.path, &file)?;
            *state = State::Open { file: Arc::new(file), place, end: 0 };
        }
        match &mut *state {
            State::Open { place, .. } if place.check().is_err() => {
                *state = State::Displaced;
                Ok(None)
            }
            State::Open { file, end, .. } => {
                let offset = *end;
                *end = end.checked_add(length).ok_or(ErrorKind::FileTooLarge)?;
                Ok(Some((file.clone(), offset)))
            }
            _ => Ok(None),
        }
    }

    /// Gives back the space of a place without readers: to the file if nothing follows, otherwise to the file system.
    fn take_back(&self, file: &File, failed: Place) {
        let mut state = self.state();
        if let State::Open { end, .. } = &mut *state
            && *end == failed.offset + failed.length
        {
            *end = failed.offset;
            // No place was reported behind this offset. If the file stays longer, the next append overwrites the rest.
            let _ = file.set_len(failed.offset);
            return;
        }
        drop(state);
        // On a file system without this call the bytes stay until the file is deleted.
        let _ = punch(file, failed);
    }
}

/// Creates a private file that does not exist yet, and its folder if needed.
fn create_with_folder(path: &Path) -> io::Result<File> {
    match private::create_new(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            private::create_folders(parent(path))?;
            private::create_new(path)
        }
        other => other,
    }
}

/// Frees the disk space of a place that has no readers. It reads as zeros from then on, and other places do not change.
///
/// # Errors
/// The file cannot be opened for writing, or its file system cannot free a part of a file.
pub fn erase(path: &Path, place: Place) -> io::Result<()> {
    punch(&regular_file::open_with(OpenOptions::new().write(true), path)?, place)
}

fn punch(file: &File, place: Place) -> io::Result<()> {
    if place.length == 0 {
        return Ok(());
    }
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    Ok(fallocate(file, flags, place.offset, place.length)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::{Quota, is_exceeded};
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use windrow_failpoint::arm;

    fn read(spool: &Spool, place: Place) -> Vec<u8> {
        let bytes = fs::read(spool.path()).unwrap();
        bytes[place.offset as usize..(place.offset + place.length) as usize].to_vec()
    }

    fn append(spool: &Spool, bytes: &[u8]) -> Place {
        spool.append(&[bytes]).unwrap().unwrap()
    }

    #[test]
    fn first_append_makes_a_private_file_and_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("job/spool");
        let spool = Spool::new(path.clone());
        assert!(!path.parent().unwrap().exists());
        let place = spool.append(&[b"ab", b"", b"c"]).unwrap().unwrap();
        assert_eq!((place, read(&spool, place)), (Place { offset: 0, length: 3 }, b"abc".to_vec()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, private::FILE_MODE);
        let other = Spool::new(path.clone());
        assert_eq!(other.append(&[b"x"]).unwrap_err().kind(), ErrorKind::AlreadyExists);
        drop(spool);
        assert_eq!(fs::read(path).unwrap(), b"abc");
    }

    #[test]
    fn threads_append_without_overlap_or_gap() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::new(folder.path().join("spool"));
        let bytes_of =
            |thread: usize, n: usize| vec![(thread * 50 + n) as u8; 1 + (thread * 7919 + n * 104_729) % 70_000];
        let mut places: Vec<(Place, Vec<u8>)> = std::thread::scope(|scope| {
            let appends = |thread| {
                let spool = &spool;
                move || {
                    let each = |n| {
                        let bytes = bytes_of(thread, n);
                        let (first, last) = bytes.split_at(bytes.len() / 3);
                        (spool.append(&[first, last]).unwrap().unwrap(), bytes)
                    };
                    (0..50).map(each).collect::<Vec<_>>()
                }
            };
            let threads: Vec<_> = (0..8).map(|thread| scope.spawn(appends(thread))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let all = fs::read(spool.path()).unwrap();
        places.sort_by_key(|(place, _)| place.offset);
        let mut end = 0;
        for (place, bytes) in places {
            assert_eq!((place.offset, place.length), (end, bytes.len() as u64));
            end += place.length;
            assert!(all[place.offset as usize..end as usize] == bytes);
        }
        assert_eq!(end, all.len() as u64);
    }

    #[test]
    fn failed_append_leaves_no_bytes_and_no_charge() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::new(folder.path().join("spool"));
        let _entered = Quota::new(100).enter();
        let first = append(&spool, &[1; 40]);
        for (action, expected) in [("enospc", Some(28)), ("eio", Some(5))] {
            let _armed = arm(&format!("shuffle.write={action}"));
            let error = spool.append(&[&[2; 60]]).unwrap_err();
            assert_eq!(error.raw_os_error(), expected);
        }
        let too_large = arm(&format!("shuffle.write=error({})", rustix::io::Errno::FBIG.raw_os_error()));
        assert_eq!(spool.append(&[&[2; 60]]).unwrap(), None, "another file may have room");
        drop(too_large);
        assert_eq!(fs::metadata(spool.path()).unwrap().len(), 40);
        let error = spool.append(&[&[3; 61]]).unwrap_err();
        assert!(is_exceeded(&error), "{error}");
        let second = append(&spool, &[4; 60]);
        assert_eq!(second, Place { offset: 40, length: 60 });
        assert_eq!((read(&spool, first), read(&spool, second)), (vec![1; 40], vec![4; 60]));
    }

    #[test]
    fn append_behind_a_failed_one_keeps_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::new(folder.path().join("spool"));
        append(&spool, &[1; 10]);
        let (file, offset) = spool.reserve(1 << 20).unwrap().unwrap();
        let failed = Place { offset, length: 1 << 20 };
        gather::write_all_at(&file, offset, [&[2; 1 << 19][..]]).unwrap();
        let behind = append(&spool, &[3; 10]);
        spool.take_back(&file, failed);
        assert_eq!(behind.offset, 10 + (1 << 20));
        assert_eq!(read(&spool, behind), [3; 10]);
        assert!(read(&spool, failed).iter().all(|b| *b == 0));
        assert_eq!(append(&spool, &[4]).offset, behind.offset + 10);
    }

    #[test]
    fn place_without_readers_is_used_again_or_freed() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::new(folder.path().join("spool"));
        spool.give_back(Place { offset: 0, length: 1 });
        let places = [1u8, 2, 3].map(|n| append(&spool, &[n; 100]));
        spool.give_back(places[2]);
        assert_eq!(fs::metadata(spool.path()).unwrap().len(), 200);
        spool.give_back(places[0]);
        assert_eq!((append(&spool, &[4; 5]).offset, read(&spool, places[1])), (200, vec![2; 100]));
    }

    #[test]
    fn deleted_or_replaced_spool_takes_no_more() {
        let folder = tempfile::tempdir().unwrap();
        for replaced in [false, true] {
            let spool = Spool::new(folder.path().join(format!("spool-{replaced}")));
            append(&spool, b"bytes");
            fs::remove_file(spool.path()).unwrap();
            if replaced {
                fs::write(spool.path(), b"of another").unwrap();
            }
            assert_eq!(spool.append(&[b"more"]).unwrap(), None);
            assert_eq!(spool.append(&[b"more"]).unwrap(), None);
            assert_eq!(fs::read(spool.path()).ok(), replaced.then(|| b"of another".to_vec()));
        }
    }

    #[test]
    fn file_that_cannot_be_made_is_made_by_a_later_append() {
        let folder = tempfile::tempdir().unwrap();
        let blocked = folder.path().join("blocked");
        fs::write(&blocked, b"").unwrap();
        let spool = Spool::new(blocked.join("spool"));
        assert!(spool.append(&[b"bytes"]).is_err());
        fs::remove_file(&blocked).unwrap();
        assert_eq!(append(&spool, b"bytes"), Place { offset: 0, length: 5 });
    }

    #[test]
    fn erased_place_frees_space_and_keeps_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::new(folder.path().join("spool"));
        let places = [0u8, 1, 2].map(|n| append(&spool, &vec![n + 1; 300_001]));
        File::open(spool.path()).unwrap().sync_all().unwrap();
        let before = fs::metadata(spool.path()).unwrap().blocks();
        match erase(spool.path(), places[1]) {
            Ok(()) => {
                assert!(read(&spool, places[1]).iter().all(|b| *b == 0));
                assert!(fs::metadata(spool.path()).unwrap().blocks() < before);
            }
            // Not every file system can.
            Err(e) => assert!(!crate::space::is_full(&e), "{e}"),
        }
        assert!(read(&spool, places[0]) == vec![1; 300_001] && read(&spool, places[2]) == vec![3; 300_001]);
        erase(spool.path(), Place { offset: 5, length: 0 }).unwrap();
        assert!(erase(&folder.path().join("missing"), places[0]).is_err());
    }
}
