//! Which jobs a list shows, and in which order. The query is the URL, so a list can be kept and shared.

use form_urlencoded::{Serializer, parse};
use std::cmp::Ordering;
use windrow_model::{Code, Escape, Failure, JobFilter, JobId, JobState, JobStatus};

/// Jobs on one page of the list.
pub const PAGE_ROWS: u64 = 50;
/// Most jobs in one answer.
pub const ROWS_MAX: u64 = 500;
/// Most bytes of a name to search for.
const NAME_BYTES_MAX: usize = 256;

/// All states, in the order of a job's life.
pub const STATES: [JobState; 6] = [
    JobState::Planning,
    JobState::Running,
    JobState::Committing,
    JobState::Done,
    JobState::Failed,
    JobState::Cancelled,
];

/// The order of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sort {
    /// Jobs that have not ended first, then the others; the latest first.
    #[default]
    Activity,
    /// The latest submission first.
    Submitted,
    /// By name.
    Name,
    /// By state, in the order of a job's life.
    State,
    /// The longest first.
    Elapsed,
    /// Most tasks first.
    Tasks,
    /// Most failed attempts first.
    Failed,
}

impl Sort {
    const ALL: [(Sort, &str); 7] = [
        (Sort::Activity, "activity"),
        (Sort::Submitted, "submitted"),
        (Sort::Name, "name"),
        (Sort::State, "state"),
        (Sort::Elapsed, "elapsed"),
        (Sort::Tasks, "tasks"),
        (Sort::Failed, "failed"),
    ];

    /// The name in URLs.
    pub fn as_str(self) -> &'static str {
        Sort::ALL.iter().find(|(sort, _)| *sort == self).map_or("activity", |(_, name)| name)
    }

    /// Whether the list begins with the largest key, if it is not reversed.
    pub(crate) fn descends(self) -> bool {
        matches!(self, Sort::Submitted | Sort::Elapsed | Sort::Tasks | Sort::Failed)
    }

    fn compare(self, a: &JobStatus, b: &JobStatus) -> Ordering {
        let latest = || b.id.cmp(&a.id);
        let key = match self {
            Sort::Activity => a.state.is_final().cmp(&b.state.is_final()),
            Sort::Submitted => b.submitted_unix_ms.cmp(&a.submitted_unix_ms),
            Sort::Name => a.name.cmp(&b.name),
            Sort::State => rank(a.state).cmp(&rank(b.state)),
            Sort::Elapsed => b.elapsed_ms.cmp(&a.elapsed_ms),
            Sort::Tasks => b.tasks.total.cmp(&a.tasks.total),
            Sort::Failed => b.tasks.failed.cmp(&a.tasks.failed),
        };
        key.then_with(latest)
    }
}

fn rank(state: JobState) -> usize {
    STATES.iter().position(|s| *s == state).unwrap_or(STATES.len())
}

/// Where a part of the list begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// After this many jobs.
    Skip(u64),
    /// After this job, in the order of ids from the latest. It holds while jobs are added and forgotten.
    After(JobId),
}

/// A question for a part of the list of jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobsQuery {
    /// States, a part of the name, and the earliest submission. Its limit is not used.
    pub filter: JobFilter,
    /// The order.
    pub sort: Sort,
    /// The opposite order.
    pub reversed: bool,
    /// Where the part begins.
    pub start: Start,
    /// Most jobs in the part.
    pub rows: u64,
}

impl Default for JobsQuery {
    fn default() -> JobsQuery {
        let (filter, sort) = Default::default();
        JobsQuery { filter, sort, reversed: false, start: Start::Skip(0), rows: PAGE_ROWS }
    }
}

/// The jobs that a query selects.
#[derive(Debug)]
pub struct Selected<'a> {
    /// The jobs of the part, in order.
    pub jobs: Vec<&'a JobStatus>,
    /// Number of jobs that the filter admits.
    pub admitted: u64,
    /// Number of jobs in each state, as if the filter named no states.
    pub by_state: Vec<(JobState, u64)>,
}

impl JobsQuery {
    /// Reads the query of a page: `state`, `name`, `since`, `sort`, `reversed`, `page`.
    ///
    /// # Errors
    /// `BAD_REQUEST` for an unknown parameter or value.
    pub fn of_page(query: &str) -> Result<JobsQuery, Failure> {
        let mut read = JobsQuery::default();
        for (key, value) in parse(query.as_bytes()) {
            match &*key {
                "sort" => {
                    let known = Sort::ALL.iter().find(|(_, name)| *name == value);
                    read.sort = known.map(|(sort, _)| *sort).ok_or_else(|| wrong(&key, &value))?;
                }
                "reversed" => read.reversed = flag(&key, &value)?,
                "page" => {
                    let page: u64 = value.parse().map_err(|_| wrong(&key, &value))?;
                    read.start = Start::Skip(page.saturating_sub(1).saturating_mul(PAGE_ROWS));
                }
                _ => read.read_filter(&key, &value)?,
            }
        }
        Ok(read)
    }

    /// Reads the query of the API: `state`, `name`, `since`, `limit`, `cursor`.
    ///
    /// # Errors
    /// `BAD_REQUEST` for an unknown parameter or value.
    pub fn of_api(query: &str) -> Result<JobsQuery, Failure> {
        let mut read = JobsQuery { rows: 100, sort: Sort::Submitted, ..JobsQuery::default() };
        for (key, value) in parse(query.as_bytes()) {
            match &*key {
                "cursor" => read.start = Start::After(value.parse().map_err(|_| wrong(&key, &value))?),
                "limit" => {
                    let rows = value.parse().ok().filter(|rows| (1..=ROWS_MAX).contains(rows));
                    read.rows = rows.ok_or_else(|| wrong(&key, &value))?;
                }
                _ => read.read_filter(&key, &value)?,
            }
        }
        if read.start == Start::Skip(0) {
            // The order of cursors from the first part on.
            read.start = Start::After(JobId::from_bytes([u8::MAX; 16]));
        }
        Ok(read)
    }

    fn read_filter(&mut self, key: &str, value: &str) -> Result<(), Failure> {
        match key {
            // A form sends its empty fields, too.
            "state" if value.is_empty() => {}
            "state" if value == "active" => {
                self.filter.states.extend([JobState::Planning, JobState::Running, JobState::Committing]);
            }
            "state" => {
                let state = STATES.into_iter().find(|state| state.as_str() == value);
                self.filter.states.push(state.ok_or_else(|| wrong(key, value))?);
                self.filter.states.truncate(STATES.len());
            }
            "name" if value.len() > NAME_BYTES_MAX => return Err(wrong(key, "a long text")),
            "name" => self.filter.name = value.to_string(),
            "since" if value.is_empty() => {}
            "since" => self.filter.since_unix_ms = value.parse().map_err(|_| wrong(key, value))?,
            _ => return Err(Failure::new(Code::BadRequest, format!("unknown parameter `{}`", key.escaped()))),
        }
        Ok(())
    }

    /// The query of the URL of a page with these settings. Defaults are left out.
    pub fn to_page(&self) -> String {
        let mut text = Serializer::new(String::new());
        for state in &self.filter.states {
            text.append_pair("state", state.as_str());
        }
        if !self.filter.name.is_empty() {
            text.append_pair("name", &self.filter.name);
        }
        if self.filter.since_unix_ms > 0 {
            text.append_pair("since", &self.filter.since_unix_ms.to_string());
        }
        if self.sort != Sort::default() {
            text.append_pair("sort", self.sort.as_str());
        }
        if self.reversed {
            text.append_pair("reversed", "1");
        }
        if self.page() > 1 {
            text.append_pair("page", &self.page().to_string());
        }
        text.finish()
    }

    /// The number of the page, from 1.
    pub fn page(&self) -> u64 {
        match self.start {
            Start::Skip(rows) => rows / PAGE_ROWS + 1,
            Start::After(_) => 1,
        }
    }

    /// Selects a part of `all`. Sorts references: O(n log n) for n admitted jobs, without copying one.
    pub fn select<'a>(&self, all: impl Iterator<Item = &'a JobStatus>) -> Selected<'a> {
        let any_state = JobFilter { states: Vec::new(), ..self.filter.clone() };
        let mut counts = [0; STATES.len()];
        let mut jobs: Vec<&JobStatus> = Vec::new();
        for job in all.filter(|job| any_state.admits(job)) {
            if let Some(count) = counts.get_mut(rank(job.state)) {
                *count += 1;
            }
            if self.filter.states.is_empty() || self.filter.states.contains(&job.state) {
                jobs.push(job);
            }
        }
        let admitted = jobs.len() as u64;
        let by_state = STATES.into_iter().zip(counts).collect();
        let rows = self.rows.min(ROWS_MAX) as usize;
        match self.start {
            Start::After(last) => {
                jobs.retain(|job| job.id < last);
                jobs.sort_unstable_by_key(|job| std::cmp::Reverse(job.id));
                jobs.truncate(rows);
            }
            Start::Skip(skipped) => {
                jobs.sort_unstable_by(|a, b| self.sort.compare(a, b));
                if self.reversed {
                    jobs.reverse();
                }
                jobs = jobs.into_iter().skip(usize::try_from(skipped).unwrap_or(usize::MAX)).take(rows).collect();
            }
        }
        Selected { jobs, admitted, by_state }
    }
}

fn flag(key: &str, value: &str) -> Result<bool, Failure> {
    match value {
        "1" => Ok(true),
        "" | "0" => Ok(false),
        _ => Err(wrong(key, value)),
    }
}

fn wrong(key: &str, value: &str) -> Failure {
    Failure::new(Code::BadRequest, format!("`{}` cannot be {}", key.escaped(), value.escaped()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(n: u8, state: JobState, name: &str) -> JobStatus {
        let mut bytes = [0; 16];
        bytes[0] = n;
        JobStatus {
            name: name.into(),
            submitted_unix_ms: u64::from(n),
            ..JobStatus::new(JobId::from_bytes(bytes), state)
        }
    }

    fn jobs() -> Vec<JobStatus> {
        let state = |n| if n % 3 == 0 { JobState::Running } else { JobState::Done };
        (0..200).map(|n| job(n, state(n), &format!("job {:03}", 199 - n))).collect()
    }

    #[test]
    fn running_jobs_come_first_and_pages_cover_all() {
        let all = jobs();
        let mut seen = Vec::new();
        for page in 1..=4 {
            let query = JobsQuery::of_page(&format!("page={page}")).unwrap();
            let part = query.select(all.iter());
            assert_eq!((part.admitted, part.jobs.len()), (200, 50));
            seen.extend(part.jobs.iter().map(|job| (job.state.is_final(), std::cmp::Reverse(job.id))));
        }
        assert!(seen.is_sorted() && seen.len() == 200);
        assert!(JobsQuery::of_page("page=5").unwrap().select(all.iter()).jobs.is_empty());
        let huge = format!("page={}", u64::MAX);
        assert!(JobsQuery::of_page(&huge).unwrap().select(all.iter()).jobs.is_empty());
    }

    #[test]
    fn filters_count_other_states_too() {
        let all = jobs();
        let part = JobsQuery::of_page("state=done&name=job+00").unwrap();
        let part = part.select(all.iter());
        assert_eq!(part.admitted, 7);
        let count = |state| part.by_state.iter().find(|(s, _)| *s == state).unwrap().1;
        assert_eq!((count(JobState::Done), count(JobState::Running), count(JobState::Failed)), (7, 3, 0));
    }

    #[test]
    fn cursor_holds_while_jobs_come_and_go() {
        let all = jobs();
        let first = JobsQuery::of_api("limit=60").unwrap();
        let first = first.select(all.iter());
        let last = first.jobs.last().unwrap().id;
        let query = JobsQuery::of_api(&format!("limit=60&cursor={last}")).unwrap();
        // A new job, and the job of the cursor is forgotten.
        let newer = job(220, JobState::Planning, "new");
        let now: Vec<&JobStatus> = all.iter().filter(|job| job.id != last).chain([&newer]).collect();
        let second = query.select(now.into_iter());
        assert_eq!(second.jobs.len(), 60);
        assert!(second.jobs.iter().all(|job| job.id < last));
        assert_eq!(second.jobs[0].id, JobId::from_bytes([139, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    }

    #[test]
    fn url_of_a_query_reads_back() {
        for text in ["", "state=done&state=failed&name=a%26b+c%22&sort=name&reversed=1&page=3", "since=17&sort=elapsed"]
        {
            let query = JobsQuery::of_page(text).unwrap();
            assert_eq!(query.to_page(), text);
        }
        for wrong in ["state=x", "sort=x", "page=x", "x=1", "reversed=2", "since=-1", "cursor=x"] {
            assert_eq!(JobsQuery::of_page(wrong).unwrap_err().code, Code::BadRequest, "{wrong}");
        }
        for wrong in ["limit=0", "limit=501", "cursor=job", "page=2"] {
            assert_eq!(JobsQuery::of_api(wrong).unwrap_err().code, Code::BadRequest, "{wrong}");
        }
    }
}
