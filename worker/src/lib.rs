//! The worker.
mod attempts;
mod error;
mod executor;
mod logs;
mod scratch;
#[cfg(test)]
mod testing;
