//! What the attempts of a job wrote to stdout and stderr.

use super::{Html, Page, job_id};
use crate::facts::{AttemptLog, LogFilter};
use crate::refusal::Refusal;
use crate::site::{Site, Visit};
use crate::text::{Text, bytes};
use askama::Template;
use windrow_model::{Code, Escape, Failure};

/// Most bytes of logs on a page.
const PAGE_BYTES_MAX: usize = 192 << 10;

struct Log {
    stage: u32,
    task: u32,
    attempt: u32,
    worker: Text,
    text: Text,
}

#[derive(Template)]
#[template(path = "logs.html")]
struct Logs {
    id: Text,
    logs: Vec<Log>,
    /// Whether only some attempts are asked for.
    some: bool,
    cut: bool,
    most: Text,
    missing: Vec<Text>,
}

pub(crate) async fn page(site: &Site, visit: &Visit) -> Result<Page, Refusal> {
    let id = job_id(&visit.id)?;
    let only = log_filter(&visit.query)?;
    let logs = site.ask(site.facts.logs(id, only, PAGE_BYTES_MAX)).await?;
    let logs = Logs {
        id: Text::line(id.to_string()),
        logs: logs.attempts.iter().map(log).collect(),
        some: only != LogFilter::default(),
        cut: logs.cut,
        most: bytes(PAGE_BYTES_MAX as u64),
        missing: logs.missing.iter().map(Text::line).collect(),
    };
    Ok(Page { title: Text::line("Logs"), section: "jobs", main: Html::of(&logs)?, settled: false })
}

fn log(of: &AttemptLog) -> Log {
    Log {
        stage: of.attempt.task.stage.0,
        task: of.attempt.task.index,
        attempt: of.attempt.number,
        worker: Text::line(of.worker.map(|worker| worker.to_string()).unwrap_or_default()),
        text: Text::lines(&of.output),
    }
}

/// Reads `stage`, `task` and `attempt`.
pub(crate) fn log_filter(query: &str) -> Result<LogFilter, Failure> {
    let mut filter = LogFilter::default();
    for (key, value) in form_urlencoded::parse(query.as_bytes()) {
        let wrong = || Failure::new(Code::BadRequest, format!("`{}` cannot be {}", key.escaped(), value.escaped()));
        let number = Some(value.parse().map_err(|_| wrong())?);
        match &*key {
            "stage" => filter.stage = number,
            "task" => filter.task = number,
            "attempt" => filter.attempt = number,
            _ => return Err(wrong()),
        }
    }
    Ok(filter)
}
