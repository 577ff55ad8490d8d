//! Makes events from what the scheduler notes, from specs and from statuses. Pure, so that live and simulated runs have
//! the same histories.

use crate::event::{
    Assigned, Done, Ended, Event, Failed, Key, Name, SetAside, StageEnd, StageName, Stopped, Submitted,
};
use crate::failure::LoggedFailure;
use std::collections::BTreeMap;
use windrow_model::{AttemptId, BadRecord, Failure, JobOptions, JobSpec, JobStatus, path_text};
use windrow_scheduler::{Note, Stopped as Stop, Why};

/// Most inputs and outputs that an event names.
const PATHS_MAX: usize = 1_000;
/// Bytes of a path or the text of a setting.
const PATH_BYTES_MAX: usize = 4 << 10;
/// Bytes of the label or place of a stage.
const LABEL_BYTES_MAX: usize = 512;

/// The event of a note. `spec`: of the job, if it is known. `now`: the time of the note, `epoch`: that of the scheduler.
/// `None`: there is nothing to say.
pub fn event_of(note: Note, spec: Option<&JobSpec>, now: u64, epoch: u64) -> Option<Event> {
    Some(match note {
        Note::Submitted => Event::Submitted(Box::new(submitted(spec?))),
        // The writer of the log knows when the last event was.
        Note::Restored => Event::Away { from: 0, to: now, epoch },
        Note::Resumed => Event::Resumed,
        Note::Planned { input_bytes, tasks } => Event::Planned { input_bytes, tasks },
        Note::StageOpened { stage } => Event::StageOpened { stage: stage.0 },
        Note::StageDone { stage } => Event::StageDone { stage: stage.0 },
        Note::StageReopened { stage } => Event::StageReopened { stage: stage.0 },
        Note::Assigned { worker, attempt, why, queued, bytes } => {
            let Key { stage, task, attempt, epoch } = key(attempt);
            Event::Assigned(Assigned {
                stage,
                task,
                attempt,
                epoch,
                worker: worker.to_string(),
                cause: cause_of(why),
                queued,
                bytes,
            })
        }
        Note::Started { attempt } => Event::Started(key(attempt)),
        Note::Granted { attempt } => Event::Granted(key(attempt)),
        Note::Done { worker, attempt, done } => {
            let Key { stage, task, attempt, epoch } = key(attempt);
            let windrow_scheduler::Done { run_ms, records_in, outputs, bytes_spilled } = *done;
            let (worker, spilled) = (worker.to_string(), bytes_spilled);
            Event::Done(Done { stage, task, attempt, epoch, worker, run_ms, records_in, outputs, spilled })
        }
        Note::Failed { worker, attempt, failure, charged, cause } => {
            let Key { stage, task, attempt, epoch } = key(attempt);
            let (worker, failure) = (worker.to_string(), LoggedFailure::from(&*failure));
            let cause = cause.map(|cause| cause.as_str().into());
            Event::Failed(Box::new(Failed { stage, task, attempt, epoch, worker, failure, charged, cause }))
        }
        Note::Stopped { worker, attempt, why } => {
            let Key { stage, task, attempt, epoch } = key(attempt);
            Event::Stopped(Stopped {
                stage,
                task,
                attempt,
                epoch,
                worker: worker.to_string(),
                why: name_of(why).into(),
            })
        }
        Note::SetAside { record } => {
            let BadRecord { task, place, key, code, message, .. } = *record;
            let failure = Failure::new(code, message);
            // A key has no place in a file.
            let failure = match key {
                Some(key) => Failure { key: Some(Box::new(key)), ..failure },
                None => failure.at(place),
            };
            let failure = LoggedFailure::from(&failure);
            Event::SetAside(Box::new(SetAside { stage: task.stage.0, task: task.index, failure }))
        }
        Note::LeftOut { worker, failure } => {
            Event::WorkerLeftOut { worker: worker.to_string(), failure: Box::new(LoggedFailure::from(&*failure)) }
        }
        Note::TakenIn { worker } => Event::WorkerTakenIn { worker: worker.to_string() },
        Note::CommitBegan { parts } => Event::CommitBegan { parts },
        Note::CommitWaits { reason } => {
            Event::CommitWaits { reason: reason.map(|reason| cut(&reason, PATH_BYTES_MAX)) }
        }
        Note::Cancelled => Event::Cancelled,
        Note::Ended { status } => Event::Ended(Box::new(ended(&status))),
    })
}

/// The end of a job with this status.
pub fn ended(status: &JobStatus) -> Ended {
    let stage = |stage: &windrow_model::StageStatus| StageEnd {
        label: cut(&stage.label, LABEL_BYTES_MAX),
        tasks: stage.tasks.total,
        done: stage.tasks.done,
        failed: stage.tasks.failed,
        bytes_done: stage.bytes_done,
        bytes_total: stage.bytes_total,
        records: stage.records,
    };
    Ended {
        state: status.state.as_str().into(),
        error: status.error.as_ref().map(LoggedFailure::from),
        submitted: status.submitted_unix_ms,
        elapsed_ms: status.elapsed_ms,
        attempts: status.attempts,
        backups: status.backups,
        stages: status.stages.iter().map(stage).collect(),
        counters: status.counters.0.clone(),
        outputs: status.outputs.iter().take(PATHS_MAX).map(|path| cut(path, PATH_BYTES_MAX)).collect(),
    }
}

fn submitted(spec: &JobSpec) -> Submitted {
    let plan = &spec.plan;
    let stage = |stage: &windrow_model::Stage| StageName {
        label: cut(&stage.label, LABEL_BYTES_MAX),
        place: cut(&stage.place, LABEL_BYTES_MAX),
    };
    let inputs = plan.stages.iter().filter_map(|stage| stage.source()).flat_map(|source| &source.inputs);
    let path = |path: &String| cut(&path_text(path.as_ref()), PATH_BYTES_MAX);
    let mut settings = settings(&spec.options);
    settings.insert("inputs".to_string(), inputs.clone().count().to_string());
    Submitted {
        program: cut(&spec.program, LABEL_BYTES_MAX),
        binary: spec.binary.to_string(),
        fingerprint: plan.fingerprint.to_string(),
        settings,
        stages: plan.stages.iter().map(stage).collect(),
        inputs: inputs.take(PATHS_MAX).map(path).collect(),
        outputs: plan.sinks.iter().take(PATHS_MAX).map(|sink| cut(&sink.path, PATH_BYTES_MAX)).collect(),
    }
}

/// The settings of a job as text.
fn settings(options: &JobOptions) -> BTreeMap<String, String> {
    // All fields are named, so that a new one does not compile until it is listed here.
    let JobOptions {
        partitions,
        chunk_bytes,
        priority,
        slots_max,
        attempts_max,
        timeout_ms,
        task_timeout_ms,
        progress_timeout_ms,
        skip_bad_records,
        backup_attempts,
        decompress,
    } = options;
    let given = [
        ("partitions", partitions.map(u64::from)),
        ("chunk_bytes", *chunk_bytes),
        ("slots_max", slots_max.map(u64::from)),
        ("timeout_ms", *timeout_ms),
        ("task_timeout_ms", *task_timeout_ms),
        ("progress_timeout_ms", *progress_timeout_ms),
    ];
    let given = given.into_iter().filter_map(|(name, value)| Some((name, value?.to_string())));
    let always = [
        ("priority", priority.to_string()),
        ("attempts_max", attempts_max.to_string()),
        ("skip_bad_records", skip_bad_records.to_string()),
        ("backup_attempts", backup_attempts.to_string()),
        ("decompress", decompress.to_string()),
    ];
    given.chain(always).map(|(name, value)| (name.to_string(), value)).collect()
}

fn key(attempt: AttemptId) -> Key {
    Key { stage: attempt.task.stage.0, task: attempt.task.index, attempt: attempt.number, epoch: attempt.epoch.0 }
}

fn cause_of(why: Why) -> Name {
    match why {
        Why::First => "first",
        Why::Retry => "retry",
        Why::Uncharged(cause) => cause.as_str(),
        Why::TakenBack => "taken-back",
        Why::OutputsLost => "outputs-lost",
        Why::InputsReplaced => "inputs-replaced",
        Why::Backup => "backup",
        Why::Rejoined => "rejoined",
        Why::Restarted => "restarted",
    }
    .into()
}

fn name_of(stop: Stop) -> &'static str {
    match stop {
        Stop::OtherWon => "other-won",
        Stop::TakenBack => "taken-back",
        Stop::InputsLost => "inputs-lost",
        Stop::WorkerLost => "worker-lost",
        Stop::Needless => "needless",
    }
}

fn cut(text: &str, bytes_max: usize) -> String {
    text[..text.floor_char_boundary(bytes_max.min(text.len()))].to_string()
}
