//! Who does what next: a pure state machine.
pub mod action;
pub mod event;
pub use action::{Action, StagedPart};
pub use event::{Event, StageChunks};
