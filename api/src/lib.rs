//! Windrow: distributed map/reduce jobs in Rust. One binary runs a job in its own process on all cores, or on a
//! cluster, with the same code and byte-identical results.
//!
//! ```no_run
//! use windrow::prelude::*;
//!
//! /// Count words.
//! #[derive(clap::Args, Serialize, Deserialize)]
//! struct WordCount {
//!     input: Vec<String>,
//!     #[arg(long)]
//!     output: String,
//! }
//!
//! impl Job for WordCount {
//!     fn plan(&self, flow: &Flow) -> Result<()> {
//!         flow.read(lines(&self.input))
//!             .map(|line, out| for word in words(line) { out.emit(word, 1u64) })
//!             .combine(Sum)
//!             .write(tsv(&self.output))
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode { windrow::main::<WordCount>() }
//! ```
//!
//! * [`Job`] is the trait that you implement; [`Flow`] starts its plan; [`Records`] and [`Pairs`] have the operations.
//! * Records are *borrowed*: functions get `&str`, not `String`; emitted records are copied once, into the engine's
//!   buffers ([`Datum`], [`IntoDatum`]).
//! * Closures are never sent. Every process of a job runs the same binary and builds the same plan, and compares a
//!   fingerprint of it; so a plan must depend only on the job's parameters.
//! * A record function that returns an error or panics fails its task with the file and byte offset of the record.

#![warn(missing_docs)]

mod arena;
mod chain;
mod combiner;
mod context;
mod counter;
mod culprit;
mod datum;
mod demand;
mod describe;
mod edge_in;
mod edge_out;
mod emitter;
mod end;
mod error;
mod executor;
mod explain;
mod finished;
mod flags;
mod flow;
#[cfg(not(feature = "client"))]
mod handover;
mod job;
mod job_id;
mod json;
mod leftovers;
mod local;
mod op;
mod panics;
mod parts;
mod places;
mod program;
mod records;
mod session;
mod side;
mod sink;
mod source;
mod supervise;
mod task_run;
mod threads;
mod values;
mod warning;
mod watched;
mod wire;
mod words;

#[cfg(feature = "client")]
pub mod client;
pub mod prelude;
pub mod report;
pub mod stdout;
pub mod testing;
pub mod usage;

pub use arena::Arena;
pub use combiner::{
    Combiner, Count, ExactSum, ExactTotal, Max, Mean, MeanAcc, Min, Number, Sum, TopK, Wide64, Wide128,
};
pub use counter::Counter;
pub use datum::{Datum, DecodeError, IntoDatum, Key, Reader, Scalar, Serde};
pub use emitter::Emitter;
pub use error::{Error, Outcome, Result};
pub use finished::Finished;
pub use flags::{InputCompression, OutputFormat, RunFlags};
pub use flow::Flow;
pub use job::Job;
pub use parts::parts;
pub use program::{Program, main};
pub use records::{Pairs, Records};
pub use session::Session;
pub use side::Side;
pub use sink::{Appender, Compression, FieldWriter, Fields, Sink};
pub use source::{Block, Framing, RecordSink, Source};
pub use values::Values;
pub use windrow_model::{Code, Escape, Failure, JobOptions, JobState, JobStatus, path_text, text_path};
pub use wire::Forms;
pub use words::{Text, Words, words};

/// The snippets of the guide are compiled, and run.
#[cfg(doctest)]
#[doc = include_str!("../../docs/GUIDE.md")]
pub struct Guide;

/// Sources by name, with their options.
pub mod sources {
    pub use crate::source::{
        BytesLines, CsvSource, FixedSource, IntoInputs, JsonlSource, Lines, PlacedLines, WholeFiles, bytes_lines, csv,
        fixed, jsonl, lines, whole_files,
    };
}
/// Sinks by name, with their options.
pub mod sinks {
    pub use crate::sink::{
        CsvSink, FixedSink, JsonlSink, TextSink, TsvSink, csv_sink, fixed_sink, jsonl_sink, text, tsv,
    };
}
