//! Wire messages: the protocol between processes, and its conversion to and from the domain's types.
//!
//! `v1` is generated from `windrow/v1/*.proto` and kept in the repository, so that a build needs no generator. Everything
//! from outside passes through `convert`, which validates; no other code in the project builds a domain type from a
//! message. This crate opens no socket.

#![warn(unreachable_pub)]

pub mod convert;
pub mod frame;
pub mod pieces;
mod version;

pub use convert::ConvertError;
pub use frame::{FRAME_BYTES_MAX, FrameDecoder, FrameError, encode_frame, read_frame, write_frame};
pub use version::{PROTOCOL_MAX, PROTOCOL_MIN, check_range, own_range, release};

/// Generated messages; with the feature `services` clients and servers, too. Made by `tests/generated_code.rs`.
#[allow(clippy::all, missing_docs)]
pub mod v1 {
    include!("generated/windrow.v1.rs");
}
