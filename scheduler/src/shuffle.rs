//! Tracks which worker holds which output, and which tasks a loss reopens.
//!
//! Outputs for other tasks lie on the worker whose attempt made them and are lost with it. A task runs again if its
//! outputs are lost while a stage that reads them is not done. If that reopens a stage that was done, the stages that it
//! reads must have their outputs too, and so on up the plan. Running readers continue, because they may have fetched already
//! (`nondeterminism.rs` compares what they have read). Broadcasts travel in reports and are never lost.

use crate::action::Action;
use crate::job::Job;
use crate::note::Stopped;
use crate::state::State;
use crate::task::Task;
use crate::timers::Timer;
use crate::workers::Workers;
use windrow_model::{JobId, JobState, StageId, TaskId, WorkerId};

/// Whether the outputs of a done task can be fetched, as far as is known. Those that readers could not use cannot, also if their
/// rerun was dropped because no stage needed it any more.
pub(crate) fn is_held(task: &Task, workers: &Workers) -> bool {
    task.held.as_ref().is_some_and(|h| !h.lost && !h.doubted && workers.is_live(h.worker, h.incarnation))
}

impl Job {
    /// Runs a done task again, with every task upstream whose lost outputs it needs.
    pub(crate) fn reopen(&mut self, s: usize, t: usize, workers: &Workers) {
        let mut list = vec![(s, t)];
        while let Some((s, t)) = list.pop() {
            if !self.stages[s].tasks[t].is_done() || !self.unfinish(s, t) {
                continue;
            }
            let links = &self.stages[s].links;
            for p in &links.producers {
                let is_edge = links.edge_producers.contains(p);
                let gone = |t: &Task| t.is_done() && (t.skipped || is_edge && !is_held(t, workers));
                let tasks = self.stages[*p].tasks.iter().enumerate();
                list.extend(tasks.filter(|(_, t)| gone(t)).map(|(i, _)| (*p, i)));
            }
        }
    }

    fn reopen_if_lost(&mut self, s: usize, t: usize, workers: &Workers) {
        let task = &self.stages[s].tasks[t];
        if task.is_done() && !is_held(task, workers) && self.is_needed(s) {
            self.reopen(s, t, workers);
        }
    }

    /// Whether a task of this stage without a known output must run: another stage reads it, or its output is a
    /// result.
    fn is_wanted(&self, s: usize) -> bool {
        let stage = &self.stages[s];
        stage.has_sink()
            || stage.links.readers.iter().any(|r| !self.stages[*r].is_done())
            || self.spec.plan.collects.iter().any(|c| c.from.stage.0 as usize == s)
    }

    /// Whether a stage that is not done reads edges of this one.
    pub(crate) fn is_needed(&self, s: usize) -> bool {
        self.stages[s].links.edge_readers.iter().any(|r| !self.stages[*r].is_done())
    }

    /// Whether an unfinished task can be done as it is: its rerun was for readers that are done meanwhile.
    fn is_needless(&self, s: usize, t: usize) -> bool {
        let stage = &self.stages[s];
        let task = &stage.tasks[t];
        if stage.is_done() || task.is_done() || task.must_run || self.is_needed(s) {
            return false;
        }
        task.held.is_some() || self.restored && !self.is_wanted(s)
    }
}

impl State {
    /// After the loss or return of a worker: runs the tasks again whose outputs were only there and are still needed.
    /// Examines the outputs of that worker only: with ten thousand workers, examining all would be ten thousand times
    /// the work.
    pub(crate) fn reopen_outputs_of(&mut self, worker: WorkerId) {
        let State { jobs, workers, .. } = self;
        let mut changed = Vec::new();
        for (id, job) in jobs.iter_mut().filter(|(_, j)| j.state == JobState::Running && !j.held) {
            let Some(outputs) = job.outputs_on.get(&worker) else { continue };
            // Readers are examined before what they read: a reopened reader makes its producers needed.
            for (s, t) in outputs.iter().rev().copied().collect::<Vec<_>>() {
                job.reopen_if_lost(s, t, workers);
            }
            changed.push(*id);
        }
        changed.into_iter().for_each(|id| self.requeue(id));
    }

    /// Examines the outputs of every worker.
    pub(crate) fn reopen_lost_outputs(&mut self) {
        let State { jobs, workers, .. } = self;
        for job in jobs.values_mut().filter(|j| j.state == JobState::Running && !j.held) {
            for s in (0..job.stages.len()).rev() {
                (0..job.stages[s].tasks.len()).for_each(|t| job.reopen_if_lost(s, t, workers));
            }
        }
        let running: Vec<JobId> = self.jobs.keys().copied().collect();
        running.into_iter().for_each(|id| self.requeue(id));
    }

    /// After a stage has finished: unfinished reruns that only it needed are done as they are. Otherwise the loss of a
    /// worker at the end of the last stage would cost its whole share of the maps. The same holds for tasks of a
    /// restored job without a known output that no stage reads any more.
    pub(crate) fn drop_needless_reruns(&mut self, id: JobId, finished: usize) {
        let mut list = vec![finished];
        while let Some(s) = list.pop() {
            let Some(job) = self.jobs.get(&id) else { return };
            let producers = job.stages[s].links.edge_producers.iter().copied();
            let reruns: Vec<(usize, usize)> = producers
                .filter(|p| !job.stages[*p].is_done())
                .flat_map(|p| (0..job.stages[p].tasks.len()).map(move |t| (p, t)))
                .filter(|(p, t)| job.is_needless(*p, *t))
                .collect();
            for (p, t) in reruns {
                // `settle_readers` below may have reopened a reader that needs this task.
                if !self.jobs.get(&id).is_some_and(|job| job.is_needless(p, t)) {
                    continue;
                }
                let task = TaskId { job: id, stage: StageId(p as u32), index: t as u32 };
                self.timers.clear(Timer::Delay(task));
                if let Some((run, _)) = self.stop(task) {
                    self.note_stopped(run, Stopped::Needless);
                    self.out.push(Action::Revoke { worker: run.worker, attempt: run.attempt });
                }
                let Some(job) = self.jobs.get_mut(&id) else { return };
                let task = &mut job.stages[p].tasks[t];
                task.skipped = task.held.is_none();
                if job.mark_done(p, t) {
                    // Other tasks of the stage, or of another one that its readers read, may have run again meanwhile: a
                    // reader that reported before the stage was complete was compared with nothing.
                    let held = job.stages[p].tasks.iter().filter_map(|task| task.held.as_ref());
                    let made_anew = held.into_iter().any(|held| held.attempt.epoch == self.epoch);
                    if !self.settle_readers(id, p, made_anew) {
                        return;
                    }
                    list.push(p);
                }
            }
        }
    }
}
