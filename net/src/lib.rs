//! Connections between processes: channels, servers, tokens, TLS, and the user's state folder.
//!
//! Every process that opens or accepts a connection uses this crate, so limits, keepalive and authorisation are the
//! same everywhere. It knows nothing of the services behind a call.

#![warn(unreachable_pub)]

mod accept;
pub mod access;
mod activity;
mod admission;
pub mod backoff;
pub mod clients;
pub mod clock;
pub mod connect;
mod contact;
mod dial;
mod dial_error;
mod greeting;
mod handshake;
mod link;
mod open_calls;
pub mod patience;
mod refusals;
mod runtime;
mod sealed;
pub mod serve;
mod small_body;
pub mod state_folder;
pub mod status;
pub mod tls;
pub mod token;
mod token_key;

pub use access::{Access, Caller, RequireToken};
pub use admission::Limits;
pub use backoff::Backoff;
pub use clock::Clock;
pub use connect::{Connection, channel, channel_with, is_lost};
pub use contact::Contact;
pub use greeting::hello;
pub use patience::{Patience, Silent};
pub use runtime::daemon_runtime;
pub use serve::{Server, serve};
pub use small_body::UNPROVEN_BYTES_MAX;
pub use state_folder::{Record, StateFolder};
pub use status::{from_status, to_status};
pub use tls::{ServerTls, check_listen};
pub use token::Token;
pub use token_key::Role;
pub use windrow_format::regular_file::{read as read_setting, read_text as read_setting_text};

/// Bytes of the largest file of settings or certificates that is read.
pub const SETTING_BYTES_MAX: u64 = 4 << 20;

/// Most bytes of an encoded message. Pass it to every generated client and server (`max_decoding_message_size`), whose
/// default of 4 MiB is too small for a plan of many thousand chunks.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// HTTP/2 flow control window of one stream in bytes, enough to fill a fast link (the default of 64 KiB is not).
pub(crate) const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// HTTP/2 flow control window of all streams of a connection, in bytes.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Most bytes of an HTTP/2 frame; each is read and passed on separately.
pub(crate) const FRAME_BYTES_MAX: u32 = 256 << 10;
/// Most bytes of headers and trailers together. A failure with the tail of its stderr is sent in trailers.
pub(crate) const HEADER_BYTES_MAX: u32 = 64 << 10;
