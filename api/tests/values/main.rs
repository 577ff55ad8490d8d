//! Values are the same from source to sink and back.

mod derived;
mod emitted;
mod errors;
mod numbers;
mod plans;
mod round_trips;
mod serde_types;
