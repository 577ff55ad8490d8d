//! What the scheduler has decided, for the history of a job: plain data, which no decision depends on.
//!
//! An event and the actions of its step do not say why a task gets another attempt, or which stage is complete. Each
//! job collects its notes while a step changes it, in the order in which it changes; the step hands them to the driver
//! (`Scheduler::take_notes`). Without [`Config::notes`](crate::Config::notes) none are made.

use crate::ledger::Cause;
use windrow_model::{AttemptId, BadRecord, Failure, JobStatus, OutputReport, StageId, TaskReport, WorkerId, total};

/// Why a task gets an attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Why {
    /// It has had none.
    #[default]
    First,
    /// The last one failed and was charged.
    Retry,
    /// The last one ended without a charge, or its output counts as lost for this cause.
    Uncharged(Cause),
    /// The last one was queued on a worker and has been taken back from there.
    TakenBack,
    /// The worker that held its outputs has lost them.
    OutputsLost,
    /// A stage that it reads has made other outputs.
    InputsReplaced,
    /// The running one is slow: this is a backup beside it.
    Backup,
    /// A worker has returned with an attempt of which the scheduler did not know.
    Rejoined,
    /// The coordinator was restarted, and no worker has returned with an attempt or an output of the task.
    Restarted,
}

/// Why an attempt has ended that has neither finished nor failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Another attempt of the task was the first to finish, or the task has ended otherwise.
    OtherWon,
    /// It was queued, and taken back for a task with a better claim, or because its worker takes no more tasks.
    TakenBack,
    /// It was queued, and an input of its stage was lost.
    InputsLost,
    /// It was queued on a worker that is gone.
    WorkerLost,
    /// No stage reads its outputs any more.
    Needless,
}

/// One fact about a job.
#[derive(Clone, Debug, PartialEq)]
pub enum Note {
    /// A client has submitted it.
    Submitted,
    /// It continues after a restart: its attempts and outputs are not known until workers return.
    Restored,
    /// A restored job goes on: attempts that no worker has reported are over.
    Resumed,
    /// Its inputs are cut. `tasks`: the number of each stage.
    Planned {
        input_bytes: u64,
        tasks: Vec<u32>,
    },
    /// Every stage that this one reads is done.
    StageOpened {
        stage: StageId,
    },
    StageDone {
        stage: StageId,
    },
    /// Outputs of a done stage were lost.
    StageReopened {
        stage: StageId,
    },
    /// An attempt was given to a worker. `queued`: it waits there for a slot. `bytes`: of its input.
    Assigned {
        worker: WorkerId,
        attempt: AttemptId,
        why: Why,
        queued: bool,
        bytes: u64,
    },
    /// A queued attempt has a slot.
    Started {
        attempt: AttemptId,
    },
    /// The attempt has finished, and places its parts.
    Granted {
        attempt: AttemptId,
    },
    /// The task is done by this attempt.
    Done {
        worker: WorkerId,
        attempt: AttemptId,
        done: Box<Done>,
    },
    /// The attempt has ended with this failure. `charged`: it counts towards the limit of the job.
    Failed {
        worker: WorkerId,
        attempt: AttemptId,
        failure: Box<Failure>,
        charged: bool,
        cause: Option<Cause>,
    },
    Stopped {
        worker: WorkerId,
        attempt: AttemptId,
        why: Stopped,
    },
    /// The job continues without this record.
    SetAside {
        record: Box<BadRecord>,
    },
    /// The worker does not see the files of the job, and gets no tasks of it.
    LeftOut {
        worker: WorkerId,
        failure: Box<Failure>,
    },
    /// The worker sees them after all.
    TakenIn {
        worker: WorkerId,
    },
    /// Every part is staged: the commit begins.
    CommitBegan {
        parts: u64,
    },
    /// The commit waits for this; `None`: it goes on.
    CommitWaits {
        reason: Option<String>,
    },
    /// A client has cancelled the job.
    Cancelled,
    /// It has ended; all of its attempts have ended, too. The last note of a job.
    Ended {
        status: Box<JobStatus>,
    },
}

/// What a finished attempt has read and written, in short.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Milliseconds of computing in the executor.
    pub run_ms: u64,
    /// Records read from inputs of the job and from earlier stages.
    pub records_in: u64,
    /// Bytes and records of each output.
    pub outputs: Vec<(u64, u64)>,
    pub bytes_spilled: u64,
}

impl Done {
    pub(crate) fn of(report: &TaskReport) -> Done {
        use windrow_model::counters::names;
        let size = |output: &OutputReport| match output {
            OutputReport::Edge(edge) => (edge.bytes, edge.records),
            OutputReport::Sink(part) => (part.bytes, part.records),
            OutputReport::Broadcast(bytes) => (bytes.len() as u64, 0),
            OutputReport::Stored(blob) => (blob.length, 0),
        };
        Done {
            run_ms: report.run_ms,
            records_in: total([names::RECORDS_READ, names::RECORDS_MERGED].map(|name| report.counters.get(name))),
            outputs: report.outputs.iter().map(size).collect(),
            bytes_spilled: report.counters.get(names::BYTES_SPILLED),
        }
    }
}

/// The notes of one job since they were taken last.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    wanted: bool,
    list: Vec<Note>,
}

impl Notes {
    pub(crate) fn new(wanted: bool) -> Notes {
        Notes { wanted, list: Vec::new() }
    }

    pub(crate) fn add(&mut self, note: impl FnOnce() -> Note) {
        if self.wanted {
            self.list.push(note());
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(crate) fn take(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.list)
    }
}
