//! Records that make their tasks fail and that the job may leave out.
//!
//! The method is that of Google's MapReduce (Dean and Ghemawat 2004, section 4.6): a failure names its record, and a
//! record that is named twice in a row is left out from then on, up to the number that the job allows.
//!
//! A task that reads records of other tasks names a key instead, and all records of the key are left out of that task. It counts as
//! one, for each stage.
//!
//! A bad record is one position in one file. Each stage that reads the file detects the record by itself and leaves it
//! out of its own chunk, because a record that fails in one stage may be valid in another; but it counts once.

use crate::job::Job;
use crate::note::Note;
use crate::stage::Stage;
use std::path::PathBuf;
use windrow_model::counters::names;
use windrow_model::{BadRecord, Chunk, Digest, Failure, FileRange, KeyPlace, RecordPlace, SkippedRecord, TaskId};

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
        let Some(stage) = self.stages.get_mut(id.stage.0 as usize) else { return Verdict::Unknown };
        let named = stage.named(id.index as usize, failure);
        let Some(task) = stage.tasks.get_mut(id.index as usize) else { return Verdict::Unknown };
        let record = named.as_ref().map(|(record, _, _)| *record);
        let again = record.is_some() && task.last_bad == record;
        task.last_bad = record;
        let Some((record, place, key)) = named else { return Verdict::Unknown };
        if !again && task.failures < options.attempts_max.max(1) {
            return Verdict::Unknown;
        }
        let is_known = match &key {
            Some(key) => self.bad_keys.contains(&(id.stage, key.digest)),
            None => self.bad_places.contains(&(place.file.clone(), place.offset)),
        };
        let known = self.bad_places.len() as u64 + self.bad_keys.len() as u64;
        if !is_known && known >= options.skip_bad_records {
            return Verdict::TooMany;
        }
        let bad = BadRecord { task: id, record, place, key, code: failure.code, message: failure.message.clone() };
        self.set_aside(bad.clone());
        Verdict::SetAside(bad)
    }

    /// Leaves a record out of its task's chunk, or a key out of what its task reads.
    pub(crate) fn set_aside(&mut self, bad: BadRecord) {
        let Some(stage) = self.stages.get_mut(bad.task.stage.0 as usize) else { return };
        let t = bad.task.index as usize;
        let Some(task) = stage.tasks.get_mut(t) else { return };
        let is_new = match (&bad.key, stage.chunks.get_mut(t)) {
            (Some(key), _) => insert(stage.skip_keys.entry(t).or_default(), key.digest),
            (None, Some(chunk)) => insert(&mut chunk.skip, bad.record),
            (None, None) => false,
        };
        if is_new {
            // The failures charged to the task were caused by the record.
            task.failures = 0;
            task.avoid.clear();
            let is_first = match &bad.key {
                Some(key) => self.bad_keys.insert((bad.task.stage, key.digest)),
                None => self.bad_places.insert((bad.place.file.clone(), bad.record.offset)),
            };
            if is_first {
                self.counters.add(names::RECORDS_SKIPPED, 1);
            }
            self.notes.add(|| Note::SetAside { record: Box::new(bad.clone()) });
            self.bad_records.push(bad);
        }
    }
}

impl Stage {
    /// What a failure of a task names: a record of its chunk, or a key if it reads records of other tasks. What is left out
    /// already did not cause the failure.
    fn named(&self, t: usize, failure: &Failure) -> Option<(SkippedRecord, RecordPlace, Option<KeyPlace>)> {
        if let Some(chunk) = self.chunks.get(t) {
            let place = failure.place.clone()?;
            let record = find(chunk, &place)?;
            // The name that all readers of the file have in common: a worker may name its own copy of a dataset's chunk.
            let file = chunk.ranges.get(record.range as usize)?.path.clone();
            return Some((record, RecordPlace { file, ..place }, None));
        }
        let key = failure.key.as_deref().cloned()?;
        let is_left_out = self.skip_keys.get(&t).is_some_and(|keys| keys.binary_search(&key.digest).is_ok());
        let record = key.record();
        let place = RecordPlace { file: PathBuf::new(), offset: record.offset, excerpt: key.shown.clone() };
        (!is_left_out).then_some((record, place, Some(key)))
    }
}

/// Inserts into an ascending list; false if it has the value.
fn insert<T: Ord>(list: &mut Vec<T>, value: T) -> bool {
    match list.binary_search(&value) {
        Ok(_) => false,
        Err(at) => {
            list.insert(at, value);
            true
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
