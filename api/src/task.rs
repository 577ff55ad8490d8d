//! One running task: what its code reads and reports through.

pub(crate) mod broadcasts;
pub(crate) mod context;
pub(crate) mod culprit;
pub(crate) mod env;
pub(crate) mod failure;
pub(crate) mod publish_pace;
pub(crate) mod unwinding;
pub(crate) mod user_counters;
pub(crate) mod written;
