//! Messages of clients and workers about datasets.

use super::Answer;
use crate::journal::DatasetChange;
use windrow_datasets::{Orphan, PutId, ReservationId};
use windrow_model::{ClusterId, Dataset, DatasetChunk, DatasetStatus, Digest, Failure, Framing, JobId, WorkerId};
use windrow_proto::v1;

/// What clients ask of datasets.
pub(crate) enum DataMessage {
    BeginPut(BeginPut),
    /// Every chunk has its copies.
    CommitPut {
        put: PutId,
        dataset: Dataset,
        placed: Vec<(Digest, Vec<WorkerId>)>,
        answer: Answer<Result<u64, Failure>>,
    },
    EndPut {
        put: PutId,
    },
    /// A change is durable, or could not be made so.
    Recorded {
        change: DatasetChange,
        result: Result<(), Failure>,
        answer: Answer<Result<u64, Failure>>,
    },
    /// The same for the outputs of a job.
    OutputsRecorded {
        job: JobId,
        datasets: Vec<Dataset>,
        result: Result<(), Failure>,
    },
    /// A reservation for moves of orphans to the trash is durable.
    OrphansReserved {
        reservation: ReservationId,
    },
    /// With what an operator should know.
    List {
        answer: Answer<(Vec<DatasetStatus>, Vec<String>)>,
    },
    Get {
        name: String,
        answer: Answer<Result<Places, Failure>>,
    },
    Remove {
        name: String,
        answer: Answer<Result<u64, Failure>>,
    },
    Orphans {
        answer: Answer<OrphanList>,
    },
    /// Makes a dataset of orphans.
    AdoptChunks {
        name: String,
        framing: Framing,
        digests: Vec<Digest>,
        answer: Answer<Result<u64, Failure>>,
    },
    /// Lets a worker's folder join.
    AdoptWorker {
        worker: WorkerId,
        answer: Answer<Result<u64, Failure>>,
    },
    Scrubs {
        answer: Answer<Vec<(WorkerId, v1::ScrubProgress)>>,
    },
}

/// What nothing refers to, and workers that wait to join.
pub(crate) struct OrphanList {
    pub chunks: Vec<Orphan>,
    pub unjoined: Vec<(WorkerId, String, u64)>,
}

pub(crate) struct BeginPut {
    pub name: String,
    pub overwrite: bool,
    pub replicas: u32,
    pub answer: Answer<Result<PutStart, Failure>>,
}

/// A put that is open.
pub(crate) struct PutStart {
    pub id: PutId,
    /// Workers that take chunks, with their addresses.
    pub workers: Vec<(WorkerId, String)>,
    pub replicas: u32,
    pub cluster: ClusterId,
}

/// A dataset, and the addresses of the holders of each chunk.
pub(crate) type Places = (DatasetStatus, Vec<(DatasetChunk, Vec<String>)>);

/// What a worker reports of chunks.
pub(crate) enum ChunkReport {
    /// It has these. `all`: it has reported every chunk since it registered.
    Held {
        digests: Vec<Digest>,
        /// Bytes of each, or nothing.
        lengths: Vec<u64>,
        all: bool,
        /// A client has stored them just now, and the worker did not have them before.
        stored: bool,
    },
    Trashed {
        digests: Vec<Digest>,
        lengths: Vec<u64>,
    },
    /// It had these, and they are damaged or gone.
    Lost(Vec<Digest>),
    Dropped,
    NotCopied(Digest, Failure),
}
