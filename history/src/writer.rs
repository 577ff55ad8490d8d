//! The log of one job while it is written: lines that wait, the file that grows, and the fold of what is on disk.
//!
//! Only lines that were written are folded, so the summary is the fold of the log, also after errors of the disk.

use crate::event::{Event, Header, Line, VERSION};
use crate::files::{JobFiles, PARTS_MAX};
use crate::fold::Fold;
use crate::read::{Cursor, Frames};
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;
use windrow_failpoint::failpoint;
use windrow_format::{private, regular_file};

/// Bytes of a file at which the next one begins.
const ROLL_BYTES: u64 = if cfg!(test) { 1 << 20 } else { 16 << 20 };

/// What the first line of each file says of its writer.
#[derive(Clone, Debug)]
pub(crate) struct WrittenBy {
    pub engine: String,
    pub epoch: u64,
}

/// The log of a job.
pub(crate) struct JobLog {
    files: JobFiles,
    name: String,
    fold: Fold,
    part: u32,
    /// Bytes of the present part; 0: it is not begun.
    part_bytes: u64,
    /// Lines that wait, as text and as they are.
    text: Vec<u8>,
    lines: Vec<Line>,
    /// Lines that could not be written.
    dropped: u64,
}

impl JobLog {
    /// A log that begins, or goes on in a part of its own; then an empty name stands for the one that it has.
    ///
    /// # Errors
    /// What is there cannot be read.
    pub(crate) fn open(files: JobFiles, mut name: String) -> io::Result<JobLog> {
        let mut fold = Fold::default();
        let part = match files.parts()?.last() {
            None => 0,
            Some(last) if *last < PARTS_MAX => last + 1,
            Some(_) => return Err(io::Error::other("the log has too many parts")),
        };
        if part > 0 {
            files.read(Cursor::default(), false, &mut |logged| {
                fold.apply(&logged.line);
                ControlFlow::Continue(())
            })?;
            if name.is_empty() {
                name = fold.name().to_string();
            }
        }
        Ok(JobLog { files, name, fold, part, part_bytes: 0, text: Vec::new(), lines: Vec::new(), dropped: 0 })
    }

    /// Adds a line, which waits. Returns the bytes of all lines that wait.
    pub(crate) fn push(&mut self, mut line: Line) -> usize {
        if let Event::Away { from, .. } = &mut line.event {
            *from = self.fold.last();
        }
        line.write_to(&mut self.text);
        self.lines.push(line);
        self.text.len()
    }

    /// Whether lines wait.
    pub(crate) fn has_lines(&self) -> bool {
        !self.lines.is_empty()
    }

    /// Whether the end of the job is written.
    pub(crate) fn has_ended(&self) -> bool {
        self.fold.has_ended()
    }

    /// Whether the end of the job is written or waits.
    pub(crate) fn is_ending(&self) -> bool {
        self.has_ended() || self.lines.iter().any(|line| matches!(line.event, Event::Ended(_)))
    }

    /// Writes the lines that wait.
    ///
    /// # Errors
    /// They are not written, and their number is returned, too. They are lost, apart from the end of the job.
    pub(crate) fn flush(&mut self, by: &WrittenBy, frames: &mut Frames) -> Result<(), (io::Error, u64)> {
        let Some(first) = self.lines.first() else { return Ok(()) };
        let t = first.t;
        let mut before = Vec::new();
        if self.part_bytes == 0 {
            let header = Header {
                version: VERSION,
                job: self.files.job.to_string(),
                name: self.name.clone(),
                engine: by.engine.clone(),
                epoch: by.epoch,
                part: self.part,
            };
            before.push(Line { t, event: Event::Log(header) });
        }
        if self.dropped > 0 {
            before.push(Line { t, event: Event::Dropped { n: self.dropped } });
        }
        let mut text = Vec::with_capacity(self.text.len() + 512);
        before.iter().for_each(|line| line.write_to(&mut text));
        text.append(&mut self.text);
        let lines = std::mem::take(&mut self.lines);
        match frames.compress(&text).and_then(|frame| self.append(&frame)) {
            Ok(()) => {
                before.iter().chain(&lines).for_each(|line| self.fold.apply(line));
                self.dropped = 0;
                if self.part_bytes >= ROLL_BYTES && self.part < PARTS_MAX {
                    (self.part, self.part_bytes) = (self.part + 1, 0);
                }
                Ok(())
            }
            Err(e) => {
                let all = lines.len() as u64;
                let end = lines.into_iter().find(|line| matches!(line.event, Event::Ended(_)));
                let dropped = all - u64::from(end.is_some());
                self.dropped += dropped;
                end.into_iter().for_each(|line| _ = self.push(line));
                Err((e, dropped))
            }
        }
    }

    /// Appends a frame to the present part. After an error the file is as before, or another part is begun.
    fn append(&mut self, frame: &[u8]) -> io::Result<()> {
        if self.part_bytes == 0 {
            private::create_folders(self.files.folder())?;
        }
        let path = self.files.part(self.part);
        match append(&path, self.part_bytes, frame) {
            Ok(()) => {
                self.part_bytes += frame.len() as u64;
                Ok(())
            }
            Err((e, is_whole)) => {
                // A file of which nothing is left begins again.
                if !is_whole {
                    (self.part, self.part_bytes) = ((self.part + 1).min(PARTS_MAX), 0);
                }
                Err(e)
            }
        }
    }

    /// Writes the summary.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) fn write_summary(&self) -> io::Result<()> {
        self.files.write_summary(&self.fold.summary().to_json())
    }
}

/// Appends bytes to a file that has this length. The error says whether the file is as before.
fn append(path: &Path, length: u64, bytes: &[u8]) -> Result<(), (io::Error, bool)> {
    let mut file =
        regular_file::open_with(private::options().append(true).create(true), path).map_err(|e| (e, true))?;
    let written = failpoint!("history.write").and_then(|()| file.write_all(bytes));
    written.map_err(|e| {
        let is_whole = file.set_len(length).is_ok();
        (e, is_whole)
    })
}
