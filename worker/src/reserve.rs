//! Room for the few notes that a worker must write even on a full disk: a file that gives some of its room back when one of them
//! finds none.
//!
//! A worker that cannot note its incarnation cannot register, and so would neither serve what it has nor delete what it should:
//! the disk would stay full. The file is filled while there is room (`disk_space.rs`), and holds bytes that do not compress, since
//! some file systems store others without taking room.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use windrow_format::space::is_full;
use windrow_format::{private, regular_file};

const FILE: &str = "reserve";
/// What the file holds when it is full.
const BYTES: u64 = 1 << 20;
/// What it gives back at a time: enough for the notes of one start.
const STEP_BYTES: u64 = 64 << 10;

/// The reserve of an open data folder.
#[derive(Debug)]
pub(crate) struct Reserve {
    file: PathBuf,
    /// Its file is changed by one thread at a time.
    turn: Mutex<()>,
}

impl Reserve {
    /// The reserve of this folder, which may have none yet.
    pub(crate) fn of(root: &Path) -> Reserve {
        Reserve { file: root.join(FILE), turn: Mutex::new(()) }
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

    /// Makes the last part of the file free. False if the file is empty, or not there.
    fn give_back(&self) -> io::Result<bool> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let file = match regular_file::open_with(private::options().write(true), &self.file) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            opened => opened?,
        };
        let bytes = file.metadata()?.len();
        if bytes > 0 {
            file.set_len(bytes.saturating_sub(STEP_BYTES))?;
            file.sync_all()?;
        }
        Ok(bytes > 0)
    }

    /// Fills the file up. Call it when the disk has room.
    ///
    /// # Errors
    /// The disk's own; what could be written stays.
    pub(crate) fn refill(&self) -> io::Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = regular_file::open_with(private::options().append(true).create(true), &self.file)?;
        let bytes = file.metadata()?.len();
        if bytes >= BYTES {
            return Ok(());
        }
        let mut noise = vec![0; (BYTES - bytes) as usize];
        blake3::Hasher::new().update(&bytes.to_le_bytes()).finalize_xof().fill(&mut noise);
        file.write_all(&noise)?;
        file.sync_all()
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
}
