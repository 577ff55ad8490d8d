//! Data outside of the cluster: the inputs that a job names and the outputs that it publishes.
//!
//! Lists and identifies input files, splits them into chunks, and makes each output appear atomically. Kinds of storage are
//! behind two traits (`inputs.rs`, `outputs.rs`); this release has files, and datasets as inputs. Synchronous: callers on an
//! async runtime use a blocking thread. The crate knows nothing of workers, messages or the contents of records.

#![warn(unreachable_pub)]

pub mod commit_state;
pub mod error;
pub mod excerpt;
pub mod glob;
pub mod identity;
pub mod list;
pub mod outputs;
pub mod prepare;
pub mod remove_tree;
pub mod split;
#[cfg(feature = "storage-calls")]
pub mod start_thread;
pub mod steps;
#[cfg(feature = "storage-calls")]
pub mod storage_call;

mod bad_inputs;
mod chunk_size;
mod input_file;
mod inputs;
mod listed_total;
#[cfg(feature = "storage-calls")]
mod mount;
mod receipts;
mod replace;
mod staging;
#[cfg(feature = "storage-calls")]
mod storage_threads;
mod walk;

pub use commit_state::CommitState;
pub use error::{Result, StoreError};
pub use excerpt::record_place;
pub use identity::same;
pub use input_file::InputFile;
pub use list::list_inputs;
pub use listed_total::ListedTotal;
pub use outputs::{CompleteOutput, Output, Outputs, PartFile, complete_output};
pub use prepare::{Prepared, Storage, prepare};
pub use receipts::{Placed, Receipt, Receipts};
pub use remove_tree::remove_tree;
pub use replace::rename_to_free_name;
pub use split::{PartsOf, SplitOptions, input_bytes, split, unsupported};
pub use staging::Staging;
#[cfg(feature = "storage-calls")]
pub use start_thread::{start_thread, thread_failure_code};
pub use steps::Steps;
#[cfg(feature = "storage-calls")]
pub use storage_call::{Progress, StorageCalls};
pub use windrow_format::durable::Durability;
