//! The messages to the driver, a closed list, and the handle that sends them.
//!
//! The queue is bounded: a reader of the network waits here when the driver is behind (backpressure). The driver itself never waits,
//! so the two cannot wait for each other.

mod data;

pub(crate) use data::{BeginPut, ChunkReport, DataMessage, OrphanList, Places, PutStart};

use crate::commit::CommitTried;
use crate::job_states::Past;
use crate::journal::{Durable, Snapshot};
use crate::outbox::Outbox;
use crate::split::SplitJob;
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::{mpsc, oneshot, watch};
use windrow_model::{
    AttemptId, Code, DatasetChunk, Digest, Failure, Folder, JobFilter, JobId, JobSpec, JobStatus, NodeInfo, StoredBlob,
    TaskReport, WorkerId, WorkerStatus,
};
use windrow_proto::v1;
use windrow_scheduler::{Collected, Event, HeldAttempt, Left, Progress};
use windrow_store::Receipt;
use windrow_web::{JobFacts, JobsPart, JobsQuery, WorkerFacts};

/// Most messages that wait for the driver.
const QUEUE_MAX: usize = 4096;

/// Where the answer goes. An answer whose caller has gone is dropped.
pub(crate) type Answer<T> = oneshot::Sender<T>;

/// Number of a session, counted from the coordinator's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SessionId(pub u64);

pub(crate) enum Message {
    // From clients.
    Submit {
        spec: Box<JobSpec>,
        answer: Answer<Result<(), Failure>>,
    },
    Cancel {
        job: JobId,
        answer: Answer<Result<(), Failure>>,
    },
    /// An operator's decision about a commit that waits.
    DecideCommit {
        job: JobId,
        give_up: bool,
        answer: Answer<Result<(), Failure>>,
    },
    Watch {
        job: JobId,
        answer: Answer<Result<watch::Receiver<JobStatus>, Failure>>,
    },
    Get {
        job: JobId,
        answer: Answer<Result<JobStatus, Failure>>,
    },
    /// Answered with the jobs by id, and how many the filter admits.
    List {
        filter: JobFilter,
        answer: Answer<(Vec<JobStatus>, u64)>,
    },
    Collected {
        job: JobId,
        answer: Answer<Result<Collected, Failure>>,
    },
    Workers {
        answer: Answer<Vec<WorkerStatus>>,
    },
    /// A part of the list of jobs, for a page.
    JobsPart {
        query: Box<JobsQuery>,
        answer: Answer<JobsPart>,
    },
    /// A job with the shape of its plan.
    JobFacts {
        job: JobId,
        answer: Answer<Result<JobFacts, Failure>>,
    },
    /// Workers, with what was heard of them.
    WorkerFacts {
        answer: Answer<Vec<WorkerFacts>>,
    },
    DrainWorker {
        worker: WorkerId,
        answer: Answer<Result<(), Failure>>,
    },
    /// Binaries and side values of jobs that have not ended.
    ArtifactsInUse {
        answer: Answer<BTreeSet<Digest>>,
    },
    /// The number of tasks of each job that has not ended.
    KnownTasks {
        answer: Answer<BTreeMap<JobId, u64>>,
    },
    /// Addresses of live workers that ran attempts of a job.
    LogHolders {
        job: JobId,
        answer: Answer<Result<Vec<(WorkerId, String)>, Failure>>,
    },
    Data(DataMessage),
    /// A copy of the journal with all that was acknowledged before, and the artifacts of jobs that have not ended.
    Backup {
        answer: Answer<Result<(BTreeSet<Digest>, Snapshot), Failure>>,
    },
    // From workers.
    SessionBegan {
        node: NodeInfo,
        /// Random number of the worker's process; 0 if its release has none.
        process: u64,
        inventory: Inventory,
        to_worker: Outbox,
        answer: Answer<Result<SessionId, Failure>>,
    },
    FromWorker {
        session: SessionId,
        worker: WorkerId,
        report: Report,
    },
    SessionEnded {
        session: SessionId,
        worker: WorkerId,
    },
    // From work that the driver has started.
    Split {
        job: JobId,
        result: Result<SplitJob, Failure>,
    },
    CommitTried {
        job: JobId,
        tried: CommitTried,
    },
    /// A try of planning a job is durable: it may begin.
    MaySplit {
        job: JobId,
        result: Result<Durable, Failure>,
    },
    /// The split of a job is durable.
    SplitRecorded {
        job: JobId,
        durable: Durable,
    },
    /// The beginning of the commit of a job is durable, or cannot be made so.
    Sealed {
        job: JobId,
        result: Result<Durable, Failure>,
    },
    /// What an attempt has collected is stored, or cannot be.
    ResultStored {
        worker: WorkerId,
        attempt: AttemptId,
        report: Box<TaskReport>,
        result: Result<Vec<StoredBlob>, Failure>,
    },
    /// The result of a job that seals or ends is stored, or cannot be.
    CollectedStored {
        job: JobId,
        result: Result<Vec<StoredBlob>, Failure>,
    },
    /// A client has read the result of a job.
    Fetched {
        job: JobId,
    },
    /// The final status of a job is durable.
    EndRecorded {
        job: JobId,
        past: Box<Past>,
        durable: Durable,
    },
    /// A submit is durable, this one or an earlier one of the same job.
    SubmitRecorded {
        job: JobId,
        answer: Answer<Result<(), Failure>>,
        durable: Durable,
    },
    /// A job that was submitted could not be recorded.
    SubmitNotRecorded {
        job: JobId,
    },
}

/// The inventory of a worker when its session begins.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    pub held: Vec<HeldAttempt>,
    /// Jobs whose setup it has.
    pub jobs: Vec<JobId>,
    /// Unknown jobs of which it has data: nothing else is kept of them.
    pub dropped: Vec<JobId>,
    pub folder: Folder,
    /// Chunks of a folder that has joined no cluster.
    pub chunks: Vec<Digest>,
    /// Attempts that its last incarnation ran when that ended.
    pub left: Vec<Left>,
}

/// A report of a worker.
pub(crate) enum Report {
    Event(Box<Event>),
    /// The worker is stopping, and waits for this.
    Draining(v1::Draining),
    Beat {
        progress: Vec<Progress>,
        lists_all: bool,
        full: bool,
        scrub: Option<v1::ScrubProgress>,
    },
    StagingChecked {
        request: u64,
        failure: Option<Failure>,
    },
    Chunks(ChunkReport),
    Published {
        attempt: AttemptId,
        parts: PublishedParts,
    },
}

/// What a worker says of the parts of an attempt that it has published, by sink.
#[derive(Debug)]
pub(crate) struct PublishedParts {
    /// Those that are chunks of datasets now.
    pub chunks: Vec<(u32, DatasetChunk)>,
    /// Those whose storage has given a receipt.
    pub receipts: Vec<(u32, Receipt)>,
}

/// The driver's address.
#[derive(Clone)]
pub(crate) struct Mailbox(mpsc::Sender<Message>);

impl Mailbox {
    /// A mailbox, and what the driver reads.
    pub(crate) fn new() -> (Mailbox, mpsc::Receiver<Message>) {
        let (sender, receiver) = mpsc::channel(QUEUE_MAX);
        (Mailbox(sender), receiver)
    }

    /// Waits until there is room. False if the driver has ended.
    pub(crate) async fn send(&self, message: Message) -> bool {
        self.0.send(message).await.is_ok()
    }

    /// Like `send`, for threads that may block.
    pub(crate) fn blocking_send(&self, message: Message) -> bool {
        self.0.blocking_send(message).is_ok()
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn ask<T>(&self, question: impl FnOnce(Answer<T>) -> Message) -> Result<T, Failure> {
        let (answer, answered) = oneshot::channel();
        self.send(question(answer)).await;
        answered.await.map_err(|_| Failure::new(Code::Unreachable, "the coordinator is stopping"))
    }

    /// Like `ask`, for questions that may be answered with a failure.
    pub(crate) async fn try_ask<T>(
        &self,
        question: impl FnOnce(Answer<Result<T, Failure>>) -> Message,
    ) -> Result<T, Failure> {
        self.ask(question).await?
    }
}
