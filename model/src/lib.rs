//! The domain's terms as types, in the order of a job's life.
//!
//! A *job* is one submission of a *plan*: a graph of *stages* joined by shuffles. A stage runs as *tasks* of the same
//! kind, one for each *chunk* of input or each *partition* of a shuffle; every execution of a task is an *attempt*. A
//! map output has one *segment* for each partition with records.
//!
//! This crate knows nothing of clocks, files, sockets or threads: it only defines types.

#![warn(missing_docs)]
#![warn(unreachable_pub)]
#![warn(clippy::missing_errors_doc)]

pub mod chunk;
pub mod cluster;
pub mod code;
pub mod counters;
pub mod dataset;
pub mod date;
pub mod edge_report;
pub mod environment;
pub mod escape;
pub mod exit;
pub mod failure;
pub mod framing;
pub mod ids;
pub mod job;
pub mod kept_bytes;
pub mod location;
pub mod manifest;
mod mix;
pub mod node;
pub mod orphans;
pub mod page_key;
pub mod path_text;
pub mod plan;
pub mod planted;
pub mod scrub;
pub mod segment;
pub mod signal;
pub mod stage_outputs;
pub mod task;
pub mod time;
pub mod total;
pub mod units;
pub mod view;

pub use chunk::{Chunk, FileIdentity, FileRange, SkippedRecord};
pub use cluster::{Folder, Seen};
pub use code::{Class, Code};
pub use counters::Counters;
pub use dataset::{Dataset, DatasetChunk, DatasetStatus};
pub use date::{utc, utc_ms};
pub use edge_report::{EdgeReport, SizeHints};
pub use escape::{Escape, Escaped};
pub use exit::{
    EXIT_CANCELLED, EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_TIMED_OUT, EXIT_UNREACHABLE, EXIT_USAGE,
};
pub use failure::{BadRecord, Failure, KeyPlace, RecordPlace};
pub use framing::Framing;
pub use ids::{AttemptId, ClusterId, Digest, Epoch, Incarnation, JobId, Port, StageId, TaskId, WorkerId};
pub use job::{
    COLLECT_BYTES_MAX, FailedAttempt, JobFilter, JobOptions, JobSpec, JobState, JobStatus, LeftOut, StageStatus,
    TaskTotals,
};
pub use kept_bytes::KeptBytes;
pub use location::Location;
pub use manifest::{Manifest, Part};
pub use node::{Home, NodeInfo, WorkerState, WorkerStatus};
pub use orphans::{Orphan, Orphans, UnjoinedWorker};
pub use page_key::{PageRole, PageToken};
pub use path_text::{path_text, text_path};
pub use plan::{
    Collect, Compression, Input, Order, Output, PartitionCounts, Partitioner, Partitions, Plan, PlanError, Side,
    SinkSpec, SourceSpec, Stage,
};
pub use scrub::ScrubStatus;
pub use segment::{OutputRef, Segment};
pub use signal::signal_name;
pub use stage_outputs::{Origin, OutputEntry, OutputsDigest, StageOutputs, TableVersion};
pub use task::{
    EdgeInput, EdgePort, InputDigest, OutputReport, PartReport, StagedPart, StoredBlob, Task, TaskInput, TaskOutput,
    TaskReport, input_digest, output_digest,
};
pub use time::Time;
pub use total::total;
pub use units::ByteSize;
