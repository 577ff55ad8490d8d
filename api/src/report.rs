//! Shows the status of a job to a person: its id, progress while it runs, and a summary at the end.
//!
//! It consumes statuses and decides nothing; it reads no clock, because a status contains the job's elapsed time. All
//! output goes to stderr, except the final status as JSON, which is data.

mod bars;
mod json;
mod pace;
mod text;
pub(crate) mod warning;

pub use json::{failure_json, job_json, view_json};
pub use text::{failure_text, number, seconds, summary};

use crate::stdout;
use bars::Bars;
use pace::Pace;
use std::io::{IsTerminal, Write};
use windrow_model::{Escape, Failure, JobId, JobState, JobStatus};

/// Least time between two plain lines, in milliseconds.
const LINE_INTERVAL_MS: u64 = 1_000;

/// How a job is shown while it runs, and after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// The output to stderr while the job runs.
    pub progress: Progress,
    /// Whether the final status is printed to stdout as JSON.
    pub json: bool,
}

/// The output to stderr while a job runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// One bar for each stage, redrawn in place.
    Bars,
    /// A line when something changed, at most one per second; one more when the job enters a state in which it waits.
    Lines,
    /// Nothing, not even the id, except failures.
    Quiet,
}

impl Style {
    /// Bars on a terminal that can redraw them, lines elsewhere.
    pub fn detect() -> Style {
        let redraws = std::io::stderr().is_terminal() && std::env::var_os("TERM").is_some_and(|term| term != "dumb");
        let progress = if redraws { Progress::Bars } else { Progress::Lines };
        Style { progress, json: false }
    }

    /// This style, with or without the final status as JSON on stdout.
    pub fn with_json(self, json: bool) -> Style {
        Style { json, ..self }
    }
}

/// Shows one job.
pub struct Report {
    style: Style,
    out: Box<dyn Write + Send>,
    named: bool,
    paces: Vec<Pace>,
    bars: Bars,
    line: String,
    line_at_ms: Option<u64>,
    /// The state in the last line.
    line_state: Option<JobState>,
}

impl Report {
    /// A report to stderr.
    pub fn new(style: Style) -> Report {
        Report::to(style, Box::new(std::io::stderr()))
    }

    fn to(style: Style, out: Box<dyn Write + Send>) -> Report {
        Report {
            style,
            out,
            named: false,
            paces: Vec::new(),
            bars: Bars::default(),
            line: String::new(),
            line_at_ms: None,
            line_state: None,
        }
    }

    /// Prints the job's id as the first line, once.
    pub fn started(&mut self, id: JobId) {
        if !self.named && self.style.progress != Progress::Quiet {
            self.say(&format!("job {id}"));
        }
        self.named = true;
    }

    /// Shows the present status of the job.
    pub fn update(&mut self, status: &JobStatus) {
        self.started(status.id);
        self.paces.resize(status.stages.len(), Pace::default());
        for (pace, stage) in self.paces.iter_mut().zip(&status.stages) {
            pace.see(stage, status.elapsed_ms);
        }
        match self.style.progress {
            Progress::Bars => self.draw(status),
            Progress::Lines => self.print_line(status),
            Progress::Quiet => {}
        }
    }

    /// Shows the end: the results, or the cause of the failure. With JSON, prints the status to stdout.
    ///
    /// # Errors
    /// The JSON cannot be written.
    pub fn finish(&mut self, status: &JobStatus) -> Result<(), Failure> {
        self.finish_quietly(status);
        match self.style.json {
            true => stdout::put_line(&format!("{:#}", job_json(status))).map(drop),
            false => Ok(()),
        }
    }

    /// Shows the end on stderr only.
    pub(crate) fn finish_quietly(&mut self, status: &JobStatus) {
        self.started(status.id);
        self.bars.clear(&mut *self.out);
        if self.style.progress != Progress::Quiet || status.state != JobState::Done {
            self.say(&summary(status));
        }
    }

    /// Prints a line above the bars.
    pub fn note(&mut self, text: &str) {
        self.bars.clear(&mut *self.out);
        self.say(text);
    }

    fn draw(&mut self, status: &JobStatus) {
        let labels: Vec<String> = status.stages.iter().map(|s| s.label.escaped().to_string()).collect();
        let width = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0).min(32);
        let stages = status.stages.iter().zip(&self.paces).zip(labels);
        let lines = stages.map(|((stage, pace), label)| {
            let label: String = label.chars().take(width).collect();
            let text = match &status.waiting {
                Some(waiting) if stage.tasks.running == 0 && stage.tasks.done < stage.tasks.total => {
                    waiting.escaped().to_string()
                }
                _ => text::progress(stage, pace),
            };
            bars::line(&format!("{label:width$}"), text::permille(stage), 1_000, &text)
        });
        let lines: Vec<String> = lines.collect();
        self.bars.draw(&lines, bars::rows(), &mut *self.out);
    }

    fn print_line(&mut self, status: &JobStatus) {
        if status.state.is_final() {
            return;
        }
        let line = text::line(status, &self.paces);
        // No other status may follow for an hour.
        let begins_to_wait = status.waiting.is_some() && self.line_state != Some(status.state);
        let due = self.line_at_ms.is_none_or(|at| status.elapsed_ms.saturating_sub(at) >= LINE_INTERVAL_MS);
        if line != self.line && (due || begins_to_wait) {
            self.say(&line);
            self.line = line;
            self.line_at_ms = Some(status.elapsed_ms);
            self.line_state = Some(status.state);
        }
    }

    /// A closed stderr must not end the job, so errors are dropped.
    fn say(&mut self, text: &str) {
        let _ = writeln!(self.out, "{text}");
        let _ = self.out.flush();
    }
}

#[cfg(test)]
mod json_tests;
#[cfg(test)]
mod tests;
