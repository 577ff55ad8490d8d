//! Tells the history what becomes of jobs: notes of the scheduler, changes of workers that a job has used, and its recorded end.
//! `windrow_history` writes it on a thread of its own, and never blocks the driver.

use crate::config::Config;
use crate::data_folder::HISTORY;
use crate::error::Error;
use crate::recover::Recovered;
use crate::wall_clock::unix_ms;
use std::collections::{BTreeMap, BTreeSet};
use windrow_history::event::{Event, Worker};
use windrow_history::{Folder, HistoryThreads, Reading, Recorder, Settings, derive};
use windrow_model::{JobId, JobStatus, NodeInfo, Time, WorkerId, WorkerState};
use windrow_scheduler::{Note, Scheduler};

/// Milliseconds between two tries to hand over the end of a job when the queue is full.
const RETRY_MS: u64 = 100;

/// Starts the history's threads, and completes the histories of jobs that ended with their coordinator. Without a recorder no
/// histories are written; those that are there can be read.
///
/// # Errors
/// The system gives no thread.
pub(crate) async fn start(
    config: &Config,
    recovered: &Recovered,
) -> Result<(Option<Recorder>, Reading, HistoryThreads), Error> {
    let folder = Folder::new(config.data_dir.join(HISTORY));
    let settings = Settings {
        folder: folder.clone(),
        retention: config.history,
        engine: env!("CARGO_PKG_VERSION").to_string(),
        epoch: recovered.epoch.0,
    };
    let started = windrow_history::start(settings);
    let (recorder, reading, threads) = started.map_err(|e| Error::Driver(format!("no thread for the history: {e}")))?;
    if !config.history.is_on() {
        return Ok((None, reading, threads));
    }
    let running: BTreeSet<JobId> = recovered.running.iter().map(|r| r.job.spec.id).collect();
    let unfinished = tokio::task::spawn_blocking(move || folder.unfinished()).await;
    match unfinished.map_err(std::io::Error::other).flatten() {
        Ok(jobs) => {
            for job in jobs.difference(&running) {
                let status = recovered.past.get(job).map(|past| &past.status);
                let name = status.map_or("", |status| &status.name);
                recorder.finish(*job, name, status.map(derive::ended), unix_ms());
            }
        }
        Err(e) => tracing::warn!("the history of jobs that ended with their coordinator is not completed: {e}"),
    }
    Ok((Some(recorder), reading, threads))
}

/// The recording side of the history.
pub(crate) struct History {
    recorder: Option<Recorder>,
    epoch: u64,
    /// The wall clock when the driver's clock was zero: times of one epoch do not go back.
    began_unix_ms: u64,
    /// The workers that each job has used.
    workers: BTreeMap<JobId, BTreeSet<WorkerId>>,
}

impl History {
    /// `recorder`: none if no histories are written.
    pub(crate) fn new(recorder: Option<Recorder>, epoch: u64, now: Time) -> History {
        let began_unix_ms = unix_ms().saturating_sub(now.0);
        History { recorder, epoch, began_unix_ms, workers: BTreeMap::new() }
    }

    /// Records what the scheduler has noted in a step.
    pub(crate) fn note(&mut self, scheduler: &mut Scheduler, now: Time) {
        if self.recorder.is_none() {
            return;
        }
        for (job, note) in scheduler.take_notes() {
            let spec = scheduler.spec(job);
            if matches!(note, Note::Submitted | Note::Restored)
                && let Some(recorder) = &self.recorder
            {
                recorder.begin(job, spec.map_or("", |spec| &spec.name));
                self.workers.insert(job, BTreeSet::new());
            }
            // The journal decides when a job has ended.
            if matches!(note, Note::Ended { .. }) {
                continue;
            }
            if let Note::Assigned { worker, .. } = &note
                && self.workers.get_mut(&job).is_some_and(|known| known.insert(*worker))
            {
                let event = Event::WorkerJoined(described(*worker, scheduler.worker_node(*worker)));
                self.record(job, now, event);
            }
            let unix_ms = self.began_unix_ms + now.0;
            if let Some(event) = derive::event_of(note, spec, unix_ms, self.epoch) {
                self.record(job, now, event);
            }
        }
    }

    /// The end of a job is in the journal.
    pub(crate) fn ended(&mut self, status: &JobStatus, now: Time) {
        if self.workers.remove(&status.id).is_some() {
            self.record(status.id, now, Event::Ended(Box::new(derive::ended(status))));
        }
    }

    /// The state of a worker has changed.
    pub(crate) fn worker_changed(&mut self, worker: WorkerId, state: WorkerState, reason: &str, now: Time) {
        let change = Worker { worker: worker.to_string(), reason: reason.to_string(), ..Worker::default() };
        let event = match state {
            WorkerState::Excluded => Event::WorkerExcluded(change),
            WorkerState::Lost => Event::WorkerLost(change),
            WorkerState::Live => Event::WorkerReadmitted(change),
            WorkerState::Draining => return,
        };
        self.record_for_users(worker, &event, now);
    }

    /// A worker has registered: jobs that have used it before learn of that.
    pub(crate) fn worker_joined(&mut self, node: &NodeInfo, now: Time) {
        self.record_for_users(node.worker, &Event::WorkerJoined(described(node.worker, Some(node))), now);
    }

    /// When to call `retry`.
    pub(crate) fn next_deadline(&self, now: Time) -> Option<Time> {
        self.recorder.as_ref().filter(|recorder| recorder.is_behind()).map(|_| now.plus_ms(RETRY_MS))
    }

    /// Hands over what had no room in the queue.
    pub(crate) fn retry(&mut self) {
        self.recorder.iter_mut().for_each(Recorder::retry);
    }

    fn record_for_users(&mut self, worker: WorkerId, event: &Event, now: Time) {
        let users: Vec<JobId> =
            self.workers.iter().filter(|(_, known)| known.contains(&worker)).map(|(job, _)| *job).collect();
        users.into_iter().for_each(|job| self.record(job, now, event.clone()));
    }

    fn record(&mut self, job: JobId, now: Time, event: Event) {
        let unix_ms = self.began_unix_ms + now.0;
        if let Some(recorder) = &mut self.recorder {
            recorder.record(job, unix_ms, event);
        }
    }
}

fn described(worker: WorkerId, node: Option<&NodeInfo>) -> Worker {
    Worker {
        worker: worker.to_string(),
        host: node.map(|node| node.host.clone()).unwrap_or_default(),
        slots: node.map_or(0, |node| u64::from(node.slots)),
        reason: String::new(),
    }
}
