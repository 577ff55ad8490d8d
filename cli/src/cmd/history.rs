//! `windrow job events` and `windrow job tasks`: what has become of a job, also long after its end.

use super::connect;
use crate::args::{Client, Tasks};
use crate::output::{self, Format};
use crate::settings::ClientSection;
use windrow::client::AttemptsAsked;
use windrow::report::{number, seconds};
use windrow_history::{AttemptRow, Line, describe};
use windrow_model::utc_ms;
use windrow_model::{ByteSize, Code, Escape, Failure, JobId};

/// Prints the events of a job: a line each; as JSON an array, or lines while the job goes on.
pub(crate) async fn events(
    flags: Client,
    settings: ClientSection,
    id: JobId,
    follow: bool,
    format: Format,
) -> Result<(), Failure> {
    let cluster = connect(flags, settings).await?;
    let mut first = true;
    cluster
        .events(id, follow, |line| {
            // A line of JSON comes from the coordinator's files, and is none of ours before it is read.
            let parsed = Line::parse(line.as_bytes());
            let text = match (format, &parsed) {
                (Format::Json, Some(_)) if follow => format!("{line}\n"),
                (Format::Json, Some(_)) => format!("{}{line}", if first { "[\n" } else { ",\n" }),
                (Format::Table, Some(Line { t, event })) => format!("{} {}\n", utc_ms(*t), describe(event).escaped()),
                (_, None) => return Ok(true),
            };
            first = false;
            output::put_bytes(text.as_bytes())
        })
        .await?;
    if format == Format::Json && !follow {
        output::put_bytes(if first { b"[]\n" } else { b"\n]\n" })?;
    }
    Ok(())
}

/// Prints a page of the attempts of a job.
pub(crate) async fn tasks(settings: ClientSection, asked: Tasks, format: Format) -> Result<(), Failure> {
    let Tasks { client, states, sort, stage, task, skip, limit, id } = asked;
    let cluster = connect(client, settings).await?;
    let states = states.into_iter().map(|state| state.name().to_string()).collect();
    let sort = sort.name().to_string();
    let (rows, admitted) = cluster.attempts(id, AttemptsAsked { states, stage, task, sort, skip, limit }).await?;
    let parsed: Option<Vec<AttemptRow>> = rows.iter().map(|row| AttemptRow::parse(row)).collect();
    let parsed = parsed
        .ok_or_else(|| Failure::new(Code::VersionMismatch, "an attempt has a form that this release does not know"))?;
    match format {
        Format::Json if rows.is_empty() => output::put("[]")?,
        Format::Json => _ = output::put_bytes(format!("[\n{}\n]\n", rows.join(",\n")).as_bytes())?,
        Format::Table => output::put(&table(&parsed))?,
    }
    let shown = u64::from(skip) + rows.len() as u64;
    if admitted > shown {
        output::say(&format!("{} further attempts are not listed: --limit, --skip {shown}", admitted - shown));
    }
    Ok(())
}

fn table(rows: &[AttemptRow]) -> String {
    let mut table = output::table(&[
        "ATTEMPT", "STATE", "CAUSE", "START", "QUEUED", "TIME", "INPUT", "RECORDS", "OUTPUT", "SPILLED", "WORKER",
        "WHY",
    ]);
    for row in rows {
        let size = |bytes| if bytes == 0 { String::new() } else { ByteSize(bytes).to_string() };
        let why = match (&row.failure, &row.stopped) {
            (Some(failure), _) => {
                let place = failure.file.as_ref().zip(failure.offset);
                let place = place.map(|(file, offset)| format!(" (record at {file}:{offset})")).unwrap_or_default();
                let charged = if row.charged { "" } else { " (not charged)" };
                format!("{}{charged}: {}{place}", failure.code, failure.message)
            }
            (None, Some(stopped)) => stopped.to_string(),
            (None, None) => String::new(),
        };
        let worker = if row.host.is_empty() { row.worker.clone() } else { format!("{} ({})", row.host, row.worker) };
        table.add_row([
            format!("s{}/{}#{}", row.stage, row.task, row.attempt),
            row.state.as_str().to_string(),
            output::one_line(&row.cause),
            utc_ms(row.assigned_unix_ms),
            seconds(row.queued_ms),
            seconds(row.duration_ms),
            size(row.bytes_in),
            number(row.records_in),
            size(row.bytes_out),
            size(row.bytes_spilled),
            output::one_line(&worker),
            output::one_line(&why),
        ]);
    }
    output::plain(&table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use windrow_history::{AttemptState, LoggedFailure};

    #[test]
    fn table_of_attempts_escapes_what_comes_from_outside() {
        let failure = LoggedFailure {
            code: "USER_PANIC".into(),
            message: "red\u{1b}[31m\nline".into(),
            file: Some("/in/\u{202e}f".into()),
            offset: Some(7),
            ..LoggedFailure::default()
        };
        let row = AttemptRow {
            stage: 2,
            task: 118,
            state: AttemptState::Failed,
            cause: "retry\u{7}".into(),
            host: "h\u{1b}".into(),
            failure: Some(Box::new(failure)),
            charged: true,
            ..AttemptRow::default()
        };
        let text = table(&[row]);
        assert!(text.lines().nth(1).unwrap().starts_with("s2/118#0"), "{text}");
        assert!(text.contains(r"USER_PANIC: red\x1b[31m\nline (record at /in/\u{202e}f:7)"), "{text}");
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    }
}
