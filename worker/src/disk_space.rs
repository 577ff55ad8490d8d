//! Whether the disk of the data folder has space for another task: checked every two seconds, and sent with each beat.
//!
//! A task of its own checks it, since a disk that hangs must not delay beats; meanwhile the last answer stands.

use crate::scratch::Scratch;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use windrow_format::space::{Disk, spare_bytes};
use windrow_model::Escape;

/// A disk is full when fewer than its spare bytes are free. It has space again when this many times as much is free: the
/// hysteresis keeps the state from flapping with every file.
const FREE_AGAIN: u64 = 2;
/// A disk without free inodes has room again with as many: a removed note frees one.
const FILES_AGAIN: u64 = 64;
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The last known state of the disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Room(Arc<AtomicBool>);

impl Room {
    /// Whether the disk is full.
    pub(crate) fn is_full(&self) -> bool {
        self.0.load(Relaxed)
    }

    /// Checks the disk of the data folder periodically, until it is aborted. The start of the worker has checked it just now.
    pub(crate) async fn watch(self, scratch: Arc<Scratch>) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let (room, disk) = (self.clone(), scratch.clone());
            // A failed check keeps the last state.
            let _ = tokio::task::spawn_blocking(move || room.look_and_reserve(&disk)).await;
        }
    }

    /// Checks the disk of the data folder now, and fills its reserve if there is room. Blocks.
    pub(crate) fn look_and_reserve(&self, scratch: &Scratch) {
        self.look(&scratch.chunks());
        if !self.is_full()
            && let Err(e) = scratch.refill_reserve()
        {
            tracing::debug!("the reserve for a full disk cannot be filled: {e}");
        }
    }

    /// Checks the disk of this folder now. Blocks.
    pub(crate) fn look(&self, path: &Path) {
        let Ok(disk) = Disk::at(path) else { return };
        let full = is_full(self.is_full(), disk.free_bytes, disk.all_bytes, disk.free_files);
        if self.0.swap(full, Relaxed) != full {
            let has = if full { "has no room left" } else { "has room again" };
            tracing::warn!("the disk of {} {has}", path.escaped());
        }
    }
}

fn is_full(before: bool, free_bytes: u64, all_bytes: u64, files: Option<u64>) -> bool {
    let needed = spare_bytes(all_bytes) * if before { FREE_AGAIN } else { 1 };
    free_bytes < needed || files.is_some_and(|files| files < if before { FILES_AGAIN } else { 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disk_full_state_has_hysteresis() {
        let (mib, tib) = (1 << 20, 1 << 40);
        assert!(!is_full(false, 65 * mib, tib, None));
        assert!(is_full(false, 63 * mib, tib, None));
        assert!(is_full(true, 127 * mib, tib, None));
        assert!(!is_full(true, 128 * mib, tib, None));
        // A small disk is not full from the beginning.
        assert!(!is_full(false, 2 * mib, 64 * mib, None));
        assert!(is_full(false, mib / 2, 64 * mib, None));
        assert!(is_full(false, 65 * mib, tib, Some(0)) && !is_full(false, 65 * mib, tib, Some(1)));
        assert!(is_full(true, tib, tib, Some(63)) && !is_full(true, tib, tib, Some(64)));
    }

    #[test]
    fn an_ordinary_disk_has_room() {
        let folder = tempfile::tempdir().unwrap();
        let room = Room::default();
        room.look(folder.path());
        assert!(!room.is_full());
        room.look(&folder.path().join("not there"));
        assert!(!room.is_full());
    }
}
