//! Connecting and being connected to: channels, servers, tokens, TLS, and the user's state folder.
//!
//! Every process that opens or accepts a connection does it through this crate, so limits, keepalive and the
//! question "who may call this" have one answer. It knows nothing of what a service does with a call.

mod accept;
pub mod access;
mod admission;
pub mod backoff;
pub mod clients;
pub mod clock;
pub mod connect;
mod contact;
mod dial;
mod handshake;
pub mod home;
mod link;
mod refusals;
mod sealed;
pub mod serve;
pub mod setting_file;
mod small_body;
pub mod status;
pub mod tls;
pub mod token;
mod token_key;

pub use access::{Access, Caller, RequireToken};
pub use admission::Limits;
pub use backoff::Backoff;
pub use clients::hello;
pub use clock::Clock;
pub use connect::{Connection, channel, channel_with, is_lost};
pub use contact::Contact;
pub use home::{Home, Record};
pub use serve::{Server, serve};
pub use setting_file::{SETTING_BYTES_MAX, read_setting, read_setting_text};
pub use small_body::UNPROVEN_BYTES_MAX;
pub use status::{from_status, to_status};
pub use tls::{ServerTls, check_listen};
pub use token::Token;
pub use token_key::Role;

/// No message of ours is larger than this, encoded. Give it to every generated client and server
/// (`max_decoding_message_size`), whose own limit of 4 MiB a plan of many thousand chunks would pass.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// HTTP/2 flow control: one stream fills a fast link with this much in flight (the default of 64 KiB does not).
pub(crate) const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// The same for all streams of a connection together.
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// Bytes of one frame: each is read, and handed on, on its own.
pub(crate) const FRAME_BYTES_MAX: u32 = 256 << 10;
/// Headers and trailers together. A failure with its last lines of stderr travels in trailers.
pub(crate) const HEADER_BYTES_MAX: u32 = 64 << 10;
