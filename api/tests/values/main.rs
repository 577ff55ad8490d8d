//! Values stay what they are, from source to sink and back.

mod errors;
mod numbers;
mod plans;
mod round_trips;
mod serde_types;
