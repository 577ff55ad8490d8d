//! The summary of a job, made at its end: what lists and pages need, without the log.
//!
//! The file is one JSON object of two lines: the *head*, which lists read, and the *body*. It has at most [`BYTES_MAX`]
//! bytes, whatever the job was: lists are shortened until it fits, and say how much they leave off.

use crate::attempts::AttemptRow;
use crate::event::{Header, Name, StageName};
use crate::failure::LoggedFailure;
use crate::files::{Folder, JobFiles};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use windrow_failpoint::failpoint;
use windrow_format::{private, regular_file};
use windrow_model::{Counters, FailedAttempt, JobFilter, JobId, JobState, JobStatus, StageId, StageStatus, TaskTotals};

/// Most bytes of a summary.
pub const BYTES_MAX: usize = 256 << 10;
/// Most bytes of its head.
pub(crate) const HEAD_BYTES_MAX: usize = 8 << 10;
/// Most bytes of a name, and of a message, in a head.
const HEAD_TEXT_MAX: usize = 1 << 10;

/// What lists of jobs show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Version of the format.
    pub version: u32,
    /// Id of the job.
    pub job: String,
    /// Name of the job.
    pub name: String,
    /// `done`, `failed`, `cancelled`, or `unknown` if the log has no end.
    pub state: String,
    /// Code of the failure.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub code: String,
    /// The beginning of its message.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Milliseconds since 1970 at which it was submitted.
    pub submitted_unix_ms: u64,
    /// Milliseconds from then to the end.
    pub elapsed_ms: u64,
    /// Number of stages.
    pub stages: u64,
    /// Number of tasks.
    pub tasks: u64,
    /// Tasks with a result.
    pub tasks_done: u64,
    /// Failed attempts that were charged.
    pub tasks_failed: u64,
    /// Attempts that have had a slot.
    pub attempts: u64,
    /// Backups among them.
    pub backups: u64,
}

/// All of a summary.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// What lists show.
    pub head: Head,
    /// The rest.
    pub body: Body,
}

/// What a page of the job shows beside its head.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    /// The first line of the last part of the log.
    pub log: Header,
    /// Type name of the job within the binary.
    pub program: String,
    /// Digest of the binary.
    pub binary: String,
    /// Fingerprint of the plan.
    pub fingerprint: String,
    /// Settings in effect.
    pub settings: BTreeMap<String, String>,
    /// Bytes of all inputs.
    pub input_bytes: u64,
    /// The inputs, as given.
    pub inputs: Listed<String>,
    /// Locations of the outputs.
    pub outputs: Listed<String>,
    /// What the job failed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<LoggedFailure>,
    /// The stages, in the order of the plan.
    pub stages: Listed<StageSummary>,
    /// Sums of the counters over committed attempts.
    pub counters: Listed<(String, u64)>,
    /// Failed attempts, in the order in which they failed.
    pub failed: Listed<AttemptRow>,
    /// The attempts that took longest, longest first.
    pub slowest: Listed<AttemptRow>,
    /// The attempts by the causes for which tasks got them.
    pub causes: BTreeMap<String, CauseTotal>,
    /// Records that were set aside.
    pub bad_records: Listed<LoggedFailure>,
    /// The workers that the job has used.
    pub workers: Listed<WorkerSummary>,
    /// When there was no coordinator: from and to, in milliseconds since 1970.
    pub away: Listed<(u64, u64)>,
    /// Milliseconds since 1970 at which the commit began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit_began: Option<u64>,
    /// Events that the log lacks.
    pub dropped: u64,
    /// Places of the log at which bytes are no events.
    pub damaged: u64,
}

/// The first items of a list, or the most important ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed<T> {
    /// The items.
    pub items: Vec<T>,
    /// Number of further ones.
    pub left_off: u64,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Listed { items: Vec::new(), left_off: 0 }
    }
}

impl<T> Listed<T> {
    /// Adds an item, if there are fewer than this.
    pub(crate) fn push(&mut self, item: T, items_max: usize) {
        match self.items.len() < items_max {
            true => self.items.push(item),
            false => self.left_off += 1,
        }
    }

    /// Leaves off all items but the first.
    pub(crate) fn shorten(&mut self, items_max: usize) {
        self.left_off += self.items.len().saturating_sub(items_max) as u64;
        self.items.truncate(items_max);
    }
}

/// A stage at the end of its job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageSummary {
    /// Its operations, and where the code of the job makes them.
    #[serde(flatten)]
    pub name: StageName,
    /// Number of tasks.
    pub tasks: u64,
    /// Tasks with a result.
    pub tasks_done: u64,
    /// Failed attempts that were charged.
    pub tasks_failed: u64,
    /// Input bytes of finished tasks.
    pub bytes_done: u64,
    /// Input bytes of all tasks.
    pub bytes_total: u64,
    /// Records that finished tasks have read.
    #[serde(default)]
    pub records: u64,
    /// Milliseconds since 1970 at which it was opened first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened: Option<u64>,
    /// Milliseconds since 1970 at which it was done last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<u64>,
    /// How often it was done and had to be opened again.
    pub reopened: u64,
    /// Attempts that have ended.
    pub attempts: u64,
    /// Milliseconds of finished attempts with a slot.
    pub duration_ms: Percentiles,
    /// Milliseconds of them on a worker before they had a slot.
    pub queued_ms: Percentiles,
    /// Milliseconds of computing.
    pub run_ms: Percentiles,
    /// Bytes of their inputs.
    pub bytes_in: Percentiles,
    /// Records that they read.
    pub records_in: Percentiles,
    /// Bytes that they wrote.
    pub bytes_out: Percentiles,
    /// Records that they wrote.
    pub records_out: Percentiles,
    /// Bytes that they wrote to disk for want of memory.
    pub bytes_spilled: Percentiles,
}

/// A distribution in a few numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Percentiles {
    /// How many numbers.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
    /// The smallest.
    pub min: u64,
    /// A quarter is not larger. Like the other three, at most 3 % too large.
    pub p25: u64,
    /// The median.
    pub p50: u64,
    /// Three quarters are not larger.
    pub p75: u64,
    /// 95 of a hundred are not larger.
    pub p95: u64,
    /// The largest.
    pub max: u64,
}

/// The attempts that tasks got for one cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CauseTotal {
    /// Number of attempts.
    pub attempts: u64,
    /// Milliseconds that they had a slot.
    pub duration_ms: u64,
    /// Milliseconds of those whose result did not count: they failed or were stopped.
    pub lost_ms: u64,
}

/// A worker that the job has used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerSummary {
    /// Id of the worker.
    pub worker: String,
    /// Its host.
    pub host: String,
    /// Its number of slots.
    pub slots: u64,
    /// Attempts of the job that have ended there.
    pub attempts: u64,
    /// Those that failed there.
    pub failed: u64,
    /// What has become of it last: `joined`, `excluded`, `lost` or `left-out`.
    pub state: Name,
    /// The reason.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// How often it was lost or excluded.
    pub losses: u64,
}

impl Summary {
    /// Shortens lists and texts until the JSON has at most [`BYTES_MAX`] bytes, and returns it.
    pub fn to_json(&mut self) -> Vec<u8> {
        let cut = |text: &mut String, most: usize| text.truncate(text.floor_char_boundary(most.min(text.len())));
        cut(&mut self.head.name, HEAD_TEXT_MAX);
        cut(&mut self.head.message, HEAD_TEXT_MAX);
        let (mut items_max, mut text_max) = (16_384, 16 << 10);
        loop {
            let json = self.json();
            if json.len() <= BYTES_MAX || items_max == 0 {
                return json;
            }
            (items_max, text_max) = (items_max / 2, (text_max / 2).max(64));
            self.body.shorten(items_max, text_max);
        }
    }

    fn json(&self) -> Vec<u8> {
        // Both serialize into memory, without maps of other keys than text.
        let (head, body) = (serde_json::to_string(&self.head), serde_json::to_string(&self.body));
        format!("{{\"head\":{},\n\"body\":{}}}\n", head.unwrap_or_default(), body.unwrap_or_default()).into_bytes()
    }

    /// Reads a summary.
    pub fn parse(json: &[u8]) -> Option<Summary> {
        serde_json::from_slice(json).ok()
    }

    /// The status of the job as calls are answered with it. `None` if the summary is not of this job, or has no final state.
    pub fn status(&self, job: JobId) -> Option<JobStatus> {
        let Summary { head, body } = self;
        let stages = body.stages.items.iter().map(|stage| StageStatus {
            label: stage.name.label.clone(),
            tasks: TaskTotals { total: stage.tasks, done: stage.tasks_done, running: 0, failed: stage.tasks_failed },
            bytes_done: stage.bytes_done,
            bytes_total: stage.bytes_total,
            bytes_running: 0,
            records: stage.records,
        });
        let latest = body.failed.items.len().saturating_sub(FailedAttempt::LISTED_MAX);
        let failures = body.failed.items[latest..].iter().filter_map(|row| {
            let failure = row.failure.as_ref()?.cut_to(FailedAttempt::MESSAGE_BYTES_MAX).to_failure();
            Some(FailedAttempt {
                stage: StageId(row.stage),
                task: row.task,
                attempt: row.attempt,
                worker: row.worker.parse().ok()?,
                host: row.host.clone(),
                code: failure.code,
                message: failure.message,
                charged: row.charged,
                after_ms: (row.assigned_unix_ms + row.queued_ms + row.duration_ms)
                    .saturating_sub(head.submitted_unix_ms),
            })
        });
        Some(JobStatus {
            error: body.error.as_ref().map(LoggedFailure::to_failure),
            stages: stages.collect(),
            failures: failures.collect(),
            counters: Counters(body.counters.items.iter().cloned().collect()),
            outputs: body.outputs.items.clone(),
            ..head.status(job)?
        })
    }
}

impl Head {
    /// The status of the job as lists show it. `None` if the head is not of this job, or has no final state.
    pub fn status(&self, job: JobId) -> Option<JobStatus> {
        let state =
            [JobState::Done, JobState::Failed, JobState::Cancelled].into_iter().find(|s| s.as_str() == self.state);
        let state = state.filter(|_| self.job == job.to_string())?;
        let error = (!self.code.is_empty()).then(|| {
            let (code, message) = (self.code.clone(), self.message.clone());
            LoggedFailure { code, message, ..LoggedFailure::default() }.to_failure()
        });
        Some(JobStatus {
            name: self.name.clone(),
            tasks: TaskTotals { total: self.tasks, done: self.tasks_done, running: 0, failed: self.tasks_failed },
            attempts: self.attempts,
            backups: self.backups,
            error,
            submitted_unix_ms: self.submitted_unix_ms,
            elapsed_ms: self.elapsed_ms,
            ..JobStatus::new(job, state)
        })
    }
}

impl Body {
    fn shorten(&mut self, items_max: usize, text_max: usize) {
        let cut = |text: &mut String| text.truncate(text.floor_char_boundary(text_max.min(text.len())));
        let cut_failure = |failure: &mut LoggedFailure| *failure = failure.cut_to(text_max);
        cut(&mut self.program);
        cut(&mut self.log.name);
        self.settings.values_mut().for_each(cut);
        self.inputs.shorten(items_max);
        self.outputs.shorten(items_max);
        self.inputs.items.iter_mut().chain(&mut self.outputs.items).for_each(cut);
        self.error.iter_mut().for_each(cut_failure);
        self.stages.shorten(items_max);
        for stage in &mut self.stages.items {
            cut(&mut stage.name.label);
            cut(&mut stage.name.place);
        }
        self.counters.shorten(items_max);
        self.failed.shorten(items_max);
        self.slowest.shorten(items_max);
        let rows = self.failed.items.iter_mut().chain(&mut self.slowest.items);
        rows.for_each(|row| row.failure.iter_mut().for_each(|failure| **failure = failure.cut_to(text_max)));
        self.bad_records.shorten(items_max);
        self.bad_records.items.iter_mut().for_each(cut_failure);
        self.workers.shorten(items_max);
        self.workers.items.iter_mut().for_each(|worker| cut(&mut worker.reason));
        self.away.shorten(items_max);
        let few: Vec<String> = self.causes.keys().skip(items_max.max(32)).cloned().collect();
        few.iter().for_each(|cause| _ = self.causes.remove(cause));
    }
}

impl JobFiles {
    /// Writes the summary: readers see all of it or none.
    ///
    /// # Errors
    /// The file cannot be written or renamed.
    pub(crate) fn write_summary(&self, json: &[u8]) -> io::Result<()> {
        failpoint!("history.summary")?;
        private::create_folders(self.folder())?;
        let path = self.summary();
        let beside = path.with_extension("json.new");
        let mut file = regular_file::open_with(private::options().write(true).create(true).truncate(true), &beside)?;
        let written = file.write_all(json).and_then(|()| std::fs::rename(&beside, &path));
        if written.is_err() {
            let _ = std::fs::remove_file(&beside);
        }
        written
    }

    /// The summary, if there is a readable one.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn read_summary(&self) -> io::Result<Option<Summary>> {
        match regular_file::read(&self.summary(), 4 * BYTES_MAX as u64) {
            Ok(json) => Ok(Summary::parse(&json)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The head of the summary, if there is a readable one.
    pub(crate) fn read_head(&self) -> io::Result<Option<Head>> {
        let file = match regular_file::open(&self.summary()) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let mut text = Vec::with_capacity(2 << 10);
        file.take(HEAD_BYTES_MAX as u64).read_to_end(&mut text)?;
        let line = text.split(|b| *b == b'\n').next().unwrap_or_default();
        let head = line.strip_prefix(b"{\"head\":").and_then(|line| line.strip_suffix(b","));
        Ok(head.and_then(|head| serde_json::from_slice(head).ok()))
    }
}

/// The jobs of a history that a filter admits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PastJobs {
    /// The latest ones, latest first.
    pub jobs: Vec<JobStatus>,
    /// There may be more, before this job.
    pub next: Option<JobId>,
}

impl Folder {
    /// The latest jobs with a summary that the filter admits, before the job `before`, as many as the limit; reads only heads, and
    /// at most `reads_max` of them.
    ///
    /// # Errors
    /// A folder cannot be listed.
    pub fn list(&self, filter: &JobFilter, before: Option<JobId>, reads_max: usize) -> io::Result<PastJobs> {
        let mut found = PastJobs::default();
        let (mut reads, mut last) = (0, before);
        for month in self.months()? {
            for job in self.named_in(&month)?.1.into_iter().rev() {
                if before.is_some_and(|before| job >= before) {
                    continue;
                }
                if reads >= reads_max || filter.limit.is_some_and(|limit| found.jobs.len() >= limit as usize) {
                    found.next = last;
                    return Ok(found);
                }
                (reads, last) = (reads + 1, Some(job));
                // A summary that cannot be read hides one job, not the list.
                let Ok(Some(head)) = self.job(job).read_head() else { continue };
                found.jobs.extend(head.status(job).filter(|status| filter.admits(status)));
            }
        }
        Ok(found)
    }
}
