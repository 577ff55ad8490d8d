//! The page of all jobs: those that have not ended first, with filters, order and parts in the URL.

use super::{Html, Page};
use crate::query::{JobsQuery, PAGE_ROWS, STATES, Sort, Start};
use crate::refusal::Refusal;
use crate::site::{Site, Visit};
use crate::text::{Name, Text, counted, duration, number, percent, shortened, time};
use askama::Template;
use windrow_model::{JobState, JobStatus};

/// A row of the list.
struct Row {
    id: Text,
    short_id: Text,
    name: Name,
    state: &'static str,
    /// What it waits for, or what it failed with.
    note: Text,
    tasks: String,
    percent: u64,
    failed: u64,
    submitted: Text,
    elapsed: Text,
}

/// A link that filters by a state.
struct Choice {
    name: &'static str,
    count: Text,
    chosen: bool,
    query: String,
}

/// A heading that sorts.
struct Heading {
    name: &'static str,
    query: String,
    /// `ascending`, `descending` or `none`, for readers of the page.
    order: &'static str,
}

#[derive(Template)]
#[template(path = "jobs.html")]
struct Jobs {
    rows: Vec<Row>,
    choices: Vec<Choice>,
    headings: Vec<Heading>,
    name: Text,
    /// The states that the search keeps.
    states: Vec<&'static str>,
    sort: Option<&'static str>,
    reversed: bool,
    filtered: bool,
    admitted: String,
    page: u64,
    pages: u64,
    previous: Option<String>,
    next: Option<String>,
    empty: bool,
}

pub(crate) async fn page(site: &Site, visit: &Visit) -> Result<Page, Refusal> {
    let query = JobsQuery::of_page(&visit.query)?;
    let part = site.ask(site.facts.jobs(query.clone())).await?;
    let of = |changed: JobsQuery| format!("?{}", changed.to_page());
    let first = |query: &JobsQuery| JobsQuery { start: Start::Skip(0), ..query.clone() };
    let all: u64 = part.by_state.iter().map(|(_, n)| n).sum();
    let with_states = |states: Vec<JobState>| {
        let mut changed = first(&query);
        changed.filter.states = states;
        of(changed)
    };
    let mut choices = vec![Choice {
        name: "all",
        count: number(all),
        chosen: query.filter.states.is_empty(),
        query: with_states(Vec::new()),
    }];
    choices.extend(STATES.map(|state| Choice {
        name: state.as_str(),
        count: number(part.by_state.iter().find(|(s, _)| *s == state).map_or(0, |(_, n)| *n)),
        chosen: query.filter.states == [state],
        query: with_states(vec![state]),
    }));
    let headings = [
        ("Job", Sort::Name),
        ("State", Sort::State),
        ("Tasks", Sort::Tasks),
        ("Failed", Sort::Failed),
        ("Submitted", Sort::Submitted),
        ("Time", Sort::Elapsed),
    ];
    let headings = headings.map(|(name, sort)| {
        let chosen = query.sort == sort;
        let changed = JobsQuery { sort, reversed: chosen && !query.reversed, ..first(&query) };
        let order = match (chosen, query.reversed == sort.descends()) {
            (false, _) => "none",
            (true, true) => "ascending",
            (true, false) => "descending",
        };
        Heading { name, query: of(changed), order }
    });
    let pages = part.admitted.div_ceil(PAGE_ROWS).max(1);
    let to = |page: u64| of(JobsQuery { start: Start::Skip((page - 1) * PAGE_ROWS), ..query.clone() });
    let page = query.page();
    let jobs = Jobs {
        rows: part.jobs.iter().map(row).collect(),
        choices,
        headings: headings.into(),
        name: Text::line(&query.filter.name),
        states: query.filter.states.iter().map(|state| state.as_str()).collect(),
        sort: (query.sort != Sort::default()).then(|| query.sort.as_str()),
        reversed: query.reversed,
        filtered: !query.filter.states.is_empty() || !query.filter.name.is_empty(),
        admitted: counted(part.admitted, "job"),
        page,
        pages,
        previous: (page > 1).then(|| to((page - 1).min(pages))),
        next: (page < pages).then(|| to(page + 1)),
        empty: part.jobs.is_empty(),
    };
    Ok(Page { title: Text::line("Jobs"), section: "jobs", main: Html::of(&jobs)?, settled: false })
}

fn row(job: &JobStatus) -> Row {
    let id = job.id.to_string();
    // The state says all about a cancelled job.
    let note = match (&job.error, &job.waiting) {
        (Some(error), _) if job.state == JobState::Failed => {
            Text::line(format!("{}: {}", error.code, first_line(&error.message)))
        }
        (_, Some(waiting)) if !job.state.is_final() => Text::line(format!("waits: {waiting}")),
        _ => Text::default(),
    };
    Row {
        short_id: Text::line(&id[id.len().saturating_sub(8)..]),
        id: Text::line(&id),
        name: Name::of(&job.name),
        state: job.state.as_str(),
        note,
        tasks: format!("{} / {}", number(job.tasks.done), number(job.tasks.total)),
        percent: percent(job.tasks.done, job.tasks.total),
        failed: job.tasks.failed,
        submitted: time(job.submitted_unix_ms),
        elapsed: duration(job.elapsed_ms),
    }
}

/// The first line of a message, short enough for a row.
fn first_line(message: &str) -> String {
    const CHARS_MAX: usize = 160;
    shortened(message.lines().next().unwrap_or_default(), CHARS_MAX).into_owned()
}
