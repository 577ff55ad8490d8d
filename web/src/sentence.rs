//! One sentence about what a job is doing, from the facts of its status and the workers. It names the cause of a wait or
//! an end where the facts have it, and nothing that they do not have.

use crate::facts::WorkerFacts;
use crate::text::{bytes, counted, duration, percent};
use windrow_model::{FailedAttempt, JobState, JobStatus, StageStatus, WorkerState};

/// The sentence. It may hold text from outside: it is escaped when it is shown.
pub fn sentence(job: &JobStatus, workers: &[WorkerFacts]) -> String {
    match job.state {
        JobState::Planning => match &job.waiting {
            Some(waiting) => format!("The job waits before it begins: {waiting}."),
            None => "The inputs are being listed and split, and the outputs prepared.".into(),
        },
        JobState::Running => running(job, workers),
        JobState::Committing => match &job.waiting {
            Some(waiting) => format!("All tasks are done, and the commit of the outputs waits: {waiting}."),
            None => "All tasks are done, and the outputs are being published.".into(),
        },
        JobState::Done => done(job),
        JobState::Failed => failed(job),
        JobState::Cancelled => format!(
            "The job was cancelled after {}, with {} of {} done.",
            duration(job.elapsed_ms),
            job.tasks.done,
            counted(job.tasks.total, "task")
        ),
    }
}

fn done(job: &JobStatus) -> String {
    let again = job.attempts.saturating_sub(job.tasks.total).saturating_sub(job.backups);
    let mut extra = String::new();
    if again > 0 {
        extra.push_str(&format!("; {} ran again", counted(again, "task")));
    }
    if job.backups > 0 {
        extra.push_str(&format!("; {}", counted(job.backups, "backup attempt")));
    }
    format!("The job is done: {} in {}{extra}.", counted(job.tasks.total, "task"), duration(job.elapsed_ms))
}

fn failed(job: &JobStatus) -> String {
    let Some(error) = &job.error else { return "The job failed.".into() };
    let first_line = error.message.lines().next().unwrap_or_default();
    let at = match culprit(job) {
        // The scheduler's message names the task itself.
        Some(_) if first_line.starts_with("stage ") => String::new(),
        Some(last) => format!(
            " in stage {} `{}`, task {}, attempt {} on {}",
            last.stage.0,
            label(job.stages.get(last.stage.0 as usize)),
            last.task,
            last.attempt,
            if last.host.is_empty() { last.worker.to_string() } else { last.host.clone() }
        ),
        None => String::new(),
    };
    let record = error.place.as_ref().map_or(String::new(), |place| {
        format!(" at the record at byte {} of {}", place.offset, windrow_model::path_text(&place.file))
    });
    format!("The job failed with {}{at}{record}: {first_line}", error.code)
}

/// The failed attempt that ended the job: the latest with the job's own code.
pub(crate) fn culprit(job: &JobStatus) -> Option<&FailedAttempt> {
    let code = job.error.as_ref()?.code;
    job.failures.iter().rev().find(|failed| failed.code == code)
}

fn label(stage: Option<&StageStatus>) -> &str {
    stage.map_or("", |stage| stage.label.as_str())
}

fn running(job: &JobStatus, workers: &[WorkerFacts]) -> String {
    if let Some(waiting) = &job.waiting {
        return format!("The job waits: {waiting}.");
    }
    let unfinished = |stage: &&StageStatus| stage.tasks.done < stage.tasks.total;
    let open: Vec<(usize, &StageStatus)> =
        job.stages.iter().enumerate().filter(|(_, stage)| unfinished(stage)).collect();
    let Some((number, stage)) =
        open.iter().find(|(_, stage)| stage.tasks.running > 0).or_else(|| open.first()).copied()
    else {
        return "All tasks have run, and the job is about to commit its outputs.".into();
    };
    let name = format!("Stage {number} `{}`", stage.label);
    if stage.tasks.running == 0 {
        return format!("{name} waits for slots: {}.", why_no_slot(workers));
    }
    let left = stage.tasks.total - stage.tasks.done;
    // A backup attempt counts as a running task, too.
    let running = stage.tasks.running.min(left);
    let last = match (running == left, stage.tasks.done > 0, left) {
        (true, true, 1) => "waits for its last task".into(),
        (true, true, _) => format!("waits for its last {}", counted(left, "task")),
        (true, false, 1) => "runs its only task".into(),
        (true, false, _) => format!("runs all of its {}", counted(left, "task")),
        (false, ..) => format!("runs {running} of the {} that are left", counted(left, "task")),
    };
    let failed = match stage.tasks.failed {
        0 => String::new(),
        n => format!("; {} failed so far", counted(n, "attempt")),
    };
    format!("{name} {last}, {}{failed}.", progress(stage))
}

/// How far a stage is: by bytes if they are known, else by tasks.
fn progress(stage: &StageStatus) -> String {
    let read = stage.bytes_done.saturating_add(stage.bytes_running).min(stage.bytes_total);
    match stage.bytes_total {
        0 => format!("{} of {} done", stage.tasks.done, counted(stage.tasks.total, "task")),
        total => format!("with {} of {} read ({} %)", bytes(read), bytes(total), percent(read, total)),
    }
}

fn why_no_slot(workers: &[WorkerFacts]) -> String {
    let live: Vec<&WorkerFacts> = workers.iter().filter(|w| w.status.state == WorkerState::Live).collect();
    if workers.is_empty() {
        return "no worker has registered".into();
    }
    if live.is_empty() {
        let states = [WorkerState::Excluded, WorkerState::Draining, WorkerState::Lost].map(|state| {
            let n = workers.iter().filter(|w| w.status.state == state).count();
            (n > 0).then(|| format!("{n} {}", state.as_str()))
        });
        return format!("no worker is live ({})", states.into_iter().flatten().collect::<Vec<_>>().join(", "));
    }
    if live.iter().all(|w| w.disk_full) {
        return "the disk of every live worker is full".into();
    }
    let slots: u64 = live.iter().map(|w| u64::from(w.status.slots)).sum();
    let running: u64 = live.iter().map(|w| u64::from(w.status.running)).sum();
    match running >= slots {
        true => format!("all {} run tasks of other jobs", counted(slots, "slot")),
        false => format!("{} of {} are free", slots - running, counted(slots, "slot")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windrow_model::{Code, Failure, JobId, StageId, TaskTotals, WorkerId, WorkerStatus};

    fn job(state: JobState) -> JobStatus {
        JobStatus::new(JobId::from_bytes([1; 16]), state)
    }

    fn stage(total: u64, done: u64, running: u64) -> StageStatus {
        StageStatus {
            label: "reduce".into(),
            tasks: TaskTotals { total, done, running, failed: 0 },
            ..StageStatus::default()
        }
    }

    fn worker(state: WorkerState, slots: u32, running: u32, disk_full: bool) -> WorkerFacts {
        let status = WorkerStatus {
            id: WorkerId::from_bytes([2; 16]),
            address: String::new(),
            host: "h".into(),
            state,
            slots,
            running,
            memory_bytes: 0,
            version: String::new(),
            reason: None,
        };
        WorkerFacts { status, silent_ms: None, disk_full }
    }

    #[test]
    fn stage_without_slots_names_why() {
        let waiting = JobStatus { stages: vec![stage(1, 1, 0), stage(4, 1, 0)], ..job(JobState::Running) };
        for (workers, why) in [
            (vec![], "no worker has registered"),
            (vec![worker(WorkerState::Lost, 2, 0, false)], "no worker is live (1 lost)"),
            (vec![worker(WorkerState::Live, 2, 0, true)], "the disk of every live worker is full"),
            (vec![worker(WorkerState::Live, 2, 2, false)], "all 2 slots run tasks of other jobs"),
            (vec![worker(WorkerState::Live, 2, 1, false)], "1 of 2 slots are free"),
        ] {
            assert_eq!(sentence(&waiting, &workers), format!("Stage 1 `reduce` waits for slots: {why}."));
        }
    }

    #[test]
    fn running_stage_says_what_is_left() {
        let of = |stage| sentence(&JobStatus { stages: vec![stage], ..job(JobState::Running) }, &[]);
        assert_eq!(of(stage(400, 398, 2)), "Stage 0 `reduce` waits for its last 2 tasks, 398 of 400 tasks done.");
        assert_eq!(of(stage(1, 0, 1)), "Stage 0 `reduce` runs its only task, 0 of 1 task done.");
        assert_eq!(of(stage(3, 2, 2)), "Stage 0 `reduce` waits for its last task, 2 of 3 tasks done.");
        let read = StageStatus { bytes_total: 1000, bytes_done: 300, bytes_running: 200, ..stage(4, 1, 2) };
        assert_eq!(of(read), "Stage 0 `reduce` runs 2 of the 3 tasks that are left, with 500 B of 1000 B read (50 %).");
    }

    #[test]
    fn done_job_counts_what_ran_twice() {
        let tasks = TaskTotals { total: 10, done: 10, ..TaskTotals::default() };
        let of = |attempts, backups| {
            sentence(&JobStatus { tasks, attempts, backups, elapsed_ms: 3200, ..job(JobState::Done) }, &[])
        };
        assert_eq!(of(10, 0), "The job is done: 10 tasks in 3.2 s.");
        assert_eq!(of(12, 1), "The job is done: 10 tasks in 3.2 s; 1 task ran again; 1 backup attempt.");
    }

    #[test]
    fn failed_job_names_code_task_and_message() {
        let attempt = |code, task| FailedAttempt {
            stage: StageId(0),
            task,
            attempt: 3,
            worker: WorkerId::from_bytes([2; 16]),
            host: "w7".into(),
            code,
            message: String::new(),
            charged: true,
            after_ms: 1,
        };
        let failed = JobStatus {
            error: Some(Failure::new(Code::UserPanic, "index out of bounds\nmore")),
            failures: vec![attempt(Code::UserPanic, 5), attempt(Code::WorkerLost, 6)],
            stages: vec![stage(10, 1, 0)],
            ..job(JobState::Failed)
        };
        assert_eq!(
            sentence(&failed, &[]),
            "The job failed with USER_PANIC in stage 0 `reduce`, task 5, attempt 3 on w7: index out of bounds"
        );
    }
}
