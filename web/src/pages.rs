//! The pages: facts become the values of a template, and the template becomes the part of the page that may change. One
//! frame is put around it.

pub(crate) mod datasets;
pub(crate) mod error;
mod frame;
pub(crate) mod job;
pub(crate) mod jobs;
pub(crate) mod logs;
pub(crate) mod settings;
pub(crate) mod workers;

pub(crate) use frame::{Html, Page};

use crate::facts::WorkerFacts;
use crate::refusal::Refusal;
use crate::routes::Target;
use crate::site::{Site, Visit};
use http::StatusCode;
use windrow_model::{Code, JobId};

/// The page of a visit.
pub(crate) async fn page(site: &Site, visit: &Visit) -> Result<Page, Refusal> {
    match visit.route.target {
        Target::Jobs => jobs::page(site, visit).await,
        Target::Job => job::page(site, visit).await,
        Target::Logs => logs::page(site, visit).await,
        Target::Workers => workers::page(site, visit).await,
        Target::Datasets => datasets::page(site).await,
        Target::Settings => settings::page(site),
        _ => Err(Refusal::not_found()),
    }
}

/// The id of a job in a path.
pub(crate) fn job_id(text: &str) -> Result<JobId, Refusal> {
    let unknown = |_| Refusal::new(StatusCode::NOT_FOUND, Code::JobNotFound, "this is not the id of a job");
    text.parse().map_err(unknown)
}

/// The workers, for sentences about waits. A page without them is better than none.
pub(crate) async fn workers_or_none(site: &Site) -> Vec<WorkerFacts> {
    site.ask(site.facts.workers()).await.unwrap_or_default()
}
