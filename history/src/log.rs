//! The thread that writes the logs of all jobs.
//!
//! ```text
//! driver ── Recorder ──▶ queue ──▶ thread: lines of each job ── 500 ms or 256 KiB ──▶ a frame at the end of its file
//!                                          end of the job ──▶ summary
//! ```
//! The driver never waits: beyond [`QUEUED_BYTES_MAX`] events are dropped and counted, and the log says how many. An event is on
//! its way to the disk half a second after it came; the page cache keeps it if the process dies. Errors of the disk drop events
//! and nothing else.

use crate::event::{Ended, Event, Line};
use crate::files::Folder;
use crate::read::Frames;
use crate::retention::Retention;
use crate::writer::{JobLog, WrittenBy};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use windrow_failpoint::crashpoint;
use windrow_model::{Escape, JobId};

/// About the bytes of events that wait for the thread; more are dropped.
pub const QUEUED_BYTES_MAX: usize = 64 << 20;
/// An event waits at most this long for others to be written with.
const FLUSH_AFTER: Duration = Duration::from_millis(500);
/// Bytes of the lines of one job that are written without waiting for more.
const FLUSH_BYTES: usize = 256 << 10;
/// Time between two tries to write the end of a job or its summary.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// Ended jobs that wait for such a try; those beyond get their summaries at the next start of a coordinator.
const RETRIES_MAX: usize = 1_000;
/// Time between two warnings.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Settings of a history.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it lies.
    pub folder: Folder,
    /// How long it is kept.
    pub retention: Retention,
    /// Version of Windrow.
    pub engine: String,
    /// Epoch of the coordinator.
    pub epoch: u64,
}

/// Counts of a history since its thread began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Events that no log has.
    pub dropped: u64,
    /// Errors of the disk.
    pub errors: u64,
}

#[derive(Default)]
struct Shared {
    queued_bytes: AtomicUsize,
    dropped: AtomicU64,
    errors: AtomicU64,
    live: Mutex<BTreeSet<JobId>>,
}

impl Shared {
    fn live(&self) -> std::sync::MutexGuard<'_, BTreeSet<JobId>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Command {
    /// The log of a job begins, or goes on.
    Begin {
        job: JobId,
        name: String,
    },
    Line {
        job: JobId,
        line: Line,
        weight: usize,
    },
    /// A job of an earlier epoch has ended, and has no summary.
    Finish {
        job: JobId,
        name: String,
        ended: Option<Box<Ended>>,
        t: u64,
    },
    /// Everything that was queued before is written before this is called.
    Flush(Box<dyn FnOnce() + Send>),
    Stop,
}

/// Takes the events of jobs. It never blocks.
pub struct Recorder {
    queue: mpsc::Sender<Command>,
    shared: Arc<Shared>,
    /// Events of each job that were dropped since its last one that was not; the end of a job waits here for room.
    lost: BTreeMap<JobId, Lost>,
}

#[derive(Default)]
struct Lost {
    events: u64,
    end: Option<Line>,
}

/// A history that others read while it is written.
#[derive(Clone)]
pub struct Reading {
    folder: Folder,
    queue: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

/// The threads of a history.
pub struct HistoryThreads {
    queue: mpsc::Sender<Command>,
    writer: JoinHandle<()>,
    stop_retention: mpsc::Sender<()>,
    retention: JoinHandle<()>,
}

/// Starts the threads.
///
/// # Errors
/// The system gives no thread.
pub fn start(settings: Settings) -> io::Result<(Recorder, Reading, HistoryThreads)> {
    let (queue, commands) = mpsc::channel();
    let shared = Arc::new(Shared::default());
    let Settings { folder, retention, engine, epoch } = settings;
    let mut writer = Writer {
        folder: folder.clone(),
        by: WrittenBy { engine, epoch },
        shared: shared.clone(),
        frames: Frames::new()?,
        jobs: BTreeMap::new(),
        due: BTreeSet::new(),
        retries: 0,
        warned: None,
    };
    let writer = std::thread::Builder::new().name("history".into()).spawn(move || writer.run(&commands))?;
    let (stop_retention, stopped) = mpsc::channel();
    let (kept, live) = (folder.clone(), shared.clone());
    let retention = std::thread::Builder::new()
        .name("history-keep".into())
        .spawn(move || retain(retention, &kept, &live, &stopped))?;
    let recorder = Recorder { queue: queue.clone(), shared: shared.clone(), lost: BTreeMap::new() };
    let reading = Reading { folder, queue: queue.clone(), shared };
    Ok((recorder, reading, HistoryThreads { queue, writer, stop_retention, retention }))
}

impl Recorder {
    /// The log of a job begins, or goes on after a restart.
    pub fn begin(&self, job: JobId, name: &str) {
        self.shared.live().insert(job);
        let _ = self.queue.send(Command::Begin { job, name: name.to_string() });
    }

    /// A job of an earlier epoch has no summary: it is made, with this end unless the log has one. An empty name is unknown.
    pub fn finish(&self, job: JobId, name: &str, ended: Option<Ended>, t: u64) {
        self.shared.live().insert(job);
        let _ = self.queue.send(Command::Finish { job, name: name.to_string(), ended: ended.map(Box::new), t });
    }

    /// Adds an event to the log of a job that has begun, at `t` milliseconds since 1970.
    pub fn record(&mut self, job: JobId, t: u64, event: Event) {
        let line = Line { t, event };
        if !self.lost.is_empty() && !self.catch_up(job, t) {
            return self.lose(job, line);
        }
        if let Some(line) = self.send(job, line) {
            self.lose(job, line);
        }
    }

    /// Whether ends of jobs wait for room in the queue.
    pub fn is_behind(&self) -> bool {
        self.lost.values().any(|lost| lost.end.is_some())
    }

    /// Sends the ends of jobs that waited for room.
    pub fn retry(&mut self) {
        let waiting: Vec<JobId> =
            self.lost.iter().filter(|(_, lost)| lost.end.is_some()).map(|(job, _)| *job).collect();
        for job in waiting {
            let Some(line) = self.lost.get_mut(&job).and_then(|lost| lost.end.take()) else { continue };
            match self.catch_up(job, line.t) {
                true => self.send(job, line).into_iter().for_each(|line| self.lose(job, line)),
                false => return self.lose(job, line),
            }
        }
    }

    /// Says in the log how many events were dropped. False if there is no room for that either.
    fn catch_up(&mut self, job: JobId, t: u64) -> bool {
        let Some(lost) = self.lost.remove(&job) else { return true };
        let n = lost.events;
        if n > 0 && self.send(job, Line { t, event: Event::Dropped { n } }).is_some() {
            self.lost.insert(job, lost);
            return false;
        }
        true
    }

    /// Queues a line. Returns it if there is no room.
    fn send(&self, job: JobId, line: Line) -> Option<Line> {
        let weight = line.event.weight();
        if self.shared.queued_bytes.fetch_add(weight, Ordering::Relaxed) + weight > QUEUED_BYTES_MAX {
            self.shared.queued_bytes.fetch_sub(weight, Ordering::Relaxed);
            return Some(line);
        }
        // Without the thread the coordinator goes on, and so do its jobs.
        let _ = self.queue.send(Command::Line { job, line, weight });
        None
    }

    fn lose(&mut self, job: JobId, line: Line) {
        let lost = self.lost.entry(job).or_default();
        if matches!(line.event, Event::Ended(_)) {
            lost.end = Some(line);
        } else {
            lost.events += 1;
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Reading {
    /// The folder.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Whether the log of the job is being written.
    pub fn is_live(&self, job: JobId) -> bool {
        self.shared.live().contains(&job)
    }

    /// Calls this on the history's thread when everything recorded before is written. Dropped without a call if the thread has
    /// ended.
    pub fn after_flush(&self, then: impl FnOnce() + Send + 'static) {
        let _ = self.queue.send(Command::Flush(Box::new(then)));
    }

    /// Counts.
    pub fn health(&self) -> Health {
        let Shared { dropped, errors, .. } = &*self.shared;
        Health { dropped: dropped.load(Ordering::Relaxed), errors: errors.load(Ordering::Relaxed) }
    }
}

impl HistoryThreads {
    /// Waits until everything is written that was recorded before.
    pub fn join(self) {
        let _ = self.queue.send(Command::Stop);
        drop(self.stop_retention);
        if self.writer.join().is_err() || self.retention.join().is_err() {
            tracing::error!("a thread of the history panicked");
        }
    }
}

/// The state of the thread.
struct Writer {
    folder: Folder,
    by: WrittenBy,
    shared: Arc<Shared>,
    frames: Frames,
    jobs: BTreeMap<JobId, Log>,
    /// When the lines of a job are written at the latest.
    due: BTreeSet<(Instant, JobId)>,
    /// Ended jobs among `jobs` whose end or summary could not be written.
    retries: usize,
    warned: Option<Instant>,
}

struct Log {
    log: JobLog,
    due: Option<Instant>,
    retries: bool,
}

impl Writer {
    fn run(&mut self, commands: &mpsc::Receiver<Command>) {
        loop {
            let now = Instant::now();
            let wait = self.due.first().map_or(Duration::from_secs(3600), |(at, _)| at.saturating_duration_since(now));
            match commands.recv_timeout(wait) {
                Ok(Command::Begin { job, name }) => _ = self.open(job, name),
                Ok(Command::Line { job, line, weight }) => {
                    self.shared.queued_bytes.fetch_sub(weight, Ordering::Relaxed);
                    self.take(job, line);
                }
                Ok(Command::Finish { job, name, ended, t }) => self.finish(job, name, ended, t),
                Ok(Command::Flush(then)) => {
                    self.flush_all();
                    then();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return self.flush_all(),
            }
            self.flush_due(Instant::now());
        }
    }

    /// Opens the log of a job. False if it cannot be read: then the job has no history.
    fn open(&mut self, job: JobId, name: String) -> bool {
        if self.jobs.contains_key(&job) {
            return true;
        }
        match JobLog::open(self.folder.job(job), name) {
            Ok(log) => {
                self.jobs.insert(job, Log { log, due: None, retries: false });
                true
            }
            Err(e) => {
                self.failed(job, "open the log", &e, 0);
                self.shared.live().remove(&job);
                false
            }
        }
    }

    fn take(&mut self, job: JobId, line: Line) {
        let Some(entry) = self.jobs.get_mut(&job) else {
            self.shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let is_end = matches!(line.event, Event::Ended(_));
        let bytes = entry.log.push(line);
        if is_end || bytes >= FLUSH_BYTES {
            self.flush(job);
        } else if entry.due.is_none() {
            let due = Instant::now() + FLUSH_AFTER;
            entry.due = Some(due);
            self.due.insert((due, job));
        }
    }

    fn finish(&mut self, job: JobId, name: String, ended: Option<Box<Ended>>, t: u64) {
        if !self.open(job, name) {
            return;
        }
        let Some(entry) = self.jobs.get_mut(&job) else { return };
        if let Some(ended) = ended.filter(|_| !entry.log.has_ended()) {
            entry.log.push(Line { t, event: Event::Ended(ended) });
        }
        if entry.log.has_lines() {
            return self.flush(job);
        }
        self.close(job);
    }

    fn flush_due(&mut self, now: Instant) {
        while let Some((at, job)) = self.due.first().copied()
            && at <= now
        {
            self.flush(job);
        }
    }

    fn flush_all(&mut self) {
        let all: Vec<JobId> =
            self.jobs.iter().filter(|(_, entry)| entry.log.has_lines()).map(|(job, _)| *job).collect();
        all.into_iter().for_each(|job| self.flush(job));
    }

    /// Writes the lines of a job, and its summary if it has ended.
    fn flush(&mut self, job: JobId) {
        let Some(entry) = self.jobs.get_mut(&job) else { return };
        if let Some(due) = entry.due.take() {
            self.due.remove(&(due, job));
        }
        crashpoint!("history.flush");
        match entry.log.flush(&self.by, &mut self.frames) {
            Ok(()) if entry.log.has_ended() => self.close(job),
            Ok(()) => {}
            Err((e, dropped)) => {
                let is_ending = entry.log.is_ending();
                self.failed(job, "write the log", &e, dropped);
                if is_ending {
                    self.retry_later(job);
                }
            }
        }
    }

    /// Writes the summary, and forgets the job.
    fn close(&mut self, job: JobId) {
        let Some(entry) = self.jobs.get(&job) else { return };
        match entry.log.write_summary() {
            Ok(()) => self.forget(job),
            Err(e) => {
                self.failed(job, "write the summary", &e, 0);
                self.retry_later(job);
            }
        }
    }

    fn retry_later(&mut self, job: JobId) {
        let Some(entry) = self.jobs.get_mut(&job) else { return };
        if !std::mem::replace(&mut entry.retries, true) {
            self.retries += 1;
        }
        if self.retries > RETRIES_MAX {
            return self.forget(job);
        }
        let due = Instant::now() + RETRY_AFTER;
        entry.due = Some(due);
        self.due.insert((due, job));
    }

    fn forget(&mut self, job: JobId) {
        if let Some(entry) = self.jobs.remove(&job) {
            entry.due.into_iter().for_each(|due| _ = self.due.remove(&(due, job)));
            self.retries -= usize::from(entry.retries);
        }
        self.shared.live().remove(&job);
    }

    fn failed(&mut self, job: JobId, what: &str, e: &io::Error, dropped: u64) {
        self.shared.dropped.fetch_add(dropped, Ordering::Relaxed);
        let errors = self.shared.errors.fetch_add(1, Ordering::Relaxed) + 1;
        if self.warned.is_none_or(|at| at.elapsed() >= WARN_EVERY) {
            self.warned = Some(Instant::now());
            let (folder, dropped) = (self.folder.path().escaped(), self.shared.dropped.load(Ordering::Relaxed));
            tracing::warn!(%job, errors, dropped, "{folder}: the history cannot {what}, jobs go on without it: {e}");
        }
    }
}

fn retain(retention: Retention, folder: &Folder, shared: &Shared, stopped: &mpsc::Receiver<()>) {
    if !retention.is_on() {
        return;
    }
    loop {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        match retention.apply(folder, &|job| shared.live().contains(&job), now) {
            Ok(0) => {}
            Ok(n) => tracing::info!("the histories of {n} jobs are deleted"),
            Err(e) => tracing::warn!("{}: old histories stay: {e}", folder.path().escaped()),
        }
        match stopped.recv_timeout(retention.pass_interval()) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fold::Fold;
    use crate::read::Cursor;
    use std::fs;
    use std::ops::ControlFlow;

    fn job(n: u8) -> JobId {
        JobId::from_bytes([n; 16])
    }

    fn begin(folder: &Folder, epoch: u64) -> (Recorder, Reading, HistoryThreads) {
        let settings =
            Settings { folder: folder.clone(), retention: Retention::default(), engine: "test".into(), epoch };
        start(settings).unwrap()
    }

    fn ended() -> Event {
        Event::Ended(Box::new(Ended { state: "done".into(), ..Ended::default() }))
    }

    fn flush(reading: &Reading) {
        let (done, waits) = mpsc::channel();
        reading.after_flush(move || done.send(()).unwrap());
        waits.recv().unwrap();
    }

    fn events(folder: &Folder, job: JobId) -> Vec<Event> {
        let mut events = Vec::new();
        let end = folder.job(job).read(Cursor::default(), false, &mut |logged| {
            events.push(logged.line.event);
            ControlFlow::Continue(())
        });
        end.unwrap();
        events
    }

    /// Waits for what the thread does by its own clock.
    fn wait_until(what: impl Fn() -> bool) {
        let until = Instant::now() + Duration::from_secs(20);
        while !what() {
            assert!(Instant::now() < until, "it does not happen");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[test]
    fn event_reaches_the_file_without_another_one() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path().join("history"));
        let (mut recorder, _reading, threads) = begin(&folder, 1);
        recorder.begin(job(1), "words");
        recorder.record(job(1), 5, Event::Cancelled);
        wait_until(|| events(&folder, job(1)).len() == 2);
        assert!(matches!(&events(&folder, job(1))[0], Event::Log(h) if h.name == "words" && h.version == 1));
        threads.join();
    }

    #[test]
    fn files_of_a_history_are_private() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path().join("history"));
        let (mut recorder, _reading, threads) = begin(&folder, 1);
        recorder.begin(job(1), "words");
        recorder.record(job(1), 5, ended());
        threads.join();
        let files = folder.job(job(1));
        let mode = |path: &std::path::Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!([mode(&files.part(0)), mode(&files.summary()), mode(folder.path())], [0o600, 0o600, 0o700]);
    }

    #[test]
    fn full_queue_drops_events_and_keeps_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path());
        let (mut recorder, reading, threads) = begin(&folder, 1);
        let (go_on, wait) = mpsc::channel::<()>();
        reading.after_flush(move || _ = wait.recv());
        recorder.begin(job(1), "words");
        let tasks = vec![0; QUEUED_BYTES_MAX / 64];
        (0..40).for_each(|n| recorder.record(job(1), n, Event::Planned { input_bytes: n, tasks: tasks.clone() }));
        (0..20_000).for_each(|n| recorder.record(job(1), n, Event::Cancelled));
        recorder.record(job(1), 50, ended());
        let dropped = reading.health().dropped;
        assert!(dropped > 20 && recorder.is_behind(), "{dropped}");
        go_on.send(()).unwrap();
        flush(&reading);
        recorder.retry();
        assert!(!recorder.is_behind());
        threads.join();
        let events = events(&folder, job(1));
        assert_eq!(events.last(), Some(&ended()));
        let said = events.iter().map(|event| if let Event::Dropped { n } = event { *n } else { 0 });
        assert_eq!(
            (said.sum::<u64>(), events.len() as u64 - 1),
            (dropped, 20_041 - dropped + events.iter().filter(|e| matches!(e, Event::Dropped { .. })).count() as u64)
        );
        assert_eq!(folder.job(job(1)).read_summary().unwrap().unwrap().body.dropped, dropped);
    }

    #[test]
    fn errors_of_the_disk_drop_events_and_the_log_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path().join("history"));
        fs::write(folder.path(), "in the way").unwrap();
        let (mut recorder, reading, threads) = begin(&folder, 1);
        // The folder of the log cannot even be listed: this job has no history.
        recorder.begin(job(1), "none");
        recorder.record(job(1), 1, Event::Cancelled);
        flush(&reading);
        assert_eq!((reading.health().errors, reading.is_live(job(1))), (1, false));
        fs::remove_file(folder.path()).unwrap();
        recorder.begin(job(2), "words");
        recorder.record(job(2), 2, Event::Resumed);
        flush(&reading);
        let month = folder.job(job(2)).folder().to_path_buf();
        fs::remove_dir_all(&month).unwrap();
        fs::write(&month, "in the way").unwrap();
        (0..3).for_each(|n| recorder.record(job(2), n, Event::Cancelled));
        flush(&reading);
        assert_eq!(reading.health(), Health { dropped: 4, errors: 2 });
        fs::remove_file(&month).unwrap();
        fs::create_dir(&month).unwrap();
        recorder.record(job(2), 9, ended());
        threads.join();
        let found = events(&folder, job(2));
        assert_eq!(found[found.len() - 2..], [Event::Dropped { n: 3 }, ended()]);
    }

    #[test]
    fn history_is_completed_after_a_crash_at_the_job_end() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path());
        let (mut recorder, _reading, threads) = begin(&folder, 1);
        for n in 1..=2 {
            recorder.begin(job(n), "words");
            recorder.record(job(n), 5, Event::CommitBegan { parts: 3 });
        }
        threads.join();
        assert_eq!(folder.unfinished().unwrap(), BTreeSet::from([job(1), job(2)]));
        let (recorder, reading, threads) = begin(&folder, 2);
        let end = Ended { state: "failed".into(), ..Ended::default() };
        recorder.finish(job(1), "words", Some(end), 9);
        recorder.finish(job(2), "", None, 9);
        threads.join();
        assert!(folder.unfinished().unwrap().is_empty() && !reading.is_live(job(1)));
        let state = |n| folder.job(job(n)).read_summary().unwrap().unwrap().head.state;
        assert_eq!([state(1), state(2)], ["failed", "unknown"]);
        assert_eq!(events(&folder, job(1)).len(), 4, "two parts, each with a first line");
    }

    #[test]
    fn full_file_is_followed_by_the_next_one() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path());
        let (mut recorder, _reading, threads) = begin(&folder, 1);
        recorder.begin(job(1), "words");
        // Numbers that do not compress.
        let mut seed = 1u64;
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 32) as u32
        };
        for n in 0..60 {
            let tasks = (0..10_000).map(|_| next()).collect();
            recorder.record(job(1), n, Event::Planned { input_bytes: n, tasks });
        }
        recorder.record(job(1), 99, ended());
        threads.join();
        assert!(folder.job(job(1)).parts().unwrap().len() >= 2);
        let mut fold = Fold::default();
        let mut lines = 0;
        let end = folder.job(job(1)).read(Cursor::default(), false, &mut |logged| {
            fold.apply(&logged.line);
            lines += 1;
            ControlFlow::Continue(())
        });
        assert!(end.unwrap().is_some() && fold.has_ended());
        assert_eq!(lines, 61 + folder.job(job(1)).parts().unwrap().len());
    }
}
