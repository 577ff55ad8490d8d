//! The usual imports of a job: `use windrow::prelude::*;`.

pub use crate::combiner::{Combiner, Count, Max, Mean, Min, Sum, TopK};
pub use crate::counter::Counter;
pub use crate::datum::Serde;
pub use crate::emitter::Emitter;
pub use crate::error::{Error, Result};
pub use crate::flow::Flow;
pub use crate::job::Job;
pub use crate::records::{Pairs, Records};
pub use crate::session::Session;
pub use crate::side::Side;
pub use crate::sink::{csv_sink, fixed_sink, jsonl_sink, text, tsv};
pub use crate::source::{bytes_lines, csv, fixed, jsonl, lines, whole_files};
pub use crate::values::Values;
pub use crate::words::words;
pub use serde::{Deserialize, Serialize};
pub use std::cmp::Reverse;
