//! The coordinator's journal: records in order, of which a prefix survives a crash.

use super::Cluster;
use crate::samples::restored;
use windrow_model::*;
use windrow_scheduler::{Collected, Event, RestoredJob, RestoredSplit, RestoredTask, Scheduler, StageChunks, Tally};

/// A record of the journal.
pub(crate) enum Record {
    Submitted(Box<JobSpec>),
    Split(JobId, u64, Vec<StageChunks>),
    Published(WorkerId, AttemptId, Box<TaskReport>),
    Charged(TaskId, u32),
    Uncharged(TaskId, Tally),
    Sealed(JobId, Collected),
    Ended(JobId),
}

/// Partitions of `Auto` edges of a job.
fn partitions_of(spec: &JobSpec, input_bytes: u64) -> u32 {
    PartitionCounts::new(&spec.plan, spec.options.partitions, input_bytes).of(Partitions::Auto)
}

impl Cluster {
    /// Writes the first `records` of the unwritten records to the disk.
    pub(crate) fn write(&mut self, records: usize) {
        for record in self.unwritten.drain(..records.min(self.unwritten.len())) {
            match record {
                Record::Submitted(spec) => {
                    self.journal.entry(spec.id).or_insert_with(|| restored(*spec));
                }
                Record::Split(job, input_bytes, stages) => {
                    let job = self.journal.get_mut(&job).expect("records are written in order");
                    let auto_partitions = partitions_of(&job.spec, input_bytes);
                    job.split = Some(RestoredSplit { epoch: Epoch(self.epoch), input_bytes, auto_partitions, stages });
                }
                Record::Published(worker, attempt, report) => {
                    let job = self.journal.get_mut(&attempt.task.job).expect("records are written in order");
                    job.published.push(RestoredTask { worker, attempt, report: *report });
                }
                Record::Charged(task, failures) => {
                    let job = self.journal.get_mut(&task.job).expect("records are written in order");
                    job.failures.retain(|(t, _)| *t != task);
                    job.failures.push((task, failures));
                }
                Record::Uncharged(task, tally) => {
                    let job = self.journal.get_mut(&task.job).expect("records are written in order");
                    job.uncharged.retain(|(t, _)| *t != task);
                    job.uncharged.push((task, tally));
                }
                Record::Sealed(job, collected) => {
                    let job = self.journal.get_mut(&job).expect("records are written in order");
                    (job.sealed, job.collected) = (true, collected);
                }
                Record::Ended(job) => drop(self.over.insert(job)),
            }
        }
    }

    /// The failures of a task that the journal knows of, also those that are not on disk yet.
    pub(crate) fn charges(&self, task: TaskId) -> Option<u32> {
        let unwritten = self.unwritten.iter().rev().find_map(|record| match record {
            Record::Charged(t, failures) if *t == task => Some(*failures),
            _ => None,
        });
        let written = || self.journal.get(&task.job)?.failures.iter().find(|(t, _)| *t == task).map(|(_, n)| *n);
        unwritten.or_else(written)
    }

    /// The coordinator dies and starts again on what is on disk.
    pub(crate) fn restart(&mut self) {
        self.must_restart = false;
        self.left_out.clear();
        self.count("coordinator crash");
        self.heard.clear();
        let written = self.dice.below(self.unwritten.len() + 1);
        self.write(written);
        self.unwritten.clear();
        self.answers.clear();
        self.ended.retain(|job, _| self.over.contains(job));
        let members: Vec<WorkerId> =
            self.scheduler.workers().iter().filter(|w| w.state != WorkerState::Lost).map(|w| w.id).collect();
        self.epoch += 1;
        self.commits.clear();
        self.awaited = members.iter().copied().collect();
        self.awaited_until = self.now.plus_ms(self.config.lease_ms / 2);
        self.revoked.clear();
        self.issued.clear();
        self.reported_damage.clear();
        self.excluded.clear();
        self.scheduler = Scheduler::new(self.config.clone(), Epoch(self.epoch));
        self.forget_begun();
        for id in self.ids.clone() {
            // A message that was on its way arrives or is lost.
            while self.dice.percent(60) && !self.nodes[&id].inbox.is_empty() {
                self.receive(id);
            }
            let node = self.nodes.get_mut(&id).expect("it is there");
            node.inbox.clear();
            node.outbox.clear();
            node.session = false;
        }
        let jobs: Vec<RestoredJob> =
            self.journal.values().filter(|j| !self.over.contains(&j.spec.id)).cloned().collect();
        // A count at its bound ends the job. If the job has not ended, the crash came between, and the last one may be counted again.
        let capped = |tally: &Tally| tally.counts.iter().map(|(c, n)| (*c, (*n).min(c.most() - 1))).collect();
        let uncharged = jobs.iter().flat_map(|job| &job.uncharged);
        self.counts = uncharged.map(|(task, tally)| (*task, capped(tally))).collect();
        self.forget_unwritten_pardons(&jobs);
        self.restored = jobs.iter().map(|j| j.spec.id).collect();
        for job in jobs {
            self.step(Event::Restored { job: Box::new(job) });
        }
        self.step(Event::Awaited { workers: members, ms: self.config.lease_ms / 2 });
        // A client whose submission was not answered submits again.
        let lost: Vec<JobSpec> = self.specs.values().filter(|s| !self.journal.contains_key(&s.id)).cloned().collect();
        for spec in lost {
            self.step(Event::Submitted { spec: Box::new(spec), unix_ms: 0 });
        }
    }
}
