//! The page of all workers: slots, state and why, and when they were heard last.

use super::{Html, Page};
use crate::facts::WorkerFacts;
use crate::refusal::Refusal;
use crate::site::{Site, Visit};
use crate::text::{Text, bytes, counted, duration, percent};
use askama::Template;
use windrow_model::WorkerState;

struct Row {
    id: Text,
    host: Text,
    address: Text,
    state: &'static str,
    reason: Text,
    disk_full: bool,
    slots: String,
    percent: u64,
    memory: Text,
    silent: Text,
    version: Text,
    may_drain: bool,
}

#[derive(Template)]
#[template(path = "workers.html")]
struct Workers<'a> {
    rows: Vec<Row>,
    /// One line about all of them.
    sentence: Text,
    drain_key: Option<&'a str>,
}

pub(crate) async fn page(site: &Site, visit: &Visit) -> Result<Page, Refusal> {
    let mut workers = site.ask(site.facts.workers()).await?;
    workers.sort_by_key(|worker| (rank(worker.status.state), worker.status.host.clone(), worker.status.id));
    let form_key = visit.caller.as_ref().and_then(|caller| caller.form_key.as_deref());
    let live = workers.iter().filter(|worker| worker.status.state == WorkerState::Live);
    let (slots, running) = live.clone().fold((0_u64, 0_u64), |(slots, running), worker| {
        (slots + u64::from(worker.status.slots), running + u64::from(worker.status.running))
    });
    let count = live.count() as u64;
    let sentence = match workers.is_empty() {
        true => "No worker has registered: `windrow worker` starts one.".to_string(),
        false => format!(
            "{} of {} live; {running} of {} busy{}.",
            count,
            counted(workers.len() as u64, "worker"),
            counted(slots, "slot"),
            draining(&workers)
        ),
    };
    let page = Workers {
        rows: workers.iter().map(row).collect(),
        sentence: Text::line(sentence),
        drain_key: form_key.filter(|_| visit.may_steer()),
    };
    Ok(Page { title: Text::line("Workers"), section: "workers", main: Html::of(&page)?, settled: false })
}

/// Names the workers that finish their tasks: they are not live, and their slots are not counted.
fn draining(workers: &[WorkerFacts]) -> String {
    const NAMED_MAX: usize = 3;
    let draining = workers.iter().filter(|worker| worker.status.state == WorkerState::Draining);
    let (names, running) = draining.fold((Vec::new(), 0_u64), |(mut names, running), worker| {
        names.push(worker.status.host.as_str());
        (names, running + u64::from(worker.status.running))
    });
    if names.is_empty() {
        return String::new();
    }
    let more = match names.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let named = names[..names.len().min(NAMED_MAX)].join(", ");
    let tasks = if running == 0 { "no task".into() } else { counted(running, "task") };
    format!("; draining, with {tasks} left: {named}{more}")
}

/// What needs attention comes first.
fn rank(state: WorkerState) -> u8 {
    match state {
        WorkerState::Excluded => 0,
        WorkerState::Draining => 1,
        WorkerState::Live => 2,
        WorkerState::Lost => 3,
    }
}

fn row(worker: &WorkerFacts) -> Row {
    let status = &worker.status;
    Row {
        id: Text::line(status.id.to_string()),
        host: Text::line(&status.host),
        address: Text::line(&status.address),
        state: status.state.as_str(),
        reason: Text::line(status.reason.as_deref().unwrap_or_default()),
        disk_full: worker.disk_full,
        slots: format!("{} / {}", status.running, status.slots),
        percent: percent(u64::from(status.running), u64::from(status.slots)),
        memory: bytes(status.memory_bytes),
        silent: worker.silent_ms.map(duration).unwrap_or_default(),
        version: Text::line(&status.version),
        may_drain: matches!(status.state, WorkerState::Live | WorkerState::Excluded),
    }
}
