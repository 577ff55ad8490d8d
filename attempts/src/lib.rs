//! The attempts of one worker, as a pure state machine: events in, actions out.
//!
//! ```text
//! assigned ─▶ staging ─▶ ready ─▶ running ─▶ done ─▶ granted ─▶ published
//!                │         │ ▲      │  │
//!                │         │ └──────┘  │   by way of clearing: the executor died, and no attempt could be blamed
//!                ▼         ▼           ▼
//!              failed, or revoked: the attempt is forgotten and its files are deleted
//! ```
//! There may be more attempts than slots. All are staged at once; the oldest ones have the slots (`slot_queue.rs`). The
//! coordinator counts in the same way and needs no message when an attempt begins: hence a later attempt waits even if
//! the inputs of an earlier one take longer to fetch.
//!
//! The crate owns the state of each attempt, the executor of each job, the tasks that are suspected of having crashed
//! one, and the time that a session lasts without contact (`lease.rs`). It knows no file, process, clock or connection:
//! a driver performs the actions and reports back with events. The worker daemon is one driver, the simulation is
//! another. Late events (of an executor of an earlier generation, of an attempt that is gone) are ignored.

#![warn(unreachable_pub)]

mod action;
mod event;
mod executor;
mod lease;
mod needs;
mod outcome;
pub mod planted;
mod slot_queue;
mod state;
mod step;

pub use action::{Action, Report};
pub use event::{Event, Exit, StageError};
pub use lease::Lease;
pub use needs::Needs;
pub use state::Attempts;

#[cfg(test)]
mod tests;
