//! What tasks of this worker read from others and write for them: tables of outputs, their places, spools and reports.

use super::{Mail, Node};
use crate::executor::{Command, Notice};
use crate::outputs::{Held, Spooled};
use crate::recovered_outputs::{self, spooled};
use crate::report_log::KeptReport;
use crate::scratch::Scratch;
use crate::staging::WantedPort;
use std::path::PathBuf;
use std::sync::Arc;
use windrow_attempts::Event;
use windrow_format::spool;
use windrow_model::{AttemptId, Code, Failure, JobId, OutputRef, Task, TaskInput};
use windrow_proto::convert::table_from_bytes;
use windrow_proto::v1;

/// Outputs of a finished attempt in the spool of its executor.
#[derive(Debug)]
pub(super) struct InSpool {
    generation: u64,
    places: Vec<v1::Spooled>,
}

impl Node {
    /// Takes the tables of outputs that came with an assignment.
    pub(super) fn learn_tables(&mut self, tables: &[impl AsRef<[u8]>]) {
        for table in tables {
            match table_from_bytes(table.as_ref()) {
                Ok(table) => self.tables.insert(table),
                // The assignments that need it are refused.
                Err(e) => tracing::warn!("a table of outputs is not valid: {e}"),
            }
        }
    }

    /// The outputs that a task reads, with their tables.
    pub(super) fn wanted_ports(&self, task: &Task) -> Result<Vec<WantedPort>, Failure> {
        let edges = (0u32..).zip(&task.inputs).filter_map(|(input, of)| match of {
            TaskInput::Edge(edge) => Some((input, edge)),
            TaskInput::Chunk(_) | TaskInput::Inline(_) => None,
        });
        let ports = edges.flat_map(|(input, edge)| (0u32..).zip(&edge.ports).map(move |(at, port)| (input, at, port)));
        let wanted = ports.map(|(input, at, port)| {
            let table = self.tables.get(task.attempt.task.job, port.port.stage, port.version);
            let missing = || {
                let what = format!("attempt {} came without the table of stage {}", task.attempt, port.port.stage);
                Failure::new(Code::BadRequest, what)
            };
            Ok(WantedPort { input, at, port: *port, table: table.ok_or_else(missing)? })
        });
        wanted.collect()
    }

    /// The files of a task's inputs, for its executor. Tells that first where outputs lie, as far as it does not know.
    pub(super) fn port_files(&mut self, id: AttemptId) -> Vec<v1::PortFiles> {
        let (Some(job), Some(staged)) = (self.jobs.get_mut(&id.task.job), self.staged.get(&id)) else {
            return Vec::new();
        };
        let files = staged.ports.iter().map(|port| {
            let known = job.told_places.insert(port.port.port, port.places.id);
            if known != Some(port.places.id)
                && let Some(executor) = &job.executor
            {
                executor.send(Command::InPlace(Box::new(port.places.wire(&port.port))));
            }
            v1::PortFiles {
                input: port.input,
                port: port.at,
                in_place: port.places.in_place.len() as u32,
                fetched: port.fetched.clone(),
            }
        });
        files.collect()
    }

    /// Handles what an executor does.
    pub(super) fn handle_notice(&mut self, notice: Notice) {
        match notice {
            Notice::Event(event) => self.handle_event(event),
            Notice::Done { generation, attempt, report, spooled } => {
                if !spooled.is_empty() {
                    self.in_spool.insert(attempt, InSpool { generation, places: spooled });
                }
                self.handle_event(Event::TaskDone { generation, attempt, report });
                // It was not wanted any more.
                if let Some(InSpool { generation, places }) = self.in_spool.remove(&attempt) {
                    let job = self.parts.scratch.job(attempt.incarnation, attempt.task.job);
                    self.erase(recovered_outputs::spooled(&job, generation, places));
                }
            }
            Notice::Failed { generation, attempt, failure, lost } => {
                let lost = lost.and_then(|(of, output)| self.lost(attempt, &of, output));
                self.handle_event(Event::TaskFailed { generation, attempt, failure, lost });
            }
        }
    }

    /// The full name of an output that a task could not read, if the task reads it. Later readers look for it again.
    fn lost(&self, reader: AttemptId, of: &AttemptId, output: u32) -> Option<OutputRef> {
        let ports = &self.staged.get(&reader)?.ports;
        let port =
            ports.iter().find(|port| port.port.port.stage == of.task.stage && port.port.port.output == output)?;
        port.table.forget_places(output, port.places.id);
        port.table.lost(of, output)
    }

    /// Lets tasks read what this attempt has written, also in later incarnations of this worker.
    pub(super) fn serve(&mut self, id: AttemptId) {
        let Some(report) = self.attempts.report(id) else { return };
        let files = self.parts.scratch.attempt(&id);
        if let Some(spooled) = self.recovered.remove(&id) {
            return self.parts.outputs.insert(id, Held::new(files, report, spooled));
        }
        let in_spool = self.in_spool.remove(&id);
        let (generation, places) = in_spool.map_or((0, Vec::new()), |spool| (spool.generation, spool.places));
        let job = self.parts.scratch.job(id.incarnation, id.task.job);
        self.parts.outputs.insert(id, Held::new(files, report, spooled(&job, generation, places.clone())));
        if recovered_outputs::is_worth_keeping(report) {
            let report = Some(report.clone().into());
            self.note(id, KeptReport { attempt: Some(id.into()), report, generation, spooled: places });
        }
    }

    /// Notes a finished attempt, or the end of one, in the log of its job.
    fn note(&self, id: AttemptId, record: KeptReport) {
        let Some(job) = self.jobs.get(&id.task.job) else { return };
        let reports = job.reports.clone();
        self.background.spawn_blocking(move || {
            // Without the record the task reruns if this process dies, and nothing else.
            if let Err(e) = reports.append(&record) {
                tracing::debug!("the report of {id} is not kept: {e}");
            }
        });
    }

    /// Nothing of this attempt is read any more: gives back its space in the spool, and returns its files.
    pub(super) fn forget_outputs(&mut self, id: AttemptId) -> Vec<PathBuf> {
        let Some(held) = self.parts.outputs.remove(&id) else { return Vec::new() };
        self.tables.forget_attempt(self.parts.scratch.worker(), id);
        if held.has_outputs() {
            self.note(id, KeptReport { attempt: Some(id.into()), ..KeptReport::default() });
        }
        let files = held.files();
        self.erase(held.into_spooled());
        files
    }

    fn erase(&self, spooled: Vec<Spooled>) {
        if spooled.is_empty() {
            return;
        }
        self.background.spawn_blocking(move || {
            for Spooled { image, .. } in spooled {
                // The rest stays until the job ends.
                if let Err(e) = spool::erase(&image.file, spool::Place { offset: image.base, length: image.length }) {
                    tracing::debug!("space of a spool is not given back: {e}");
                }
            }
        });
    }

    /// What outlives the executor of a job: where later attempts find what it has spooled.
    pub(super) fn spool_of(&self, job: JobId, generation: u64) -> Option<std::path::PathBuf> {
        Some(Scratch::spool_in(&self.jobs.get(&job)?.folder, generation))
    }

    /// Where what an executor does arrives.
    pub(super) fn notices(&self) -> impl Fn(Notice) + Send + Sync + 'static {
        let post = self.post.clone();
        move |notice| {
            let _ = post.send(Mail::Executor(notice));
        }
    }

    /// The job has ended.
    pub(super) fn forget_tables(&mut self, job: JobId) {
        self.tables.forget_job(job);
        self.parts.lists.forget_job(job);
        self.in_spool.retain(|attempt, _| attempt.task.job != job);
        self.recovered.retain(|attempt, _| attempt.task.job != job);
    }

    /// An event, which first passes what the node adds to it.
    fn handle_event(&mut self, event: Event) {
        if let Some(mut event) = self.look_at_chunks_first(event) {
            self.name_place(&mut event);
            self.step(event)
        }
    }
}

/// The log of a job on this worker.
pub(super) fn reports(folder: &std::path::Path) -> Arc<crate::report_log::ReportLog> {
    Arc::new(crate::report_log::ReportLog::at(Scratch::reports_in(folder)))
}
