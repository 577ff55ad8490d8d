//! Inputs of jobs that are datasets: keeps their chunks for the job, and finds the workers that hold them.

use crate::driver::Driver;
use std::collections::{BTreeMap, BTreeSet};
use windrow_model::{Chunk, Code, Dataset, Digest, Failure, JobId, Location, Task, TaskInput, WorkerId};
use windrow_proto::v1;
use windrow_scheduler::Event;

impl Driver {
    /// The datasets that a job reads, kept for it until its end.
    pub(crate) fn pin_datasets(&mut self, job: JobId) -> Result<BTreeMap<String, Dataset>, Failure> {
        let names = self.read_datasets(job);
        self.datasets.pin(job, names.iter().map(String::as_str))
    }

    /// The names of the datasets that a job reads.
    pub(crate) fn read_datasets(&self, job: JobId) -> BTreeSet<String> {
        let plan = self.scheduler.spec(job).map(|spec| &spec.plan);
        let inputs = plan.into_iter().flat_map(|plan| plan.inputs());
        inputs.filter_map(|input| Location::of(input).dataset()).map(str::to_string).collect()
    }

    /// Whether a job cannot be planned yet: a chunk that it reads may be on a worker that has not reported it, or a chunk that it is
    /// about to store may be in deletion.
    pub(crate) fn waits_for_datasets(&self, job: JobId) -> bool {
        let read = self.read_datasets(job);
        let mut sinks = self.scheduler.spec(job).into_iter().flat_map(|spec| &spec.plan.sinks);
        let writes = sinks.any(|sink| sink.location().dataset().is_some());
        !read.is_empty() && self.awaited_until.is_some()
            || self.datasets.may_be_incomplete(read.iter().map(String::as_str))
            || writes && self.datasets.is_dropping()
    }

    /// Plans the jobs that need not wait for datasets any more.
    pub(crate) fn plan_waiting_jobs(&mut self) {
        for job in self.jobs.for_datasets() {
            self.start_split(job);
        }
        self.step_on();
    }

    /// Fails jobs that read a chunk without a copy.
    pub(crate) fn fail_jobs_without_chunks(&mut self) {
        if self.awaited_until.is_some() {
            // Workers that have the chunks may not be back yet.
            return;
        }
        for (job, digest) in self.datasets.take_lacking() {
            let message = format!("chunk {digest}: every copy is damaged, gone, or on a worker that is gone");
            tracing::error!(%job, %digest, "no copy is left of a chunk that the job reads");
            self.step(Event::InputLost { job, failure: Failure::new(Code::ChunkUnavailable, message) });
        }
    }

    /// Notes the workers that hold every dataset chunk of an input chunk: on these its task fetches nothing.
    pub(crate) fn locate(&self, chunk: &mut Chunk) {
        let mut contents = chunk.ranges.iter().filter_map(|r| r.content).peekable();
        if contents.peek().is_none() {
            return;
        }
        let counted = chunk.ranges.iter().filter(|r| r.content.is_some()).count();
        let mut held: BTreeMap<WorkerId, usize> = BTreeMap::new();
        for digest in contents {
            self.datasets.holders(digest).for_each(|w| *held.entry(w).or_default() += 1);
        }
        chunk.holders = held.into_iter().filter(|(_, n)| *n == counted).map(|(w, _)| w).collect();
    }

    /// The addresses of the task's chunks.
    pub(crate) fn chunk_sources(&self, task: &Task) -> Vec<v1::ChunkSource> {
        let ranges = task.inputs.iter().flat_map(|input| match input {
            TaskInput::Chunk(chunk) => &chunk.ranges[..],
            TaskInput::Edge(_) | TaskInput::Inline(_) => &[],
        });
        let source =
            |digest: Digest| v1::ChunkSource { digest: Some(digest.into()), addresses: self.chunk_addresses(digest) };
        ranges.filter_map(|r| r.content).map(source).collect()
    }
}
