//! `windrow job`: list, get, wait, cancel, events, tasks, logs; and following a job to its end, also for `submit`.

use super::connect;
use crate::args::{Job, JobVerb, Span};
use crate::exit::Exit;
use crate::output::{self, Format};
use crate::settings::Settings;
use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::time::{Duration, SystemTime};
use windrow::client::{Cluster, LogPiece};
use windrow::report::{Report, Style};
use windrow_model::view::LogView;
use windrow_model::{AttemptId, Code, Escape, Failure, JobFilter, JobId};

/// Runs one of them.
pub(crate) async fn run(args: Job, settings: Settings, format: Format) -> Result<Exit, Failure> {
    let client = settings.client;
    match args.verb {
        JobVerb::List { client: flags, past, states, name, since, limit } => {
            let since_unix_ms = since.map_or(0, |span| unix_ms().saturating_sub(span.ms));
            let states = states.into_iter().map(Into::into).collect();
            let filter = JobFilter { states, name: name.unwrap_or_default(), since_unix_ms, limit };
            let cluster = connect(flags, client).await?;
            let (mut jobs, mut admitted) = cluster.list_some(filter.clone()).await?;
            if past {
                // What the coordinator knows is newer than a summary.
                let known: BTreeSet<JobId> = jobs.iter().map(|job| job.id).collect();
                let past = cluster.past_jobs(filter).await?;
                jobs.extend(past.into_iter().filter(|job| !known.contains(&job.id)));
                admitted = admitted.max(jobs.len() as u64);
            }
            // Ids begin with their creation time.
            jobs.sort_by_key(|job| std::cmp::Reverse(job.id));
            jobs.truncate(limit.map_or(usize::MAX, |limit| limit as usize));
            output::jobs(&jobs, format)?;
            let left_off = admitted.saturating_sub(jobs.len() as u64);
            if left_off > 0 {
                output::say(&format!("{left_off} earlier jobs are not listed"));
            }
        }
        JobVerb::Get { client: flags, id } => {
            output::job(&connect(flags, client).await?.get(id).await?, format)?;
        }
        JobVerb::Wait { client: flags, id, timeout } => {
            let cluster = connect(flags, client).await?;
            let report = Report::new(Style::detect().with_json(format == Format::Json));
            return follow(&cluster, id, report, timeout).await;
        }
        JobVerb::Cancel { client: flags, id } => {
            let cluster = connect(flags, client).await?;
            let before = cluster.get(id).await?.state;
            // If it ends in between, the cancel has no effect.
            cluster.cancel(id).await?;
            match before.is_final() {
                true => output::say(&format!("{id} has ended already: {}", before.as_str())),
                false => output::say(&format!("{id} is being cancelled")),
            }
        }
        JobVerb::Commit { client: flags, give_up, id } => {
            connect(flags, client).await?.decide_commit(id, give_up).await?;
            output::say(&match give_up {
                true => format!("{id} is given up: a whole output of it has a file _SUCCESS that names the job"),
                false => format!("the commit of {id} is tried again"),
            });
        }
        JobVerb::Events { client: flags, follow, id } => {
            super::history::events(flags, client, id, follow, format).await?
        }
        JobVerb::Tasks(asked) => super::history::tasks(client, asked, format).await?,
        JobVerb::Logs { client: flags, id } => {
            let cluster = connect(flags, client).await?;
            match format {
                Format::Table => logs_text(&cluster, id).await?,
                Format::Json => logs_json(&cluster, id).await?,
            }
        }
    }
    Ok(Exit::Done)
}

/// Milliseconds since 1970, by this machine's clock.
fn unix_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Shows a job until it ends, the user presses Ctrl-C, or the time is up. The job itself is unaffected.
pub(crate) async fn follow(
    cluster: &Cluster,
    id: JobId,
    mut report: Report,
    timeout: Option<Span>,
) -> Result<Exit, Failure> {
    let watch = cluster.watch(id, |status| {
        if !status.state.is_final() {
            report.update(status);
        }
    });
    let late = async {
        match timeout {
            Some(span) => tokio::time::sleep(Duration::from_millis(span.ms)).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        watched = watch => {
            let status = watched?;
            report.finish(&status)?;
            Ok(Exit::of_job(&status))
        }
        _ = tokio::signal::ctrl_c() => {
            drop(report);
            let url = cluster.url();
            output::say(&format!(
                "\nleft {id}, which goes on\n  watch:  windrow job wait --coordinator {url} {id}\n  cancel: windrow job cancel --coordinator {url} {id}"
            ));
            Ok(Exit::Interrupted)
        }
        () = late => {
            drop(report);
            Err(Failure::new(Code::DeadlineExceeded, format!("{id} is not over yet, and goes on")))
        }
    }
}

/// Each attempt's output after a line that names it: unchanged, except for control characters where stdout is a
/// terminal.
async fn logs_text(cluster: &Cluster, id: JobId) -> Result<(), Failure> {
    let mut shown: Option<AttemptId> = None;
    let mut line_open = false;
    let terminal = std::io::stdout().is_terminal();
    let mut written = Ok(true);
    let mut put = |bytes: &[u8]| {
        if written == Ok(true) {
            written = output::put_bytes(bytes);
        }
    };
    let logs = cluster
        .logs(id, |piece| {
            if shown != Some(piece.attempt) {
                let end = if line_open { "\n" } else { "" };
                let worker = piece.worker.map(|w| format!(" on {w}")).unwrap_or_default();
                put(format!("{end}== {}{worker} ==\n", name(&piece)).as_bytes());
                shown = Some(piece.attempt);
            }
            match terminal {
                true => put(printable(&piece.data).as_bytes()),
                false => put(&piece.data),
            }
            line_open = piece.data.last().map_or(line_open, |b| *b != b'\n');
        })
        .await;
    written?;
    logs
}

/// The same lines without control characters.
fn printable(bytes: &[u8]) -> String {
    bytes.split_inclusive(|b| *b == b'\n').map(printable_line).collect()
}

fn printable_line(line: &[u8]) -> String {
    match line.strip_suffix(b"\n") {
        Some(line) => format!("{}\n", line.escaped()),
        None => line.escaped().to_string(),
    }
}

/// An array with one object for each attempt.
async fn logs_json(cluster: &Cluster, id: JobId) -> Result<(), Failure> {
    let mut logs: Vec<LogPiece> = Vec::new();
    cluster
        .logs(id, |piece| match logs.iter_mut().find(|log| log.attempt == piece.attempt) {
            Some(log) => log.data.extend_from_slice(&piece.data),
            None => logs.push(piece),
        })
        .await?;
    let views: Vec<_> = logs.iter().map(|log| LogView::new(log.attempt, log.worker, &log.data)).collect();
    output::put_json(&views)
}

fn name(piece: &LogPiece) -> String {
    let task = piece.attempt.task;
    format!("stage {} task {} attempt {}", task.stage, task.index, piece.attempt.number)
}
