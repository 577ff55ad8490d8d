//! Runs a job in this process: the cluster's scheduler and engine, with one node and threads as its slots.
//!
//! There are no retries and no isolation: a panic fails the job with its record, and so does a crash, which ends the
//! process (see `supervise.rs`).

mod files;
mod interrupts;
mod outputs;
mod positions;
mod released;
mod scratch;
mod shuffle;

use crate::error::{Error, Result};
use crate::report::warning::warn;
use crate::run::finished::Finished;
use crate::run::job_id::new_job_id;
use crate::run::task_run::StageTable;
use crate::run::threads::{Threads, thread_code};
use crate::task::env::TaskEnv;
use crate::task::failure::TaskResult;
use outputs::Outputs;
use positions::Positions;
use scratch::Scratch;
use shuffle::Shuffle;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};
use windrow_engine::Memory;
use windrow_format::codec::Codec;
use windrow_format::durable::Durability;
use windrow_format::names;
use windrow_model::{
    AttemptId, Code, Digest, Epoch, Failure, Incarnation, JobId, JobOptions, JobSpec, JobState, JobStatus, NodeInfo,
    StageId, StagedPart, Task, TaskReport, Time, WorkerId,
};
use windrow_scheduler::{Action, Collected, CollectedBlob, Config, Event, Scheduler, StageChunks};
use windrow_store::{PartFile, Receipts, Staging, Steps, Storage, complete_output};

/// Options of a local run.
pub(crate) struct LocalOptions {
    pub name: String,
    pub threads: usize,
    pub memory_bytes: u64,
    pub scratch: Option<PathBuf>,
    pub durable: bool,
    pub job: JobOptions,
}

/// Interval of progress reports while nothing else happens.
const REPORT_EVERY: Duration = Duration::from_millis(200);

/// Longest wait for the tasks of a run that has ended.
const LAST_TASKS: Duration = Duration::from_secs(2);

/// A task, or a part of the clean-up.
type Work = Box<dyn FnOnce() + Send>;

/// The messages that the loop receives.
enum Message {
    Event(Box<Event>),
    Interrupted,
}

/// Runs a built job to its end. `progress` gets its status at intervals, and the final status last.
pub(crate) fn run(
    program: StageTable,
    options: LocalOptions,
    progress: &mut dyn FnMut(&JobStatus),
) -> Result<Finished> {
    let job = new_job_id()?;
    let scratch = Scratch::create(&program, &options, job)?;
    let (sender, messages) = channel();
    let threads = Threads::start(options.threads, |work: Work| work())
        .map_err(|e| Error::new(thread_code(&e), format!("cannot start {} threads: {e}", options.threads)))?;
    let interrupted = sender.clone();
    // While the run lives there is a receiver; after it nothing is left to interrupt.
    let _watched = interrupts::watch(move || drop(interrupted.send(Message::Interrupted)))
        .map_err(|e| Error::new(Code::IoError, format!("cannot watch for signals: {e}")))?;
    let memory = Memory::of_process(options.memory_bytes, options.threads);
    let durability = if options.durable { Durability::Sync } else { Durability::NoSync };
    let run = Run {
        job,
        program: Arc::new(program),
        folder: scratch.folder.clone(),
        outputs: Outputs::new(job, &scratch.folder, memory.clone(), options.memory_bytes),
        memory,
        durability,
        started: Instant::now(),
        scheduler: Scheduler::new(Config { lease_ms: u64::MAX, prefetch_per_slot: 0, ..Config::default() }, Epoch(1)),
        sender,
        slots: options.threads as u32,
        threads,
        stagings: BTreeMap::new(),
        receipts: Receipts::default(),
        storage: windrow_store::Outputs::default(),
        attempts: HashMap::new(),
        running: 0,
        positions: Positions::default(),
        ended: None,
    };
    run.drive(options, messages, progress)
}

struct Run {
    job: JobId,
    program: Arc<StageTable>,
    folder: PathBuf,
    memory: Arc<Memory>,
    outputs: Outputs,
    durability: Durability,
    started: Instant,
    scheduler: Scheduler,
    sender: Sender<Message>,
    slots: u32,
    threads: Threads<Work>,
    /// What is staged, by sink, and the receipts of parts.
    stagings: BTreeMap<u32, Staging>,
    receipts: Receipts,
    storage: windrow_store::Outputs,
    /// Flags that cancel the attempts.
    attempts: HashMap<AttemptId, Arc<AtomicBool>>,
    /// Number of tasks that were started and have not reported.
    running: usize,
    positions: Positions,
    ended: Option<Finished>,
}

const WORKER: WorkerId = WorkerId(uuid::Uuid::nil());

impl Run {
    fn now(&self) -> Time {
        Time(self.started.elapsed().as_millis() as u64)
    }

    fn drive(
        mut self,
        options: LocalOptions,
        messages: Receiver<Message>,
        progress: &mut dyn FnMut(&JobStatus),
    ) -> Result<Finished> {
        let spec = JobSpec {
            id: self.job,
            name: options.name,
            program: String::new(),
            params: String::new(),
            plan: self.program.plan.clone(),
            binary: Digest([0; 32]),
            options: JobOptions { attempts_max: 1, backup_attempts: false, ..options.job },
        };
        let unix_ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis());
        let node = NodeInfo {
            worker: WORKER,
            incarnation: Incarnation(1),
            address: String::new(),
            host: String::new(),
            slots: options.threads as u32,
            memory_bytes: options.memory_bytes,
            version: String::new(),
            home: None,
        };
        self.handle(Event::WorkerJoined { node, held: Vec::new(), left: Vec::new() });
        self.handle(Event::Submitted { spec: Box::new(spec), unix_ms: unix_ms as u64 });
        let mut interrupted = false;
        let mut reported: Option<Instant> = None;
        while self.ended.is_none() {
            if reported.is_none_or(|at| at.elapsed() >= REPORT_EVERY) {
                reported = Some(Instant::now());
                let running = self.positions.progress();
                self.handle(Event::WorkerBeat { worker: WORKER, progress: running, lists_all: false, full: None });
                if let Some(status) = self.scheduler.status(self.job, self.now()) {
                    progress(&status);
                }
            }
            let deadline = self.scheduler.next_deadline().map(|at| Duration::from_millis(at.since_ms(self.now()) + 1));
            match messages.recv_timeout(deadline.unwrap_or(REPORT_EVERY).min(REPORT_EVERY)) {
                Ok(Message::Event(event)) => self.handle(*event),
                Ok(Message::Interrupted) => {
                    interrupted = true;
                    self.attempts.values().for_each(|a| a.store(true, Ordering::Relaxed));
                    self.handle(Event::Cancelled { job: self.job });
                }
                Err(RecvTimeoutError::Timeout) => self.handle(Event::Tick),
                // The loop holds a sender itself.
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.await_tasks(&messages);
        let finished = self.ended.ok_or_else(|| Error::new(Code::Internal, "the run ended without a result"))?;
        progress(&finished.status);
        match (finished.status.state, &finished.status.error) {
            (JobState::Done, _) => Ok(finished),
            _ if interrupted => Err(Error::new(Code::Interrupted, "interrupted")),
            (_, Some(failure)) => Err(Error::from_failure(failure.clone())),
            (state, None) => Err(Error::new(Code::Cancelled, format!("the job is {}", state.as_str()))),
        }
    }

    /// Waits for revoked tasks, which must end before their folder is removed. A task whose function does not return
    /// ends with the process, which also removes the folder's last files.
    fn await_tasks(&mut self, messages: &Receiver<Message>) {
        let deadline = Instant::now() + LAST_TASKS;
        while self.running > 0 {
            match messages.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Message::Event(event)) => self.note_end(&event),
                Ok(Message::Interrupted) => return,
                Err(_) => return warn(&format!("{} tasks do not stop", self.running)),
            }
        }
    }

    fn note_end(&mut self, event: &Event) {
        if matches!(event, Event::AttemptDone { .. } | Event::AttemptFailed { .. }) {
            self.running -= 1;
        }
    }

    fn handle(&mut self, event: Event) {
        self.note_end(&event);
        let task = match &event {
            Event::AttemptDone { attempt, .. } | Event::Published { attempt, .. } => Some(attempt.task),
            _ => None,
        };
        for action in self.scheduler.step(self.now(), event) {
            self.act(action);
        }
        if let Some(task) = task.filter(|task| self.scheduler.is_task_done(*task)) {
            let holes = self.outputs.done(&self.program, task, |reader| self.scheduler.is_task_done(reader));
            if !holes.is_empty() {
                self.threads.run(Box::new(|| files::punch_holes(holes)));
            }
            if self.scheduler.is_stage_done(self.job, task.stage) {
                self.release_read_by(task.stage);
            }
        }
    }

    /// Frees the outputs that only finished stages read, in memory and on disk, after `stage` has finished: no task
    /// runs again in a local run.
    fn release_read_by(&mut self, stage: StageId) {
        let plan = &self.program.plan;
        let is_done = |reader: StageId| self.scheduler.is_stage_done(self.job, reader);
        let read: BTreeSet<StageId> = plan.stage(stage).reads().map(|port| port.stage).collect();
        for producer in read.into_iter().filter(|producer| plan.readers(*producer).all(is_done)) {
            let outputs = plan.stage(producer).outputs.len() as u32;
            for attempt in self.attempts.keys().filter(|attempt| attempt.task.stage == producer) {
                self.outputs.remove(attempt, outputs);
            }
            self.outputs.forget(producer, outputs);
        }
    }

    /// Sends an event back to this loop from any thread.
    fn send(&self, event: Event) {
        // The receiver lives as long as the loop; after that the event is not needed.
        let _ = self.sender.send(Message::Event(Box::new(event)));
    }

    fn act(&mut self, action: Action) {
        let job = self.job;
        match action {
            Action::PlanJob { .. } => {
                let options = self.scheduler.spec(job).map(|s| s.options.clone()).unwrap_or_default();
                if let Some(sink) = self.program.plan.sinks.iter().find(|s| s.location().dataset().is_some()) {
                    let message = format!("{}: a run in one process has no datasets; run it with --cluster", sink.path);
                    let failure = Failure::new(Code::DatasetNotFound, message);
                    return self.send(Event::PlanFailed { job, failure });
                }
                match windrow_store::prepare(
                    job,
                    &self.program.plan,
                    &options,
                    self.slots,
                    self.durability,
                    Storage { datasets: &BTreeMap::new(), outputs: &self.storage },
                    &Steps::default(),
                ) {
                    Ok(prepared) => {
                        prepared.stagings.iter().for_each(|(_, s)| crate::run::supervise::remove_on_crash(&s.area));
                        self.stagings = prepared.stagings.into_iter().collect();
                        let stages = prepared.stages.into_iter().map(|(stage, chunks)| StageChunks { stage, chunks });
                        self.send(Event::Planned { job, input_bytes: prepared.input_bytes, stages: stages.collect() })
                    }
                    Err(e) => self.send(Event::PlanFailed { job, failure: e.into() }),
                }
            }
            Action::Assign { task, .. } => self.start(*task),
            Action::Revoke { attempt, .. } => {
                if let Some(known) = self.attempts.get(&attempt) {
                    known.store(true, Ordering::Relaxed);
                }
            }
            Action::Grant { attempt, .. } => match self.publish(attempt) {
                Ok(()) => self.send(Event::Published { worker: WORKER, attempt }),
                Err(failure) => self.send(Event::PublishFailed { worker: WORKER, attempt, failure }),
            },
            // A run in one process has no journal.
            Action::Published { .. }
            | Action::SetAside { .. }
            | Action::Charged { .. }
            | Action::Uncharged { .. }
            | Action::WorkerChanged { .. } => {}
            Action::CommitJob { parts, bad_records, .. } => match self.commit(parts, &bad_records) {
                Ok(()) => self.send(Event::Committed { job }),
                Err(failure) => self.send(Event::CommitFailed { job, failure }),
            },
            Action::JobEnded { status, collected, .. } => {
                if status.state != JobState::Done {
                    self.abandon();
                }
                self.ended = Some(Finished { status: *status, collected: bytes_of(collected) });
            }
        }
    }

    fn start(&mut self, task: Task) {
        let cancelled = Arc::new(AtomicBool::new(false));
        self.attempts.insert(task.attempt, cancelled.clone());
        self.running += 1;
        let (program, sender, memory) = (self.program.clone(), self.sender.clone(), self.memory.clone());
        let (shuffle, positions) = (self.outputs.shuffle.clone(), self.positions.clone());
        self.threads.run(Box::new(move || {
            let attempt = task.attempt;
            let run = || execute(&program, &task, &shuffle, &memory, &cancelled);
            let event = match positions.during(&task, run) {
                Ok(report) => Event::AttemptDone { worker: WORKER, attempt, report },
                Err(e) => Event::AttemptFailed { worker: WORKER, attempt, failure: *e.failure },
            };
            // If the loop has gone, so has the job.
            let _ = sender.send(Message::Event(Box::new(event)));
        }));
    }

    fn publish(&mut self, attempt: AttemptId) -> Result<(), Failure> {
        let outputs = &self.program.plan.stage(attempt.task.stage).outputs;
        for output in outputs {
            if let windrow_model::Output::Sink { sink } = output {
                let from = files::own_file(&self.folder, &attempt, &names::sink_file(*sink));
                let suffix = &self.program.plan.sinks[*sink as usize].suffix;
                let staging = self.stagings.get(sink);
                let staging =
                    staging.ok_or_else(|| Failure::new(Code::Internal, format!("sink {sink} is not staged")))?;
                let part = PartFile { attempt: &attempt, suffix, file: &from };
                let receipt = self.storage.of(staging)?.place(&staging.area, part, self.durability, &|| {})?;
                self.receipts.keep(*sink, attempt, receipt);
            }
        }
        Ok(())
    }

    fn commit(&mut self, parts: Vec<StagedPart>, bad_records: &[windrow_model::BadRecord]) -> Result<(), Failure> {
        let spec = self.scheduler.spec(self.job);
        let name = spec.map(|s| s.name.clone()).unwrap_or_default();
        for (index, staging) in &self.stagings {
            let sink = &self.program.plan.sinks[*index as usize];
            let (sink, parts) = ((*index, sink), (&parts[..], &self.receipts));
            complete_output(&self.storage, staging, &name, sink, parts, bad_records, self.durability)?;
        }
        Ok(())
    }

    /// Removes what is staged.
    fn abandon(&self) {
        for (sink, staging) in &self.stagings {
            let parts: Vec<_> = self.receipts.of_sink(*sink).collect();
            if let Err(e) = self.storage.of(staging).and_then(|kind| kind.abandon(staging, &parts)) {
                warn(&e.to_string());
            }
        }
    }
}

fn execute(
    program: &StageTable,
    task: &Task,
    shuffle: &Shuffle,
    memory: &Arc<Memory>,
    cancelled: &AtomicBool,
) -> TaskResult<TaskReport> {
    let env = TaskEnv {
        // One folder for all: a folder for each attempt would cost more than what most attempts write.
        folder: shuffle.folder(),
        prefix: &names::attempt_prefix(&task.attempt),
        memory,
        codec: Codec::None,
        in_memory_outputs: Some(shuffle.in_memory_outputs.clone()),
        // Small outputs stay in memory, or are merged into one file.
        spool: None,
        cancelled,
    };
    let completed = program.run(task, env, || shuffle.segments(task))?;
    shuffle.finished(&task.attempt, &completed)?;
    Ok(completed.report)
}

/// Results of a run in one process are in memory and never stored elsewhere.
fn bytes_of(collected: Collected) -> Vec<(String, Vec<Vec<u8>>)> {
    let bytes = |blob| match blob {
        CollectedBlob::Inline(bytes) => Some(bytes),
        CollectedBlob::Stored(_) => None,
    };
    collected.into_iter().map(|(name, blobs)| (name, blobs.into_iter().filter_map(bytes).collect())).collect()
}
