//! Submissions and job status.

use super::{
    ConvertError, NAME_BYTES_MAX, PARAMS_BYTES_MAX, PATH_BYTES_MAX, PLAN_ITEMS_MAX, list, required, text, wire_list,
};
use crate::v1;
use windrow_model::{
    Code, FailedAttempt, Failure, JobFilter, JobOptions, JobSpec, JobState, JobStatus, LeftOut, Partitions, StageId,
    StageStatus, TaskTotals,
};

/// Most states that one filter may name: each of them, and some more than once.
const STATES_MAX: usize = 32;

fn none_if_zero<T: Default + PartialEq>(value: T) -> Option<T> {
    (value != T::default()).then_some(value)
}

impl TryFrom<v1::JobOptions> for JobOptions {
    type Error = ConvertError;
    fn try_from(w: v1::JobOptions) -> Result<Self, ConvertError> {
        if w.partitions > Partitions::MAX {
            return Err(ConvertError::invalid(
                "options.partitions",
                format!("is {}, more than {}", w.partitions, Partitions::MAX),
            ));
        }
        Ok(JobOptions {
            partitions: none_if_zero(w.partitions),
            chunk_bytes: none_if_zero(w.chunk_bytes),
            priority: w.priority,
            slots_max: none_if_zero(w.slots_max),
            attempts_max: none_if_zero(w.attempts_max).unwrap_or(JobOptions::default().attempts_max),
            timeout_ms: none_if_zero(w.timeout_ms),
            task_timeout_ms: none_if_zero(w.task_timeout_ms),
            progress_timeout_ms: none_if_zero(w.progress_timeout_ms),
            skip_bad_records: w.skip_bad_records,
            backup_attempts: !w.no_backup_attempts,
            decompress: !w.no_decompression,
        })
    }
}
impl From<JobOptions> for v1::JobOptions {
    fn from(d: JobOptions) -> Self {
        v1::JobOptions {
            partitions: d.partitions.unwrap_or(0),
            chunk_bytes: d.chunk_bytes.unwrap_or(0),
            priority: d.priority,
            slots_max: d.slots_max.unwrap_or(0),
            attempts_max: d.attempts_max,
            timeout_ms: d.timeout_ms.unwrap_or(0),
            task_timeout_ms: d.task_timeout_ms.unwrap_or(0),
            progress_timeout_ms: d.progress_timeout_ms.unwrap_or(0),
            skip_bad_records: d.skip_bad_records,
            no_backup_attempts: !d.backup_attempts,
            no_decompression: !d.decompress,
        }
    }
}

impl TryFrom<v1::JobSpec> for JobSpec {
    type Error = ConvertError;
    fn try_from(w: v1::JobSpec) -> Result<Self, ConvertError> {
        if w.program.is_empty() {
            return Err(ConvertError::Missing("spec.program"));
        }
        Ok(JobSpec {
            id: required(w.id, "spec.id")?.try_into()?,
            name: text(w.name, "spec.name", NAME_BYTES_MAX)?,
            program: text(w.program, "spec.program", NAME_BYTES_MAX)?,
            params: text(w.params, "spec.params", PARAMS_BYTES_MAX)?,
            plan: required(w.plan, "spec.plan")?.try_into()?,
            binary: required(w.binary, "spec.binary")?.try_into()?,
            options: w.options.unwrap_or_default().try_into()?,
        })
    }
}
impl From<JobSpec> for v1::JobSpec {
    fn from(d: JobSpec) -> Self {
        v1::JobSpec {
            id: Some(d.id.into()),
            name: d.name,
            program: d.program,
            params: d.params,
            plan: Some(d.plan.into()),
            binary: Some(d.binary.into()),
            options: Some(d.options.into()),
        }
    }
}

impl From<JobState> for v1::JobState {
    fn from(d: JobState) -> Self {
        match d {
            JobState::Planning => v1::JobState::Planning,
            JobState::Running => v1::JobState::Running,
            JobState::Committing => v1::JobState::Committing,
            JobState::Done => v1::JobState::Done,
            JobState::Failed => v1::JobState::Failed,
            JobState::Cancelled => v1::JobState::Cancelled,
        }
    }
}
impl TryFrom<v1::JobState> for JobState {
    type Error = ConvertError;
    fn try_from(w: v1::JobState) -> Result<Self, ConvertError> {
        Ok(match w {
            v1::JobState::Planning => JobState::Planning,
            v1::JobState::Running => JobState::Running,
            v1::JobState::Committing => JobState::Committing,
            v1::JobState::Done => JobState::Done,
            v1::JobState::Failed => JobState::Failed,
            v1::JobState::Cancelled => JobState::Cancelled,
            v1::JobState::Unspecified => {
                return Err(ConvertError::invalid("status.state", "is unknown"));
            }
        })
    }
}

impl From<v1::TaskTotals> for TaskTotals {
    fn from(w: v1::TaskTotals) -> Self {
        TaskTotals { total: w.total, done: w.done, running: w.running, failed: w.failed }
    }
}
impl From<TaskTotals> for v1::TaskTotals {
    fn from(d: TaskTotals) -> Self {
        v1::TaskTotals { total: d.total, done: d.done, running: d.running, failed: d.failed }
    }
}

impl TryFrom<v1::StageStatus> for StageStatus {
    type Error = ConvertError;
    fn try_from(w: v1::StageStatus) -> Result<Self, ConvertError> {
        Ok(StageStatus {
            label: text(w.label, "stage.label", NAME_BYTES_MAX)?,
            tasks: w.tasks.unwrap_or_default().into(),
            bytes_done: w.bytes_done,
            bytes_total: w.bytes_total,
            bytes_running: w.bytes_running,
            records: w.records,
        })
    }
}
impl From<StageStatus> for v1::StageStatus {
    fn from(d: StageStatus) -> Self {
        v1::StageStatus {
            label: d.label,
            tasks: Some(d.tasks.into()),
            bytes_done: d.bytes_done,
            bytes_total: d.bytes_total,
            bytes_running: d.bytes_running,
            records: d.records,
        }
    }
}

impl TryFrom<v1::LeftOut> for LeftOut {
    type Error = ConvertError;
    fn try_from(w: v1::LeftOut) -> Result<Self, ConvertError> {
        let failure = Failure::try_from(required(w.failure, "left_out.failure")?)?;
        Ok(LeftOut {
            worker: required(w.worker, "left_out.worker")?.try_into()?,
            host: text(w.host, "left_out.host", NAME_BYTES_MAX)?,
            code: failure.code,
            message: failure.message,
        })
    }
}
impl From<LeftOut> for v1::LeftOut {
    fn from(d: LeftOut) -> Self {
        let failure = Some(Failure::new(d.code, d.message).into());
        v1::LeftOut { worker: Some(d.worker.into()), host: d.host, failure }
    }
}

impl TryFrom<v1::JobStatus> for JobStatus {
    type Error = ConvertError;
    fn try_from(w: v1::JobStatus) -> Result<Self, ConvertError> {
        let state = w.state().try_into()?;
        let outputs = w.outputs.into_iter().map(|o| text(o, "status.outputs", PATH_BYTES_MAX));
        Ok(JobStatus {
            id: required(w.id, "status.id")?.try_into()?,
            name: text(w.name, "status.name", NAME_BYTES_MAX)?,
            state,
            stages: list(w.stages, "status.stages", PLAN_ITEMS_MAX)?,
            tasks: w.tasks.unwrap_or_default().into(),
            attempts: w.attempts,
            backups: w.backups,
            counters: w.counters.unwrap_or_default().try_into()?,
            error: w.error.map(TryInto::try_into).transpose()?,
            waiting: none_if_zero(text(w.waiting, "status.waiting", NAME_BYTES_MAX)?),
            outputs: outputs.collect::<Result<_, _>>()?,
            submitted_unix_ms: w.submitted_unix_ms,
            elapsed_ms: w.elapsed_ms,
            failures: list(w.failures, "status.failures", FailedAttempt::LISTED_MAX)?,
            left_out: list(w.left_out, "status.left_out", LeftOut::LISTED_MAX)?,
        })
    }
}
impl From<JobStatus> for v1::JobStatus {
    fn from(d: JobStatus) -> Self {
        v1::JobStatus {
            id: Some(d.id.into()),
            name: d.name,
            state: v1::JobState::from(d.state).into(),
            stages: wire_list(d.stages),
            tasks: Some(d.tasks.into()),
            attempts: d.attempts,
            backups: d.backups,
            counters: Some(d.counters.into()),
            error: d.error.map(Into::into),
            waiting: d.waiting.unwrap_or_default(),
            outputs: d.outputs,
            submitted_unix_ms: d.submitted_unix_ms,
            elapsed_ms: d.elapsed_ms,
            failures: wire_list(d.failures),
            left_out: wire_list(d.left_out),
        }
    }
}

impl TryFrom<v1::FailedAttempt> for FailedAttempt {
    type Error = ConvertError;
    fn try_from(w: v1::FailedAttempt) -> Result<Self, ConvertError> {
        // A later release may send codes that this one does not know.
        Ok(FailedAttempt {
            stage: StageId(w.stage),
            task: w.task,
            attempt: w.attempt,
            worker: required(w.worker, "failed.worker")?.try_into()?,
            host: text(w.host, "failed.host", NAME_BYTES_MAX)?,
            code: w.code.parse().unwrap_or(Code::Internal),
            message: text(w.message, "failed.message", NAME_BYTES_MAX)?,
            charged: w.charged,
            after_ms: w.after_ms,
        })
    }
}
impl From<FailedAttempt> for v1::FailedAttempt {
    fn from(d: FailedAttempt) -> Self {
        v1::FailedAttempt {
            stage: d.stage.0,
            task: d.task,
            attempt: d.attempt,
            worker: Some(d.worker.into()),
            host: d.host,
            code: d.code.to_string(),
            message: d.message,
            charged: d.charged,
            after_ms: d.after_ms,
        }
    }
}

impl TryFrom<v1::ListRequest> for JobFilter {
    type Error = ConvertError;
    fn try_from(w: v1::ListRequest) -> Result<Self, ConvertError> {
        if w.states.len() > STATES_MAX {
            return Err(ConvertError::invalid(
                "list.states",
                format!("has {} entries, more than {STATES_MAX}", w.states.len()),
            ));
        }
        Ok(JobFilter {
            states: w.states().map(JobState::try_from).collect::<Result<_, _>>()?,
            name: text(w.name, "list.name", NAME_BYTES_MAX)?,
            since_unix_ms: w.since_unix_ms,
            limit: none_if_zero(w.limit),
        })
    }
}
impl From<JobFilter> for v1::ListRequest {
    fn from(d: JobFilter) -> Self {
        v1::ListRequest {
            states: d.states.into_iter().map(|s| v1::JobState::from(s).into()).collect(),
            name: d.name,
            since_unix_ms: d.since_unix_ms,
            limit: d.limit.unwrap_or(0),
        }
    }
}
