//! A file that holds the outputs of many attempts is damaged as a whole. Readers find them one by one. That is one event: the job
//! gets through, and no reader is at fault for an output that is being made again already.

use super::Cluster;
use windrow_model::*;
use windrow_scheduler::{Cause, Counts, Event};

/// Files of one job that may be damaged: far fewer than damages of one output end its job.
const FILES_MAX: u32 = 2;

/// A report of a damaged output that is made again already: its reader, and the count against it until then.
pub(crate) struct Known {
    reader: TaskId,
    counted: u32,
}

impl Cluster {
    /// Damages everything that a worker holds of a job.
    pub(crate) fn may_damage_a_file(&mut self, id: WorkerId) {
        if !self.kinds.files || !self.broken || self.fifth.below(150 * self.scale as usize) != 0 {
            return;
        }
        let files = &self.nodes[&id].worker.files;
        let Some(job) = files.iter().map(|attempt| attempt.task.job).nth(self.fifth.below(files.len().max(1))) else {
            return;
        };
        let damaged: Vec<AttemptId> = files.iter().filter(|attempt| attempt.task.job == job).copied().collect();
        let events = self.damaged_files.entry(job).or_default();
        if *events < FILES_MAX {
            *events += 1;
            self.damaged.extend(damaged);
            self.count("file of many outputs damaged");
        }
    }

    /// One of the damaged outputs that an attempt reads.
    pub(crate) fn damaged_input(&mut self, reads: &[OutputRef]) -> Option<OutputRef> {
        let damaged: Vec<&OutputRef> = reads.iter().filter(|read| self.damaged.contains(&read.attempt)).collect();
        (!damaged.is_empty()).then(|| *damaged[self.fifth.below(damaged.len())])
    }

    /// Whether the event reports damage that the scheduler knows of.
    pub(crate) fn known_damage(&mut self, event: &Event) -> Option<Known> {
        let Event::SegmentLost { reader, lost, failure, .. } = event else { return None };
        if failure.code != Code::SegmentCorrupt || !self.open.contains_key(reader) {
            return None;
        }
        let TaskId { job, stage, index } = lost.attempt.task;
        let counts = self.issued.get(&(job, stage)).and_then(|table| table.attempt(index));
        let is_present = counts == Some((lost.worker, lost.attempt)) && self.scheduler.is_stage_done(job, stage);
        let holder = &self.nodes[&lost.worker];
        let is_held = holder.session
            && holder.incarnation == lost.attempt.incarnation.0
            && self.scheduler.worker_address(lost.worker).is_some();
        // The latest table that a reader got may be an older one: what was reported once is known.
        let is_known = self.reported_damage.contains(&lost.attempt);
        if !is_known && is_present && is_held {
            self.reported_damage.insert(lost.attempt);
        }
        let counted = self.counts.get(&reader.task).map_or(0, of_damage);
        is_known.then_some(Known { reader: reader.task, counted })
    }

    /// The count of a task after this event.
    pub(crate) fn check_damage(&self, known: Option<&Known>, task: TaskId, counts: &Counts) {
        if let Some(known) = known.filter(|known| known.reader == task) {
            assert!(of_damage(counts) <= known.counted, "{task} is at fault for damage that is known: {counts:?}");
        }
    }
}

fn of_damage(counts: &Counts) -> u32 {
    counts.iter().find(|(cause, _)| *cause == Cause::SegmentCorrupt).map_or(0, |(_, n)| *n)
}
