//! windrow

pub mod client;
pub mod report;
