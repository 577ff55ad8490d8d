//! The scrub: a thread that reads every chunk of this worker once in a period and compares it with its digest, within a
//! rate limit. It also checks periodically that the files exist, and deletes expired chunks from the trash.
//!
//! Its findings are news for the coordinator (`chunks.rs`), which restores copies. Its position is kept in the data
//! folder: a restarted worker resumes there.

use crate::chunks::Chunks;
use crate::disk_space::Room;
use crate::membership::Membership;
use crate::pace::Pace;
use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use windrow_format::durable::{self, Durability};
use windrow_format::regular_file;
use windrow_model::Digest;
use windrow_proto::v1::ScrubProgress;

const FILE: &str = "scrub";
/// Minimum time in the trash, even on a full disk.
const TRASH_KEPT_MIN_MS: u64 = 3_600_000;
/// Interval of the checks that files exist.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Interval of writing down the position.
const NOTE_EVERY: Duration = Duration::from_secs(10);

/// Rate and retention.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub pace: Pace,
    /// How long chunks stay in the trash.
    pub trash_kept_ms: u64,
}

/// Progress of the current pass.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress(Arc<Mutex<ScrubProgress>>);

impl Progress {
    pub(crate) fn get(&self) -> ScrubProgress {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn change(&self, change: impl FnOnce(&mut ScrubProgress)) -> ScrubProgress {
        let mut progress = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut progress);
        *progress
    }
}

/// The running thread; it ends soon after this is dropped, and is not awaited: a disk may block it.
#[derive(Debug)]
pub(crate) struct Scrub {
    pub progress: Progress,
    _stop: Sender<()>,
}

impl Scrub {
    /// Starts the thread.
    pub(crate) fn start(
        chunks: Chunks,
        membership: Arc<Membership>,
        room: Room,
        root: PathBuf,
        settings: Settings,
    ) -> io::Result<Scrub> {
        let (stop, stopped) = channel();
        let progress = Progress::default();
        let file = root.join(FILE);
        let thread = Thread {
            chunks,
            membership,
            room,
            file,
            settings,
            progress: progress.clone(),
            stopped,
            began: Instant::now(),
        };
        std::thread::Builder::new().name("scrub".into()).spawn(move || drop(thread.run()))?;
        Ok(Scrub { progress, _stop: stop })
    }
}

struct Thread {
    chunks: Chunks,
    membership: Arc<Membership>,
    room: Room,
    file: PathBuf,
    settings: Settings,
    progress: Progress,
    stopped: Receiver<()>,
    began: Instant,
}

/// The worker is stopping.
struct Stopped;

impl Thread {
    fn run(self) -> Result<(), Stopped> {
        let mut after = self.read_note();
        loop {
            let began = Instant::now();
            after = self.pass(after.take())?;
            let period = Duration::from_millis(self.settings.pace.period_ms);
            // The next pass begins when this period is over; meanwhile only the existence of files is checked.
            while began.elapsed() < period {
                self.pause((period - began.elapsed()).min(LOOK_EVERY))?;
                self.look();
            }
            self.pause(Duration::from_millis(10))?;
        }
    }

    fn pause(&self, time: Duration) -> Result<(), Stopped> {
        match self.stopped.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => Ok(()),
            _ => Err(Stopped),
        }
    }

    /// Checks which files exist, and deletes expired chunks from the trash if a coordinator of this cluster has the
    /// session.
    fn look(&self) -> Vec<(Digest, u64)> {
        if self.membership.is_in_session() {
            let up_ms = self.began.elapsed().as_millis() as u64;
            let deleted = self.chunks.empty_trash(up_ms, self.settings.trash_kept_ms);
            if deleted > 0 {
                tracing::info!("{deleted} chunks that nothing refers to are deleted from the trash");
            }
            self.make_room(up_ms);
        }
        self.chunks.compare().unwrap_or_else(|e| {
            tracing::error!("cannot list the chunks of datasets: {e}");
            Vec::new()
        })
    }

    /// On a full disk chunks are deleted from the trash before their time, the oldest first, until there is space.
    fn make_room(&self, up_ms: u64) {
        if !self.room.is_full() {
            return;
        }
        let kept_ms = TRASH_KEPT_MIN_MS.min(self.settings.trash_kept_ms);
        let deleted = self.chunks.empty_trash_while(up_ms, kept_ms, || {
            self.room.look(&self.chunks.folder());
            self.room.is_full()
        });
        if deleted > 0 {
            tracing::warn!("{deleted} chunks are deleted from the trash before their time: the disk has no room");
        }
    }

    /// One pass over all chunks after `after`. Returns where the next pass begins: at the beginning.
    fn pass(&self, after: Option<Digest>) -> Result<Option<Digest>, Stopped> {
        let all = self.look();
        let total: u64 = all.iter().map(|(_, length)| length).sum();
        let (read_before, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|(digest, _)| Some(*digest) <= after);
        let skipped: u64 = read_before.iter().map(|(_, length)| length).sum();
        self.progress.change(|p| (p.bytes_done, p.bytes_total) = (skipped, total));
        if let Err(e) = self.chunks.check_damaged() {
            tracing::error!("cannot look at damaged chunks again: {e}");
        }
        let (began, mut done) = (Instant::now(), 0);
        let (mut noted, mut looked) = (Instant::now(), Instant::now());
        for (digest, length) in rest {
            let was_here = self.chunks.path(digest).exists();
            let whole = self.chunks.check(digest, |file| {
                let _ = fadvise(&file, 0, None, Advice::Sequential);
                Paced { file, thread: self, began, done, total, read: 0 }
            });
            done += length;
            self.progress.change(|p| {
                p.bytes_done += length;
                // A chunk that was deleted meanwhile counts as neither.
                p.damaged += u64::from(!whole && was_here);
                p.gone += u64::from(!whole && !was_here);
            });
            let pause = self.settings.pace.pause_ms(done, total, began.elapsed().as_millis() as u64);
            self.pause(Duration::from_millis(pause))?;
            if noted.elapsed() >= NOTE_EVERY {
                noted = Instant::now();
                self.write_note(Some(digest));
            }
            if looked.elapsed() >= LOOK_EVERY {
                looked = Instant::now();
                self.look();
            }
        }
        self.progress.change(|p| {
            p.passes += 1;
            p.last_unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as u64);
        });
        self.write_note(None);
        Ok(None)
    }

    /// Writes down the position: losing it only costs repeated reads.
    fn write_note(&self, after: Option<Digest>) {
        let p = self.progress.get();
        let after = after.map(|digest| digest.to_string()).unwrap_or_default();
        let text = format!("{} {} {} {}\n{after}\n", p.passes, p.last_unix_ms, p.damaged, p.gone);
        if let Err(e) = durable::write_private(&self.file, text.as_bytes(), Durability::NoSync) {
            tracing::debug!("how far the scrub is cannot be noted: {e}");
        }
    }

    fn read_note(&self) -> Option<Digest> {
        let text = regular_file::read_note(&self.file).ok()?;
        let mut lines = text.lines();
        let numbers: Vec<u64> = lines.next()?.split(' ').map_while(|n| n.parse().ok()).collect();
        let &[passes, last_unix_ms, damaged, gone] = &numbers[..] else { return None };
        self.progress.change(|p| *p = ScrubProgress { passes, last_unix_ms, damaged, gone, ..*p });
        lines.next()?.parse().ok()
    }
}

/// Reads a file at the allowed rate. Its pages leave the cache afterwards, except mapped ones.
struct Paced<'a> {
    file: File,
    thread: &'a Thread,
    began: Instant,
    /// Bytes of the pass before this file.
    done: u64,
    total: u64,
    read: u64,
}

impl Read for Paced<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let elapsed_ms = self.began.elapsed().as_millis() as u64;
        let pause = self.thread.settings.pace.pause_ms(self.done + self.read, self.total, elapsed_ms);
        // A stop is noticed after the chunk: partially read chunks are not judged.
        if pause > 0 {
            std::thread::sleep(Duration::from_millis(pause.min(1_000)));
        }
        let read = self.file.read(buffer)?;
        self.read += read as u64;
        Ok(read)
    }
}

impl Drop for Paced<'_> {
    fn drop(&mut self) {
        let _ = fadvise(&self.file, 0, None, Advice::DontNeed);
    }
}
