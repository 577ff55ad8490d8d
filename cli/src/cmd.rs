//! One verb, one file.

pub(crate) mod backup;
pub(crate) mod completion;
pub(crate) mod coordinator;
pub(crate) mod data;
mod die_with;
mod history;
pub(crate) mod job;
pub(crate) mod new;
pub(crate) mod orphans;
pub(crate) mod page;
mod page_plan;
pub(crate) mod submit;
pub(crate) mod tls;
pub(crate) mod up;
pub(crate) mod worker;

use crate::args::Client;
use crate::settings::ClientSection;
use std::io;
use std::path::Path;
use windrow::client::Cluster;
use windrow_model::{Code, Escape, Failure};

/// Connects as flags and settings say.
async fn connect(flags: Client, settings: ClientSection) -> Result<Cluster, Failure> {
    let client = settings.settle(flags);
    Cluster::connect_with(client.coordinator.as_deref(), client.token_file.as_deref(), client.tls_ca.as_deref()).await
}

/// A required setting of a verb.
fn needed<T>(value: Option<T>, flag: &str) -> Result<T, Failure> {
    value.ok_or_else(|| Failure::new(Code::BadRequest, format!("{flag} is missing")))
}

/// A file or folder of the user that cannot be made, written or renamed.
fn path_failure(code: Code, path: &Path, e: &io::Error) -> Failure {
    Failure::new(code, format!("{}: {e}", path.escaped()))
}
