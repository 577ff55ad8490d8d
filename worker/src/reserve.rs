//! Room for the few notes that a worker must write even on a full disk: a file that gives some of its room back when one of them
//! finds none, and empty files, each of which gives back an inode.
//!
//! A worker that cannot note its incarnation cannot register, and so would neither serve what it has nor delete what it should:
//! the disk would stay full. The file is filled while there is room (`disk_space.rs`), and holds bytes that do not compress, since
//! some file systems store others without taking room.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use windrow_format::space::{Disk, is_full};
use windrow_format::{private, regular_file};

const FILE: &str = "reserve";
/// What the file holds when it is full.
const BYTES: u64 = 1 << 20;
/// What it gives back at a time: enough for the notes of one start.
const STEP_BYTES: u64 = 64 << 10;
/// The folder of the empty files.
const SPARES: &str = "spares";
/// Their number when the reserve is full. A note takes one until it has replaced the note before it.
const SPARES_MAX: u64 = 32;
/// On a disk with fewer free inodes than this times as many, no empty file is made.
const SPARE_SHARE: u64 = 4;

/// The reserve of an open data folder.
#[derive(Debug)]
pub(crate) struct Reserve {
    file: PathBuf,
    spares: PathBuf,
    /// Its files are changed by one thread at a time.
    turn: Mutex<()>,
}

impl Reserve {
    /// The reserve of this folder, which may have none yet.
    pub(crate) fn of(root: &Path) -> Reserve {
        Reserve { file: root.join(FILE), spares: root.join(SPARES), turn: Mutex::new(()) }
    }

    /// Calls `write`; if the disk is full, gives back some room and calls it again, until there is no more to give.
    ///
    /// # Errors
    /// That of the last call.
    pub(crate) fn with_room<T>(&self, write: impl Fn() -> io::Result<T>) -> io::Result<T> {
        loop {
            match write() {
                Err(e) if is_full(&e) && self.give_back()? => {}
                written => return written,
            }
        }
    }

    /// Makes the last part of the file free, and one of the inodes: an error does not say which of them is missing. False if there
    /// is nothing left to give.
    fn give_back(&self) -> io::Result<bool> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let has_given_inode = self.give_back_inode();
        let file = match regular_file::open_with(private::options().write(true), &self.file) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(has_given_inode),
            opened => opened?,
        };
        let bytes = file.metadata()?.len();
        if bytes > 0 {
            file.set_len(bytes.saturating_sub(STEP_BYTES))?;
            file.sync_all()?;
        }
        Ok(bytes > 0 || has_given_inode)
    }

    /// Removes one of the empty files. False if there is none.
    fn give_back_inode(&self) -> bool {
        let mut entries = fs::read_dir(&self.spares).into_iter().flatten().flatten();
        entries.any(|entry| fs::remove_file(entry.path()).is_ok())
    }

    /// Fills it up. Call it when the disk has room.
    ///
    /// # Errors
    /// The disk's own; what could be written stays.
    pub(crate) fn refill(&self) -> io::Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = regular_file::open_with(private::options().append(true).create(true), &self.file)?;
        let bytes = file.metadata()?.len();
        if bytes < BYTES {
            let mut noise = vec![0; (BYTES - bytes) as usize];
            blake3::Hasher::new().update(&bytes.to_le_bytes()).finalize_xof().fill(&mut noise);
            file.write_all(&noise)?;
            file.sync_all()?;
        }
        self.refill_inodes()
    }

    /// Makes the empty files that are missing, unless they would take much of what is left.
    fn refill_inodes(&self) -> io::Result<()> {
        let present = match fs::read_dir(&self.spares) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                private::create_folders(&self.spares)?;
                0
            }
            entries => entries?.count() as u64,
        };
        let is_scarce = |free| free < SPARES_MAX * SPARE_SHARE;
        if present >= SPARES_MAX || Disk::at(&self.spares)?.free_files.is_some_and(is_scarce) {
            return Ok(());
        }
        for number in 0..SPARES_MAX {
            regular_file::open_with(
                private::options().write(true).create(true),
                &self.spares.join(number.to_string()),
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    fn full() -> io::Error {
        io::ErrorKind::StorageFull.into()
    }

    #[test]
    fn note_on_a_full_disk_gets_room_from_the_reserve() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::of(folder.path());
        let length = || folder.path().join(FILE).metadata().unwrap().len();
        assert_eq!(reserve.with_room(|| Err::<(), _>(full())).unwrap_err().kind(), io::ErrorKind::StorageFull);
        reserve.refill().unwrap();
        assert_eq!(length(), BYTES);
        assert_eq!(reserve.with_room(|| Ok(7)).unwrap(), 7);
        assert_eq!(length(), BYTES, "nothing is given back without need");
        let tries = Cell::new(0);
        let third = || match tries.replace(tries.get() + 1) {
            0 | 1 => Err(full()),
            n => Ok(n),
        };
        assert_eq!(reserve.with_room(third).unwrap(), 2);
        assert_eq!(length(), BYTES - 2 * STEP_BYTES);
        let other = reserve.with_room(|| Err::<(), _>(io::ErrorKind::PermissionDenied.into()));
        assert_eq!(other.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        reserve.refill().unwrap();
        assert_eq!(length(), BYTES);
        // It ends when nothing is left.
        assert!(reserve.with_room(|| Err::<(), _>(full())).is_err());
        assert_eq!(length(), 0);
    }

    #[test]
    fn note_on_a_disk_without_inodes_gets_one_from_the_reserve() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = Reserve::of(folder.path());
        let spares = || fs::read_dir(folder.path().join(SPARES)).unwrap().count() as u64;
        reserve.refill().unwrap();
        assert_eq!(spares(), SPARES_MAX);
        let without_two = || match spares() {
            n if n > SPARES_MAX - 2 => Err(full()),
            n => Ok(n),
        };
        assert_eq!(reserve.with_room(without_two).unwrap(), SPARES_MAX - 2);
        reserve.refill().unwrap();
        assert_eq!(spares(), SPARES_MAX);
        assert!(reserve.with_room(|| Err::<(), _>(full())).is_err());
        assert_eq!(spares(), 0, "it ends when nothing is left");
    }
}
