//! Invariants that hold between any two steps.
//!
//! It reads the whole state and reports what is broken; it repairs nothing.

use crate::assign::{PICKY_SCAN, suits};
use crate::job::Job;
use crate::shuffle::is_held;
use crate::stage::Stage;
use crate::state::State;
use crate::task::{Run, Task, TaskState};
use crate::timers::Timer;
use crate::workers::Placement;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use windrow_model::{JobState, OutputReport, SizeHints, StageId, TaskId, WorkerState};

pub(crate) fn check(state: &State) -> Result<(), String> {
    let mut at = BTreeSet::new();
    for (id, job) in &state.jobs {
        ensure(job.notes.is_empty(), || format!("{id}: a note is not collected"))?;
        check_job(state, job, &mut at).map_err(|e| format!("{id}: {e}"))?;
        ensure(state.queue.get(*id) == job.turn(), || format!("{id}: its place in the queue is stale"))?;
        ensure(state.ahead.get(*id) == job.turn_of_ahead(), || format!("{id}: its place among those ahead is stale"))?;
        check_ahead(state, job).map_err(|e| format!("{id}: {e}"))?;
        ensure(!state.history.contains_key(id), || format!("{id}: both live and ended"))?;
    }
    for (_, worker) in state.workers.iter() {
        for task in worker.running.iter().chain(&worker.ahead).chain(&worker.publishing) {
            ensure(at.remove(&(worker.info.worker, *task)), || format!("{task} is not at {}", worker.info.worker))?;
        }
        let lost = worker.state == WorkerState::Lost;
        let slots = if lost { 0 } else { worker.info.slots as usize };
        ensure(worker.running.len() <= slots, || format!("{} runs more than its slots", worker.info.worker))?;
        ensure(!lost || worker.publishing.is_empty(), || format!("{} is lost and publishes", worker.info.worker))?;
        let alone = worker.alone.filter(|_| worker.running.len() + worker.ahead.len() > 0);
        if let Some(task) = alone.filter(|task| worker.running.contains(task)) {
            let only = worker.running.len() == 1 && worker.ahead.is_empty();
            ensure(only, || format!("the suspect {task} is not alone on {}", worker.info.worker))?;
        }
        let waits = state.timers.is_set(Timer::Excluded(worker.info.worker));
        ensure(waits == worker.excluded, || format!("{} is excluded for ever, or for nothing", worker.info.worker))?;
        let lease = state.timers.is_set(Timer::Lease(worker.info.worker));
        ensure(lease != lost || state.config.lease_ms == u64::MAX, || {
            format!("{}: a lease is wrong", worker.info.worker)
        })?;
    }
    ensure(at.is_empty(), || format!("attempts at workers that do not know of them: {at:?}"))?;
    let wanted = state.jobs.values().filter(|j| j.turn().is_some()).count();
    ensure(wanted == state.queue.len(), || "the queue holds ended jobs".into())?;
    let ahead = state.jobs.values().filter(|j| j.turn_of_ahead().is_some()).count();
    ensure(ahead == state.ahead.len(), || "ended jobs have something ahead".into())?;
    for timer in state.timers.iter() {
        match timer {
            Timer::Delay(task) => {
                let delayed = state.task(task).is_some_and(|t| matches!(t.state, TaskState::Delayed));
                ensure(delayed, || format!("{task} has a delay and is not delayed"))?;
            }
            Timer::Backups(job) => ensure(state.jobs.contains_key(&job), || format!("{job} is over and gets backups"))?,
            Timer::Starved(job) => {
                let waits = state.jobs.get(&job).is_some_and(|job| job.slots == 0 && state.is_starved(job));
                ensure(waits, || format!("{job} waits for workers that it has"))?
            }
            Timer::Lease(_) | Timer::Timeout(_) | Timer::Excluded(_) | Timer::Awaited => {}
        }
    }
    state.workers.check()
}

type AtWorkers = BTreeSet<(windrow_model::WorkerId, TaskId)>;

fn check_job(state: &State, job: &Job, at: &mut AtWorkers) -> Result<(), String> {
    let done = job.stages.iter().filter(|s| s.is_done()).count();
    ensure(done == job.stages_done, || format!("{done} stages are done, not {}", job.stages_done))?;
    ensure(job.spec.options.slots_max.is_none_or(|max| job.slots + job.ahead.len() as u32 <= max), || {
        "more slots than its limit".into()
    })?;
    ensure(!job.state.is_final(), || "ended and still live".into())?;
    if job.state == JobState::Committing {
        ensure(done == job.stages.len() && job.slots == 0, || "commits and is not finished".into())?;
    }
    let (mut slots, mut backups) = (0, 0);
    for s in 0..job.stages.len() {
        let (more, of_them) = check_stage(state, job, s, at).map_err(|e| format!("stage {s}: {e}"))?;
        slots += more;
        backups += of_them;
    }
    ensure(backups == job.backups_running, || format!("{backups} backups run, not {}", job.backups_running))?;
    ensure(job.recalled.is_empty(), || format!("not revoked: {:?}", job.recalled))?;
    ensure(!job.watches_for_slow_tasks() || state.timers.is_set(Timer::Backups(job.spec.id)), || {
        "the timer of its search for slow tasks is not set".into()
    })?;
    ensure(job.suspects.is_empty() != state.suspicious.contains(&job.spec.id), || {
        "its suspects are not listed".into()
    })?;
    ensure(job.left_out.is_empty() != state.partial.contains(&job.spec.id), || "who is left out is not listed".into())?;
    ensure(slots == job.slots, || format!("{slots} attempts run, not {}", job.slots))
}

fn check_stage(state: &State, job: &Job, s: usize, at: &mut AtWorkers) -> Result<(u32, u64), String> {
    let stage = &job.stages[s];
    let undone = stage.links.producers.iter().filter(|p| !job.stages[**p].is_done()).count();
    ensure(undone == stage.blocked_by, || format!("blocked by {undone}, not {}", stage.blocked_by))?;
    ensure(stage.is_runnable() == job.runnable.contains(&s), || "runnable is stale".into())?;
    ensure(stage.waiting.is_disjoint(&stage.picky), || "a task waits twice".into())?;
    let needed = job.state == JobState::Running && !job.held && job.is_needed(s);
    let (mut done, mut ahead, mut running, mut slots, mut waiting, mut backups) = (0, 0, 0, 0, 0, 0);
    for (t, task) in stage.tasks.iter().enumerate() {
        let id = TaskId { job: job.spec.id, stage: StageId(s as u32), index: t as u32 };
        match &task.state {
            TaskState::Waiting => {
                waiting += 1;
                let queued = match task.is_suspect() {
                    true => job.suspects.contains(&(s, t)),
                    false if task.avoid.is_empty() => stage.waiting.contains(&t),
                    false => stage.picky.contains(&t),
                };
                ensure(queued, || format!("task {t} waits in no queue"))?;
            }
            TaskState::Delayed => ensure(state.timers.is_set(Timer::Delay(id)), || format!("task {t} waits for ever"))?,
            TaskState::QueuedOnWorker { run, place } => {
                ahead += 1;
                at.insert((run.worker, id));
                check_run(state, job, task, id, *run).map_err(|e| format!("task {t}: {e}"))?;
                ensure(job.ahead.contains(&(s, Reverse(*place), t)), || format!("task {t} waits and is not listed"))?;
                ensure(task.backup.is_none(), || format!("task {t} waits and has a backup"))?;
                ensure(stage.blocked_by == 0 || job.held, || format!("task {t} waits for a slot and has no inputs"))?;
            }
            TaskState::Running(run) | TaskState::Publishing(run, _) => {
                running += 1;
                slots += u32::from(matches!(task.state, TaskState::Running(_)));
                at.insert((run.worker, id));
                check_run(state, job, task, id, *run).map_err(|e| format!("task {t}: {e}"))?;
                if let Some(backup) = &task.backup {
                    slots += 1;
                    backups += 1;
                    at.insert((backup.run.worker, id));
                    check_backup(state, job, stage, task, backup.run).map_err(|e| format!("task {t}: {e}"))?;
                }
            }
            TaskState::Done => {
                done += 1;
                ensure(!needed || is_held(task, &state.workers), || format!("task {t} is lost and still needed"))?;
                let known = task.held.is_some() && task.counted;
                ensure(known != task.skipped, || format!("task {t} is done without outputs"))?;
                ensure(stage.has_sink() != task.published.is_empty(), || format!("task {t} is done and unpublished"))?;
            }
        }
        ensure(task.backup.is_none() || task.run().is_some(), || format!("task {t} has a backup and does not run"))?;
        let one_winner = task.published.windows(2).all(|w| w[0].attempt == w[1].attempt);
        ensure(one_winner, || format!("task {t} has two winners"))?;
        ensure(task.failures < job.spec.options.attempts_max.max(1), || format!("task {t} failed too often"))?;
    }
    let on = |t: usize, w: &windrow_model::WorkerId| job.outputs_on.get(w).is_some_and(|of| of.contains(&(s, t)));
    let listed = stage.tasks.iter().enumerate().all(|(t, task)| task.held.as_ref().is_none_or(|h| on(t, &h.worker)));
    let held = stage.tasks.iter().filter(|t| t.held.is_some()).count();
    let all: usize = job.outputs_on.values().map(|of| of.range((s, 0)..(s + 1, 0)).count()).sum();
    ensure(listed && held == stage.known_outputs && held == all, || "the list of outputs by worker is stale".into())?;
    ensure(done == stage.done, || format!("{done} tasks are done, not {}", stage.done))?;
    ensure(stage.table.is_none() || stage.is_done(), || "it is not done and has a table".into())?;
    ensure(stage.inputs.is_none() || stage.blocked_by == 0, || "its inputs are not done and have tables".into())?;
    let mut outputs = stage.tasks.iter().filter_map(|t| t.held.as_ref()).flat_map(|held| &held.outputs);
    let has_hints = |o: &OutputReport| matches!(o, OutputReport::Edge(edge) if edge.sizes != SizeHints::None);
    ensure(!outputs.any(has_hints), || "hints are kept by task".into())?;
    let listed = job.ahead.iter().filter(|(stage, ..)| *stage == s).count();
    ensure(ahead == listed, || format!("{ahead} attempts wait on workers, not {listed}"))?;
    ensure(running == stage.running, || format!("{running} attempts, not {}", stage.running))?;
    let suspects = job.suspects.range((s, 0)..(s + 1, 0)).count();
    ensure(waiting == stage.waiting.len() + stage.picky.len() + suspects, || {
        "a queue holds a task that does not wait".into()
    })?;
    Ok((slots, backups))
}

fn check_run(state: &State, job: &Job, task: &Task, id: TaskId, run: Run) -> Result<(), String> {
    ensure(run.attempt.epoch <= state.epoch && run.attempt.task == id, || "it runs another".into())?;
    ensure(run.attempt.epoch >= job.split_epoch, || "it reads other chunks".into())?;
    ensure(run.attempt.number < task.attempts, || "it runs an unknown attempt".into())?;
    ensure(state.workers.is_live(run.worker, run.attempt.incarnation), || "it runs nowhere".into())
}

/// No attempt is queued on a busy worker while another worker that could run it is idle.
fn check_ahead(state: &State, job: &Job) -> Result<(), String> {
    if job.turn_of_ahead().is_none() {
        return Ok(());
    }
    for (s, _, t) in job.ahead.iter().take(PICKY_SCAN) {
        let shunned = job.shunned(*s, *t);
        let idle = state.workers.free().next().filter(|_| suits(&state.workers, Placement::Slot, shunned));
        ensure(idle.is_none(), || format!("task {s}/{t} waits on a busy worker, and there is a free one"))?;
    }
    Ok(())
}

fn check_backup(state: &State, job: &Job, stage: &Stage, task: &Task, backup: Run) -> Result<(), String> {
    let TaskState::Running(first) = &task.state else { return Err("it is granted and has a backup".into()) };
    ensure(backup.worker != first.worker, || "its backup runs beside it".into())?;
    let named = backup.attempt.task == first.attempt.task && backup.attempt.number < task.attempts;
    ensure(named && backup.attempt != first.attempt, || "its backup is an unknown attempt".into())?;
    ensure(backup.attempt.epoch >= job.split_epoch, || "its backup reads other chunks".into())?;
    ensure(state.workers.is_live(backup.worker, backup.attempt.incarnation), || "its backup runs nowhere".into())?;
    ensure(job.may_have_backups(stage), || "it has a backup that its job does not want".into())
}

fn ensure(holds: bool, broken: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(broken()) }
}
