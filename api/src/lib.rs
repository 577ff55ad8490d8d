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
#![warn(unreachable_pub)]
#![warn(clippy::missing_errors_doc)]

mod combiner;
mod data;
mod early_return;
mod error;
mod parts;
mod plan;
mod run;
mod sink;
mod source;
mod task;

#[cfg(feature = "client")]
pub mod client;
pub mod prelude;
pub mod report;
pub mod stdout;
pub mod testing;
pub mod usage;

pub use combiner::{
    ApproxDistinct, Buckets, Combiner, Count, DistinctAcc, Each, ExactSum, ExactTotal, Histogram, HistogramAcc, Max,
    Mean, MeanAcc, Min, Number, Of, Quantiles, QuantilesAcc, Quantity, Sum, TopK, Wide64, Wide128,
};
pub use data::arena::Arena;
pub use data::datum::items::{Items, ItemsIter};
pub use data::datum::list::{Element, Scalar};
pub use data::datum::owned::{Encoded, Owned};
pub use data::datum::serde::{Serde, SerdeRef};
pub use data::datum::{Datum, IntoDatum, Key, Reader};
pub use data::decode_error::DecodeError;
pub use data::emitter::Emitter;
pub use data::part_form::PartForm;
pub use data::values::Values;
pub use data::wire::Forms;
pub use data::words::{Text, Words, words};
pub use error::{Error, Outcome, Result};
pub use parts::parts;
pub use plan::broadcast::Broadcast;
pub use plan::counter::Counter;
pub use plan::flow::Flow;
pub use plan::job::Job;
pub use plan::op::{JoinSide, Nested, Small};
pub use plan::records::{Pairs, Records};
pub use plan::side::Side;
pub use run::finished::Finished;
pub use run::flags::{InputCompression, OutputFormat, RunFlags};
pub use run::program::{Program, main};
pub use run::session::Session;
pub use sink::{Appender, Compression, FieldWriter, Fields, Sink};
pub use source::{Block, Framing, RecordSink, Source};
pub use windrow_derive::Datum;
pub use windrow_model::{Code, Escape, Failure, JobOptions, JobState, JobStatus, path_text, text_path};

/// The snippets of the guide are compiled, and run.
#[cfg(doctest)]
#[doc = include_str!("../../docs/GUIDE.md")]
pub struct Guide;

/// Sources by name, with their options.
pub mod sources {
    pub use crate::source::{
        BytesLines, CsvSource, FixedSource, IntoInputs, JsonlSource, Lines, PlacedLines, RecordsSource, WholeFiles,
        bytes_lines, csv, fixed, jsonl, lines, records, whole_files,
    };
}
/// Sinks by name, with their options.
pub mod sinks {
    pub use crate::sink::{
        CsvSink, FixedSink, JsonlSink, RecordsSink, TextSink, TsvSink, csv_sink, fixed_sink, jsonl_sink, records_sink,
        text, tsv,
    };
}
