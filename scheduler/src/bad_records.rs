//! Records that make their tasks fail and that the job may leave out.
//!
//! The method is that of Google's MapReduce (Dean and Ghemawat 2004, section 4.6): a failure names its record, and a
//! record that is named twice in a row is left out from then on, up to the number that the job allows.
//!
//! A bad record is one position in one file. Each stage that reads the file detects the record by itself and leaves it
//! out of its own chunk, because a record that fails in one stage may be valid in another; but it counts once.

use crate::job::Job;
use windrow_model::counters::names;
use windrow_model::{BadRecord, Chunk, Digest, Failure, FileRange, RecordPlace, SkippedRecord, TaskId};

/// What a charged failure says about the record that it names.
pub(crate) enum Verdict {
    /// Nothing: the failure names no record, or the record is not certain.
    Unknown,
    /// The record is left out from now on, and its task starts again without charges.
    SetAside(BadRecord),
    /// The record would have to be left out, but the job allows no more.
    TooMany,
}

impl Job {
    /// Judges the record of a failure with which the task has just been charged.
    pub(crate) fn judge_record(&mut self, id: TaskId, failure: &Failure) -> Verdict {
        let options = &self.spec.options;
        if options.skip_bad_records == 0 || !failure.code.may_blame_record() {
            return Verdict::Unknown;
        }
        let stage = &mut self.stages[id.stage.0 as usize];
        let Some(chunk) = stage.chunks.get_mut(id.index as usize) else { return Verdict::Unknown };
        let task = &mut stage.tasks[id.index as usize];
        let record = failure.place.as_ref().and_then(|place| find(chunk, place));
        let again = record.is_some() && task.last_bad == record;
        task.last_bad = record;
        let Some((record, place)) = record.zip(failure.place.clone()) else { return Verdict::Unknown };
        if !again && task.failures < options.attempts_max.max(1) {
            return Verdict::Unknown;
        }
        let is_known = self.bad_places.contains(&(place.file.clone(), place.offset));
        if !is_known && self.bad_places.len() as u64 >= options.skip_bad_records {
            return Verdict::TooMany;
        }
        let bad = BadRecord { task: id, record, place, code: failure.code, message: failure.message.clone() };
        self.set_aside(bad.clone());
        Verdict::SetAside(bad)
    }

    /// Leaves a record out of its task's chunk.
    pub(crate) fn set_aside(&mut self, bad: BadRecord) {
        let Some(stage) = self.stages.get_mut(bad.task.stage.0 as usize) else { return };
        let (Some(chunk), Some(task)) =
            (stage.chunks.get_mut(bad.task.index as usize), stage.tasks.get_mut(bad.task.index as usize))
        else {
            return;
        };
        if let Err(at) = chunk.skip.binary_search(&bad.record) {
            chunk.skip.insert(at, bad.record);
            // The failures charged to the task were caused by the record.
            task.failures = 0;
            task.avoid.clear();
            if self.bad_places.insert((bad.place.file.clone(), bad.record.offset)) {
                self.counters.add(names::RECORDS_SKIPPED, 1);
            }
            self.bad_records.push(bad);
        }
    }
}

/// Whether a place lies in this range. The next incarnation of a worker that was killed names the file that holds a
/// dataset's chunk.
pub(crate) fn is_of(range: &FileRange, place: &RecordPlace) -> bool {
    let holds = |digest: Digest| place.file.file_name().is_some_and(|name| *name == *digest.to_string());
    range.path == place.file || range.content.is_some_and(holds)
}

/// The record of the chunk at this place. A record that is left out already did not cause the failure.
fn find(chunk: &Chunk, place: &RecordPlace) -> Option<SkippedRecord> {
    let range = chunk.ranges.iter().position(|r| is_of(r, place))?;
    let record = SkippedRecord { range: range as u32, offset: place.offset };
    chunk.skip.binary_search(&record).is_err().then_some(record)
}
