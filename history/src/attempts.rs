//! The attempts of a job, put together from its events: each becomes a row when it has ended.

use crate::event::{Event, Key, Line, Name};
use crate::failure::LoggedFailure;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most workers of a job whose hosts are known.
const HOSTS_MAX: usize = 20_000;

/// Most tasks whose last attempt is known: more than a job may have.
const DONE_MAX: usize = 1 << 24;

/// The state of an attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttemptState {
    /// It waits on its worker for a slot.
    #[default]
    Queued,
    /// It has a slot, or places its parts.
    Running,
    /// Its result counts, or has counted.
    Done,
    /// It has ended with a failure.
    Failed,
    /// It has ended without a result and without a failure.
    Stopped,
}

impl AttemptState {
    /// All states.
    pub const ALL: [AttemptState; 5] =
        [AttemptState::Queued, AttemptState::Running, AttemptState::Done, AttemptState::Failed, AttemptState::Stopped];

    /// The state with this name.
    pub fn parse(name: &str) -> Option<AttemptState> {
        AttemptState::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// The name in JSON and lists.
    pub fn as_str(self) -> &'static str {
        match self {
            AttemptState::Queued => "queued",
            AttemptState::Running => "running",
            AttemptState::Done => "done",
            AttemptState::Failed => "failed",
            AttemptState::Stopped => "stopped",
        }
    }
}

/// An attempt as lists show it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRow {
    /// Number of the stage.
    pub stage: u32,
    /// Index of the task in its stage.
    pub task: u32,
    /// Number of the attempt of its task.
    pub attempt: u32,
    /// Epoch of the coordinator that started it.
    pub epoch: u64,
    /// Its state.
    pub state: AttemptState,
    /// Id of the worker.
    pub worker: String,
    /// Host of the worker, if known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// Why the task got it.
    pub cause: Name,
    /// Milliseconds since 1970 at which the worker got it.
    pub assigned_unix_ms: u64,
    /// Milliseconds that it waited on its worker for a slot.
    pub queued_ms: u64,
    /// Milliseconds that it had a slot or placed its parts, until now if it has not ended.
    pub duration_ms: u64,
    /// Milliseconds of computing in the executor, if it is done.
    #[serde(default)]
    pub run_ms: u64,
    /// Bytes of its input.
    pub bytes_in: u64,
    /// Records read, if it is done.
    #[serde(default)]
    pub records_in: u64,
    /// Bytes written to all outputs.
    #[serde(default)]
    pub bytes_out: u64,
    /// Records written to all outputs.
    #[serde(default)]
    pub records_out: u64,
    /// Bytes written to disk for want of memory.
    #[serde(default)]
    pub bytes_spilled: u64,
    /// Why it was stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Name>,
    /// What it failed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Box<LoggedFailure>>,
    /// The failure counts towards the limit of the job.
    #[serde(default)]
    pub charged: bool,
}

impl AttemptRow {
    /// The name of the attempt.
    pub fn key(&self) -> Key {
        Key { stage: self.stage, task: self.task, attempt: self.attempt, epoch: self.epoch }
    }

    /// The row as JSON.
    pub fn to_json(&self) -> String {
        // It serializes into memory, and has no maps.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The row of this JSON; `None` if it is none.
    pub fn parse(json: &str) -> Option<AttemptRow> {
        serde_json::from_str(json).ok()
    }
}

/// An attempt that has not ended.
#[derive(Clone, Debug, PartialEq)]
struct Open {
    worker: String,
    cause: Name,
    assigned: u64,
    started: Option<u64>,
    bytes: u64,
    /// A coordinator that began later has not heard of it yet.
    unheard: bool,
}

/// Follows the attempts of a job. Memory grows with those that have not ended, and by eight bytes for each task.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attempts {
    open: BTreeMap<Key, Open>,
    hosts: BTreeMap<String, String>,
    done: DoneTasks,
}

/// The attempt by which each task was done last: after a restart workers report finished attempts once more.
#[derive(Clone, Debug, Default, PartialEq)]
struct DoneTasks {
    stages: BTreeMap<u32, Vec<u64>>,
    tasks: usize,
}

impl DoneTasks {
    /// Zero is the mark of no attempt: epochs begin at one.
    fn mark(key: Key) -> u64 {
        key.epoch << 32 | u64::from(key.attempt)
    }

    fn has(&self, key: Key) -> bool {
        let stage = self.stages.get(&key.stage);
        stage.and_then(|tasks| tasks.get(key.task as usize)).is_some_and(|mark| *mark == Self::mark(key))
    }

    fn insert(&mut self, key: Key) {
        let (tasks, at) = (self.stages.entry(key.stage).or_default(), key.task as usize);
        if at >= tasks.len() {
            let more = at + 1 - tasks.len();
            if self.tasks + more > DONE_MAX {
                return;
            }
            self.tasks += more;
            tasks.resize(at + 1, 0);
        }
        tasks[at] = Self::mark(key);
    }
}

impl Attempts {
    /// Takes the next event, and gives each attempt that has ended by it.
    pub fn apply(&mut self, line: &Line, ended: &mut dyn FnMut(AttemptRow)) {
        let t = line.t;
        match &line.event {
            Event::WorkerJoined(worker) if self.hosts.len() < HOSTS_MAX => {
                self.hosts.insert(worker.worker.clone(), worker.host.clone());
            }
            Event::Assigned(assigned) => {
                let key = assigned.key();
                if self.done.has(key) {
                    return;
                }
                // A worker that returns with an attempt goes on with it.
                if let Some(known) = self.open.get_mut(&key).filter(|open| open.worker == assigned.worker) {
                    known.unheard = false;
                    if !assigned.queued {
                        known.started.get_or_insert(t);
                    }
                    return;
                }
                let open = Open {
                    worker: assigned.worker.clone(),
                    cause: assigned.cause.clone(),
                    assigned: t,
                    started: (!assigned.queued).then_some(t),
                    bytes: assigned.bytes,
                    unheard: false,
                };
                if let Some(lost) = self.open.insert(key, open) {
                    ended(self.row(key, &lost, t, AttemptState::Stopped));
                }
            }
            Event::Started(key) => {
                if let Some(open) = self.open.get_mut(key) {
                    open.started.get_or_insert(t);
                }
            }
            Event::Granted(key) => {
                if let Some(open) = self.open.get_mut(key) {
                    open.unheard = false;
                }
            }
            Event::Done(done) => {
                if self.done.has(done.key()) {
                    return;
                }
                self.done.insert(done.key());
                let (bytes_out, records_out) =
                    done.outputs.iter().fold((0u64, 0u64), |(b, r), o| (b.saturating_add(o.0), r.saturating_add(o.1)));
                let row = self.close(done.key(), &done.worker, t, AttemptState::Done);
                ended(AttemptRow {
                    run_ms: done.run_ms,
                    duration_ms: row.duration_ms.max(done.run_ms),
                    records_in: done.records_in,
                    bytes_out,
                    records_out,
                    bytes_spilled: done.spilled,
                    ..row
                });
            }
            Event::Failed(failed) => {
                let row = self.close(failed.key(), &failed.worker, t, AttemptState::Failed);
                ended(AttemptRow { failure: Some(Box::new(failed.failure.clone())), charged: failed.charged, ..row });
            }
            Event::Stopped(stopped) => {
                let row = self.close(stopped.key(), &stopped.worker, t, AttemptState::Stopped);
                ended(AttemptRow { stopped: Some(stopped.why.clone()), ..row });
            }
            Event::Away { .. } => self.open.values_mut().for_each(|open| open.unheard = true),
            Event::Resumed => self.end_all(t, "coordinator-away", |open| open.unheard, ended),
            Event::Ended(_) => self.end_all(t, "job-ended", |_| true, ended),
            _ => {}
        }
    }

    /// The attempts that have not ended, at this time.
    pub fn open(&self, t: u64) -> impl Iterator<Item = AttemptRow> + '_ {
        self.open.iter().map(move |(key, open)| {
            let state = if open.started.is_some() { AttemptState::Running } else { AttemptState::Queued };
            self.row(*key, open, t, state)
        })
    }

    fn end_all(&mut self, t: u64, why: &'static str, which: impl Fn(&Open) -> bool, ended: &mut dyn FnMut(AttemptRow)) {
        let over: Vec<Key> = self.open.iter().filter(|(_, open)| which(open)).map(|(key, _)| *key).collect();
        for key in over {
            if let Some(open) = self.open.remove(&key) {
                let row = self.row(key, &open, t, AttemptState::Stopped);
                ended(AttemptRow { stopped: Some(why.into()), ..row });
            }
        }
    }

    /// Ends an attempt. One whose beginning is missing has no times.
    fn close(&mut self, key: Key, worker: &str, t: u64, state: AttemptState) -> AttemptRow {
        let open = self.open.remove(&key).unwrap_or_else(|| Open {
            worker: worker.to_string(),
            cause: "unknown".into(),
            assigned: t,
            started: None,
            bytes: 0,
            unheard: false,
        });
        self.row(key, &open, t, state)
    }

    fn row(&self, key: Key, open: &Open, t: u64, state: AttemptState) -> AttemptRow {
        AttemptRow {
            stage: key.stage,
            task: key.task,
            attempt: key.attempt,
            epoch: key.epoch,
            state,
            worker: open.worker.clone(),
            host: self.hosts.get(&open.worker).cloned().unwrap_or_default(),
            cause: open.cause.clone(),
            assigned_unix_ms: open.assigned,
            queued_ms: open.started.unwrap_or(t).saturating_sub(open.assigned),
            duration_ms: open.started.map_or(0, |started| t.saturating_sub(started)),
            bytes_in: open.bytes,
            ..AttemptRow::default()
        }
    }
}
