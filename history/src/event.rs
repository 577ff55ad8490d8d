//! The events of a job: one JSON object a line. `docs/history.md` describes the format for its readers.
//!
//! ```text
//! {"t":1764500000123,"e":"assigned","stage":0,"task":7,"attempt":0,"epoch":3,"worker":"worker-…","cause":"first",…}
//! ```
//! Kinds of events and fields are added, and never change their meaning. A reader takes an unknown kind for
//! [`Event::Unknown`], and an unknown cause for text.

use crate::failure::LoggedFailure;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Version of the format, in the first line of each file.
pub const VERSION: u32 = 1;
/// A name from a fixed list, which later releases extend.
pub type Name = Cow<'static, str>;

/// An event and its time.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// Milliseconds since 1970 by the coordinator's clock. They do not go back within an epoch.
    pub t: u64,
    /// What has happened.
    pub event: Event,
}

/// What has happened to a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "e", rename_all = "snake_case")]
pub enum Event {
    /// The first line of each file.
    Log(Header),
    /// A client has submitted the job.
    Submitted(Box<Submitted>),
    /// The inputs are cut.
    Planned {
        /// Bytes of all inputs.
        input_bytes: u64,
        /// Number of tasks of each stage.
        tasks: Vec<u32>,
    },
    /// Every stage that this one reads is done.
    StageOpened {
        /// Number of the stage.
        stage: u32,
    },
    /// All tasks of the stage are done.
    StageDone {
        /// Number of the stage.
        stage: u32,
    },
    /// Outputs of a done stage were lost.
    StageReopened {
        /// Number of the stage.
        stage: u32,
    },
    /// A worker has got an attempt.
    Assigned(Assigned),
    /// A queued attempt has a slot.
    Started(Key),
    /// The attempt has finished, and places its parts of outputs.
    Granted(Key),
    /// The task is done by this attempt.
    Done(Done),
    /// The attempt has ended with a failure.
    Failed(Box<Failed>),
    /// The attempt has ended without a result and without a failure.
    Stopped(Stopped),
    /// The job continues without a record.
    SetAside(Box<SetAside>),
    /// The job uses a worker for the first time, or the worker has returned.
    WorkerJoined(Worker),
    /// A worker that the job has used gets no tasks of any job for a while.
    WorkerExcluded(Worker),
    /// It takes tasks again.
    WorkerReadmitted(Worker),
    /// It is lost.
    WorkerLost(Worker),
    /// The worker does not see the files of the job, and gets no tasks of it.
    WorkerLeftOut {
        /// Id of the worker.
        worker: String,
        /// What it could not see.
        failure: Box<LoggedFailure>,
    },
    /// The worker sees them after all.
    WorkerTakenIn {
        /// Id of the worker.
        worker: String,
    },
    /// Every part is staged.
    CommitBegan {
        /// Number of parts.
        parts: u64,
    },
    /// The commit waits, or goes on.
    CommitWaits {
        /// What it waits for; absent if it goes on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// A client has cancelled the job.
    Cancelled,
    /// There was no coordinator.
    Away {
        /// Time of the last event before, in milliseconds since 1970.
        from: u64,
        /// Time at which the present coordinator began.
        to: u64,
        /// Its epoch.
        epoch: u64,
    },
    /// The job goes on after that: attempts that no worker has reported are over.
    Resumed,
    /// The job has ended, and all of its attempts have. The last line of a job.
    Ended(Box<Ended>),
    /// Events are missing here: the log could not be written fast enough, or at all.
    Dropped {
        /// Number of events.
        n: u64,
    },
    /// Made by readers: bytes here are no events.
    Damaged {
        /// Number of the file of the job.
        part: u32,
        /// Offset of the frame in that file, in bytes.
        offset: u64,
        /// What is wrong.
        what: Name,
    },
    /// Of a later release.
    #[serde(other)]
    Unknown,
}

/// The first line of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Version of the format.
    pub version: u32,
    /// Id of the job.
    pub job: String,
    /// Name of the job.
    pub name: String,
    /// Version of Windrow that wrote the file.
    pub engine: String,
    /// Epoch of the coordinator that wrote it.
    pub epoch: u64,
    /// Number of the file of the job, from zero.
    pub part: u32,
}

/// What was submitted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    /// Type name of the job within the binary.
    pub program: String,
    /// Digest of the binary.
    pub binary: String,
    /// Fingerprint of the plan.
    pub fingerprint: String,
    /// Settings in effect.
    pub settings: BTreeMap<String, String>,
    /// The stages of the plan.
    pub stages: Vec<StageName>,
    /// The inputs, as given.
    pub inputs: Vec<String>,
    /// Locations of the outputs.
    pub outputs: Vec<String>,
}

/// A stage for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageName {
    /// Its operations.
    pub label: String,
    /// Where the code of the job makes it.
    pub place: String,
}

/// What names an attempt within its job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// Number of the stage.
    pub stage: u32,
    /// Index of the task in its stage.
    pub task: u32,
    /// Number of the attempt of its task.
    pub attempt: u32,
    /// Epoch of the coordinator that started it.
    pub epoch: u64,
}

/// An attempt that a worker has got.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assigned {
    /// Number of the stage.
    pub stage: u32,
    /// Index of the task in its stage.
    pub task: u32,
    /// Number of the attempt of its task.
    pub attempt: u32,
    /// Epoch of the coordinator that started it.
    pub epoch: u64,
    /// Id of the worker.
    pub worker: String,
    /// Why the task gets an attempt: `first`, `retry`, `backup`, `outputs-lost` and so on.
    pub cause: Name,
    /// It waits there for a slot.
    #[serde(default, skip_serializing_if = "is_false")]
    pub queued: bool,
    /// Bytes of its input.
    pub bytes: u64,
}

/// An attempt that has finished.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Number of the stage.
    pub stage: u32,
    /// Index of the task in its stage.
    pub task: u32,
    /// Number of the attempt of its task.
    pub attempt: u32,
    /// Epoch of the coordinator that started it.
    pub epoch: u64,
    /// Id of the worker.
    pub worker: String,
    /// Milliseconds of computing in the executor.
    pub run_ms: u64,
    /// Records read.
    pub records_in: u64,
    /// Bytes and records of each output.
    pub outputs: Vec<(u64, u64)>,
    /// Bytes written to disk for want of memory.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub spilled: u64,
}

/// An attempt that has failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failed {
    /// Number of the stage.
    pub stage: u32,
    /// Index of the task in its stage.
    pub task: u32,
    /// Number of the attempt of its task.
    pub attempt: u32,
    /// Epoch of the coordinator that started it.
    pub epoch: u64,
    /// Id of the worker.
    pub worker: String,
    /// What happened.
    pub failure: LoggedFailure,
    /// It counts towards the number of failures at which the job fails.
    pub charged: bool,
    /// Why it does not: `worker-lost`, `fetch-failed` and so on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Name>,
}

/// An attempt that was stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// Number of the stage.
    pub stage: u32,
    /// Index of the task in its stage.
    pub task: u32,
    /// Number of the attempt of its task.
    pub attempt: u32,
    /// Epoch of the coordinator that started it.
    pub epoch: u64,
    /// Id of the worker.
    pub worker: String,
    /// `other-won`, `taken-back`, `inputs-lost`, `worker-lost` or `needless`.
    pub why: Name,
}

/// A record that the job leaves out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetAside {
    /// Number of the stage.
    pub stage: u32,
    /// Index of the task in its stage.
    pub task: u32,
    /// The record, and what it has caused.
    pub failure: LoggedFailure,
}

/// A change of a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    /// Id of the worker.
    pub worker: String,
    /// Its host.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// Its number of slots.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub slots: u64,
    /// Why its state has changed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// The end of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// `done`, `failed` or `cancelled`.
    pub state: Name,
    /// What it failed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<LoggedFailure>,
    /// Milliseconds since 1970 at which it was submitted.
    pub submitted: u64,
    /// Milliseconds from then to the end.
    pub elapsed_ms: u64,
    /// Attempts that have had a slot.
    pub attempts: u64,
    /// Backups among them.
    pub backups: u64,
    /// Counts of the stages, in the order of the plan.
    pub stages: Vec<StageEnd>,
    /// Sums of the counters over committed attempts.
    pub counters: BTreeMap<String, u64>,
    /// Locations of the outputs.
    pub outputs: Vec<String>,
}

/// The counts of a stage at the end of its job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageEnd {
    /// Its operations.
    pub label: String,
    /// Number of tasks.
    pub tasks: u64,
    /// Tasks with a result.
    pub done: u64,
    /// Failed attempts that were charged.
    pub failed: u64,
    /// Input bytes of finished tasks.
    pub bytes_done: u64,
    /// Input bytes of all tasks.
    pub bytes_total: u64,
    /// Records that finished tasks have read.
    #[serde(default)]
    pub records: u64,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

macro_rules! keyed {
    ($($event:ident)*) => { $(
        impl $event {
            /// The name of the attempt.
            pub fn key(&self) -> Key {
                Key { stage: self.stage, task: self.task, attempt: self.attempt, epoch: self.epoch }
            }
        }
    )* };
}
keyed!(Assigned Done Failed Stopped);

/// The time of a line, apart from its event.
#[derive(Deserialize)]
struct Stamp {
    t: u64,
}

impl Line {
    /// Appends the line with its end.
    pub fn write_to(&self, text: &mut Vec<u8>) {
        text.extend_from_slice(format!("{{\"t\":{},", self.t).as_bytes());
        let from = text.len();
        // Serializing into memory fails for maps whose keys are no text: there is none.
        if serde_json::to_writer(&mut *text, &self.event).is_err() {
            text.truncate(from);
            text.extend_from_slice(b"{\"e\":\"unknown\"}");
        }
        // The event's own brace.
        text.remove(from);
        text.push(b'\n');
    }

    /// Reads a line; `None` if it is none.
    pub fn parse(text: &[u8]) -> Option<Line> {
        let Stamp { t } = serde_json::from_slice(text).ok()?;
        let event = serde_json::from_slice(text).ok()?;
        Some(Line { t, event })
    }
}

impl Event {
    /// About the memory that it takes, in bytes.
    pub fn weight(&self) -> usize {
        const BASE: usize = 320;
        let of_failure = |failure: &LoggedFailure| {
            failure.message.len()
                + failure.stderr.len()
                + failure.record.len()
                + failure.file.as_ref().map_or(0, String::len)
        };
        let extra = match self {
            Event::Submitted(submitted) => {
                let stages = submitted.stages.iter().map(|s| s.label.len() + s.place.len() + 48).sum::<usize>();
                let paths = submitted.inputs.iter().chain(&submitted.outputs).map(|p| p.len() + 24).sum::<usize>();
                stages + paths
            }
            Event::Planned { tasks, .. } => tasks.len() * 4,
            Event::Done(done) => done.outputs.len() * 16,
            Event::Failed(failed) => of_failure(&failed.failure),
            Event::SetAside(aside) => of_failure(&aside.failure),
            Event::Ended(ended) => {
                ended.stages.iter().map(|s| s.label.len() + 64).sum::<usize>()
                    + ended.counters.keys().map(|name| name.len() + 64).sum::<usize>()
            }
            _ => 0,
        };
        BASE + extra
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_have_the_documented_form() {
        let assigned = Assigned {
            stage: 1,
            task: 2,
            attempt: 3,
            epoch: 4,
            worker: "worker-1".into(),
            cause: "first".into(),
            queued: false,
            bytes: 5,
        };
        let line = Line { t: 9, event: Event::Assigned(assigned) };
        let mut text = Vec::new();
        line.write_to(&mut text);
        let expected = "{\"t\":9,\"e\":\"assigned\",\"stage\":1,\"task\":2,\"attempt\":3,\"epoch\":4,\"worker\":\"worker-1\",\
                        \"cause\":\"first\",\"bytes\":5}\n";
        assert_eq!(String::from_utf8_lossy(&text), expected);
        assert_eq!(Line::parse(&text), Some(line));
        for bare in [Event::Cancelled, Event::Resumed, Event::Dropped { n: 3 }] {
            let line = Line { t: u64::MAX, event: bare };
            let mut text = Vec::new();
            line.write_to(&mut text);
            assert_eq!(Line::parse(&text), Some(line), "{}", String::from_utf8_lossy(&text));
        }
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text in any::<String>(), more in any::<String>(), t in any::<u64>(), n in any::<u64>()) {
            let failure = LoggedFailure {
                code: text.clone(),
                message: more.clone(),
                file: Some(more.clone()),
                offset: Some(n),
                record: text.clone(),
                key: text.clone(),
                stderr: more.clone(),
            };
            let key = Failed { worker: more.clone(), failure, charged: n % 2 == 0, cause: Some(text.clone().into()), ..Failed::default() };
            let submitted = Submitted {
                settings: BTreeMap::from([(text.clone(), more.clone())]),
                stages: vec![StageName { label: text.clone(), place: more.clone() }],
                inputs: vec![text.clone()],
                ..Submitted::default()
            };
            let done = Done { epoch: n, outputs: vec![(n, t)], spilled: t, ..Done::default() };
            let ended = Ended { counters: BTreeMap::from([(text.clone(), n)]), ..Ended::default() };
            let events = [
                Event::Failed(Box::new(key)),
                Event::Submitted(Box::new(submitted)),
                Event::Done(done),
                Event::Ended(Box::new(ended)),
                Event::CommitWaits { reason: Some(text) },
                Event::Away { from: n, to: t, epoch: n },
            ];
            for event in events {
                let line = Line { t, event };
                let mut text = Vec::new();
                line.write_to(&mut text);
                prop_assert_eq!(text.iter().filter(|b| **b == b'\n').count(), 1);
                prop_assert_eq!(Line::parse(&text), Some(line));
            }
        }
    }

    #[test]
    fn events_of_later_releases_are_skipped() {
        let later = Line::parse(br#"{"t":1,"e":"teleported","stage":0}"#).unwrap();
        assert_eq!(later, Line { t: 1, event: Event::Unknown });
        let more = Line::parse(br#"{"t":1,"e":"stage_done","stage":4,"more":[1]}"#).unwrap();
        assert_eq!(more.event, Event::StageDone { stage: 4 });
        for wrong in [&b""[..], b"{}", b"{\"t\":1}", b"{\"t\":-1,\"e\":\"resumed\"}", b"[", b"{\"t\":1,\"e\":\"done\"}"]
        {
            assert_eq!(Line::parse(wrong), None);
        }
    }
}
