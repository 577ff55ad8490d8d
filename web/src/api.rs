//! The API: the views of `windrow_model::view` as JSON. Lists are objects, so that fields can be added; long lists have a
//! cursor, which is the id after which the next part begins. `openapi.json` beside this crate describes every answer.

use crate::facts::{JobFacts, StageShape, WorkerFacts};
use crate::pages::{job_id, logs::log_filter, workers_or_none};
use crate::query::JobsQuery;
use crate::refusal::Refusal;
use crate::reply::{Reply, json};
use crate::sentence::sentence;
use crate::site::{Site, Visit};
use http::StatusCode;
use serde::Serialize;
use windrow_model::view::{DatasetView, JobView, LogView, WorkerView};

/// Most bytes of logs in an answer.
const LOG_BYTES_MAX: usize = 4 << 20;

#[derive(Serialize)]
struct Jobs<'a> {
    jobs: Vec<JobView<'a>>,
    /// Number of jobs that the filter admits, over all parts.
    total: u64,
    /// For the next part; absent after the last.
    cursor: Option<String>,
}

#[derive(Serialize)]
struct Job<'a> {
    #[serde(flatten)]
    job: JobView<'a>,
    /// What is going on, in one sentence.
    sentence: String,
    /// For each stage where its records come from; empty if the plan is not known any more.
    plan: Vec<Shape<'a>>,
}

#[derive(Serialize)]
struct Shape<'a> {
    reads_source: bool,
    from: &'a [u32],
    broadcast_from: &'a [u32],
}

#[derive(Serialize)]
struct Logs<'a> {
    logs: Vec<LogView<'a>>,
    /// Whether logs were left out because of their size.
    cut: bool,
    /// Why logs of some workers are missing.
    missing: &'a [String],
}

#[derive(Serialize)]
struct Worker<'a> {
    #[serde(flatten)]
    worker: WorkerView<'a>,
    /// Milliseconds since its last message.
    silent_ms: Option<u64>,
    disk_full: bool,
}

#[derive(Serialize)]
struct Workers<'a> {
    workers: Vec<Worker<'a>>,
}

#[derive(Serialize)]
struct Datasets<'a> {
    datasets: Vec<DatasetView<'a>>,
    notices: &'a [String],
}

pub(crate) async fn jobs(site: &Site, visit: &Visit) -> Result<Reply, Refusal> {
    let query = JobsQuery::of_api(&visit.query)?;
    let part = site.ask(site.facts.jobs(query.clone())).await?;
    let cursor = part.jobs.last().filter(|_| part.jobs.len() as u64 == query.rows).map(|job| job.id.to_string());
    let jobs = part.jobs.iter().map(JobView::from).collect();
    Ok(json(StatusCode::OK, &Jobs { jobs, total: part.admitted, cursor }))
}

pub(crate) async fn job(site: &Site, visit: &Visit) -> Result<Reply, Refusal> {
    let JobFacts { status, shape } = site.ask(site.facts.job(job_id(&visit.id)?)).await?;
    let workers = workers_or_none(site).await;
    let plan = shape.iter().map(|StageShape { reads_source, from, broadcast_from }| Shape {
        reads_source: *reads_source,
        from,
        broadcast_from,
    });
    let job = Job { job: (&status).into(), sentence: sentence(&status, &workers), plan: plan.collect() };
    Ok(json(StatusCode::OK, &job))
}

pub(crate) async fn logs(site: &Site, visit: &Visit) -> Result<Reply, Refusal> {
    let (id, only) = (job_id(&visit.id)?, log_filter(&visit.query)?);
    let found = site.ask(site.facts.logs(id, only, LOG_BYTES_MAX)).await?;
    let logs = found.attempts.iter().map(|log| LogView::new(log.attempt, log.worker, &log.output)).collect();
    Ok(json(StatusCode::OK, &Logs { logs, cut: found.cut, missing: &found.missing }))
}

pub(crate) async fn workers(site: &Site) -> Result<Reply, Refusal> {
    let workers = site.ask(site.facts.workers()).await?;
    let workers = workers.iter().map(Worker::from).collect();
    Ok(json(StatusCode::OK, &Workers { workers }))
}

impl<'a> From<&'a WorkerFacts> for Worker<'a> {
    fn from(worker: &'a WorkerFacts) -> Worker<'a> {
        let WorkerFacts { status, silent_ms, disk_full } = worker;
        Worker { worker: status.into(), silent_ms: *silent_ms, disk_full: *disk_full }
    }
}

pub(crate) async fn datasets(site: &Site) -> Result<Reply, Refusal> {
    let (datasets, notices) = site.ask(site.facts.datasets()).await?;
    let datasets = datasets.iter().map(DatasetView::from).collect();
    Ok(json(StatusCode::OK, &Datasets { datasets, notices: &notices }))
}
