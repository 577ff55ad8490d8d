//! The output of executors on stdout and stderr: its beginning and its end, in bounded memory.
//!
//! An executor serves many tasks, so each piece carries the attempt that had been started last when it was written. The
//! child never blocks: excess bytes are dropped from the middle, and their number is shown. Logs of ended jobs are kept
//! for a while, because users ask for them then.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use windrow_model::{AttemptId, JobId};

/// Bytes kept of a stream's beginning, and of its end.
pub(crate) const KEPT_BYTES: usize = 64 << 10;
/// Ended jobs whose logs are kept.
const ENDED_JOBS_MAX: usize = 32;
/// Executors of one job whose logs are kept (each crash starts another).
const EXECUTORS_MAX: usize = 16;
const TAIL_LINES: usize = 20;
const TAIL_BYTES: usize = 8 << 10;

/// A piece of output and the attempt that it is attributed to, if one had been started.
pub(crate) type Piece = (Option<AttemptId>, Vec<u8>);

/// Which of the two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// The head and the tail of one stream.
#[derive(Debug, Default)]
struct Ring {
    head: Vec<Piece>,
    head_bytes: usize,
    tail: VecDeque<Piece>,
    tail_bytes: usize,
    dropped_bytes: u64,
}

impl Ring {
    fn append(&mut self, tag: Option<AttemptId>, bytes: &[u8]) {
        let (head, rest) = bytes.split_at(bytes.len().min(KEPT_BYTES - self.head_bytes));
        if !head.is_empty() {
            self.head_bytes += head.len();
            extend(self.head.last_mut(), tag, head).map(|piece| self.head.push(piece)).unwrap_or_default();
        }
        // Only the end of a flood can stay: the rest is not even copied.
        let (skipped, rest) = rest.split_at(rest.len().saturating_sub(KEPT_BYTES));
        self.dropped_bytes += skipped.len() as u64;
        if rest.is_empty() {
            return;
        }
        self.tail_bytes += rest.len();
        extend(self.tail.back_mut(), tag, rest).map(|piece| self.tail.push_back(piece)).unwrap_or_default();
        // Trimmed at twice the size, so that a byte is moved at most once on average.
        if self.tail_bytes > 2 * KEPT_BYTES {
            self.trim();
        }
    }

    fn trim(&mut self) {
        while self.tail_bytes > KEPT_BYTES {
            let excess = self.tail_bytes - KEPT_BYTES;
            let Some((_, first)) = self.tail.front_mut() else { break };
            let n = excess.min(first.len());
            first.drain(..n);
            if first.is_empty() {
                self.tail.pop_front();
            }
            self.tail_bytes -= n;
            self.dropped_bytes += n as u64;
        }
    }

    fn pieces(&mut self) -> Vec<Piece> {
        self.trim();
        let mut pieces = self.head.clone();
        if self.dropped_bytes > 0 {
            let tag = self.tail.front().and_then(|p| p.0);
            pieces.push((tag, format!("\n[... {} bytes left out ...]\n", self.dropped_bytes).into_bytes()));
        }
        pieces.extend(self.tail.iter().cloned());
        pieces
    }

    fn last_bytes(&self, count: usize) -> Vec<u8> {
        let mut out: Vec<u8> = Vec::new();
        for (_, bytes) in self.tail.iter().rev().chain(self.head.iter().rev()) {
            let n = bytes.len().min(count - out.len());
            out.splice(0..0, bytes[bytes.len() - n..].iter().copied());
        }
        out
    }
}

/// Appends to the last piece if it belongs to the same attempt, otherwise returns a new one.
fn extend(last: Option<&mut Piece>, tag: Option<AttemptId>, bytes: &[u8]) -> Option<Piece> {
    match last {
        Some((t, piece)) if *t == tag => {
            piece.extend_from_slice(bytes);
            None
        }
        _ => Some((tag, bytes.to_vec())),
    }
}

/// Both streams of one executor.
#[derive(Debug, Default)]
pub(crate) struct ExecutorLog {
    tag: Option<AttemptId>,
    stdout: Ring,
    stderr: Ring,
}

impl ExecutorLog {
    /// Attributes later output to this attempt.
    pub(crate) fn started(&mut self, attempt: AttemptId) {
        self.tag = Some(attempt);
    }

    /// Appends output.
    pub(crate) fn append(&mut self, stream: Stream, bytes: &[u8]) {
        let tag = self.tag;
        match stream {
            Stream::Stdout => self.stdout.append(tag, bytes),
            Stream::Stderr => self.stderr.append(tag, bytes),
        }
    }

    /// The last lines of stderr.
    pub(crate) fn stderr_tail(&self) -> String {
        let bytes = self.stderr.last_bytes(TAIL_BYTES);
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_end();
        let start = text.rmatch_indices('\n').nth(TAIL_LINES - 1).map_or(0, |(i, _)| i + 1);
        text[start..].to_string()
    }

    /// The kept output: stdout, then stderr.
    pub(crate) fn pieces(&mut self) -> Vec<Piece> {
        let mut pieces = self.stdout.pieces();
        pieces.extend(self.stderr.pieces());
        pieces
    }
}

/// A log that its executor's readers and `ReadLogs` share.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedLog(Arc<Mutex<ExecutorLog>>);

impl SharedLog {
    /// Locks the log; do not await while it is held.
    pub(crate) fn lock(&self) -> MutexGuard<'_, ExecutorLog> {
        // A log is consistent after every statement, so a panic elsewhere does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Kept {
    jobs: BTreeMap<JobId, VecDeque<SharedLog>>,
    ended: VecDeque<JobId>,
}

/// Logs of all jobs on this node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Logs(Arc<Mutex<Kept>>);

impl Logs {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A log for one more executor of this job.
    pub(crate) fn open(&self, job: JobId) -> SharedLog {
        let log = SharedLog::default();
        let mut kept = self.lock();
        kept.ended.retain(|j| *j != job);
        let of_job = kept.jobs.entry(job).or_default();
        if of_job.len() == EXECUTORS_MAX {
            of_job.pop_front();
        }
        of_job.push_back(log.clone());
        log
    }

    /// The job has ended: its logs may be evicted.
    pub(crate) fn ended(&self, job: JobId) {
        let mut kept = self.lock();
        if !kept.jobs.contains_key(&job) || kept.ended.contains(&job) {
            return;
        }
        kept.ended.push_back(job);
        if kept.ended.len() > ENDED_JOBS_MAX
            && let Some(oldest) = kept.ended.pop_front()
        {
            kept.jobs.remove(&oldest);
        }
    }

    /// The kept output of a job, oldest executor first.
    pub(crate) fn read(&self, job: JobId) -> Vec<Piece> {
        let logs: Vec<SharedLog> = self.lock().jobs.get(&job).into_iter().flatten().cloned().collect();
        logs.iter().flat_map(|log| log.lock().pieces()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windrow_sim::samples::{attempt, job_id as job};

    fn text(pieces: &[Piece]) -> String {
        pieces.iter().map(|p| String::from_utf8_lossy(&p.1)).collect()
    }

    #[test]
    fn log_flood_keeps_head_and_tail_and_marks_the_gap() {
        let mut ring = Ring::default();
        let line = b"0123456789abcde\n";
        for _ in 0..1_000_000 {
            ring.append(None, line);
        }
        assert!(ring.head_bytes + ring.tail_bytes <= 3 * KEPT_BYTES, "bounded whenever one looks");
        let kept = text(&ring.pieces());
        let missing = 16_000_000 - 2 * KEPT_BYTES;
        assert!(kept.contains(&format!("[... {missing} bytes left out ...]")));
        assert!(kept.starts_with("0123456789abcde\n") && kept.ends_with("0123456789abcde\n"));
    }

    #[test]
    fn one_giant_write_is_treated_like_many_small_ones() {
        let mut ring = Ring::default();
        let mut big = vec![b'x'; 10 << 20];
        big.extend_from_slice(b"end");
        ring.append(None, &big);
        let kept = text(&ring.pieces());
        assert!(kept.ends_with("xxend"));
        assert!(kept.len() < 2 * KEPT_BYTES + 100);
    }

    #[test]
    fn pieces_name_the_attempt_that_was_started_last() {
        let mut log = ExecutorLog::default();
        log.append(Stream::Stdout, b"plan ");
        log.started(attempt(1, 0));
        log.append(Stream::Stdout, b"a");
        log.append(Stream::Stdout, b"b");
        log.started(attempt(1, 1));
        log.append(Stream::Stdout, b"c");
        let expected: Vec<Piece> =
            vec![(None, b"plan ".into()), (Some(attempt(1, 0)), b"ab".into()), (Some(attempt(1, 1)), b"c".into())];
        assert_eq!(log.pieces(), expected);
    }

    #[test]
    fn the_tail_is_the_last_twenty_lines_of_stderr() {
        let mut log = ExecutorLog::default();
        for i in 0..100 {
            log.append(Stream::Stderr, format!("line {i}\n").as_bytes());
        }
        let tail = log.stderr_tail();
        assert_eq!(tail.lines().count(), 20);
        assert!(tail.starts_with("line 80\n") && tail.ends_with("line 99"));
        assert_eq!(ExecutorLog::default().stderr_tail(), "");
    }

    #[test]
    fn logs_of_the_oldest_jobs_that_are_over_go_first() {
        let logs = Logs::default();
        logs.open(job(0)).lock().append(Stream::Stdout, b"still running");
        for n in 1..100 {
            logs.open(job(n)).lock().append(Stream::Stdout, b"x");
            logs.ended(job(n));
        }
        assert_eq!(text(&logs.read(job(0))), "still running");
        assert_eq!(text(&logs.read(job(99))), "x");
        assert!(logs.read(job(1)).is_empty());
    }
}
