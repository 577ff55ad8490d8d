//! The usual imports of a job: `use windrow::prelude::*;`.

pub use crate::combiner::{ApproxDistinct, Combiner, Count, Each, Histogram, Max, Mean, Min, Quantiles, Sum, TopK};
pub use crate::data::datum::serde::Serde;
pub use crate::data::emitter::Emitter;
pub use crate::data::values::Values;
pub use crate::data::words::words;
pub use crate::error::{Error, Result};
pub use crate::plan::broadcast::Broadcast;
pub use crate::plan::counter::Counter;
pub use crate::plan::flow::Flow;
pub use crate::plan::job::Job;
pub use crate::plan::records::{Pairs, Records};
pub use crate::plan::side::Side;
pub use crate::run::session::Session;
pub use crate::sink::{csv_sink, fixed_sink, jsonl_sink, records_sink, text, tsv};
pub use crate::source::{bytes_lines, csv, fixed, jsonl, lines, records, whole_files};
pub use serde::{Deserialize, Serialize};
pub use std::cmp::Reverse;
pub use windrow_derive::Datum;
