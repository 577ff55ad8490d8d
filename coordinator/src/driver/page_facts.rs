//! What the page asks of the driver: answers that change no state.

use crate::driver::Driver;
use windrow_model::{Failure, Input, JobId, Stage};
use windrow_web::{JobFacts, JobsPart, JobsQuery, StageShape, WorkerFacts};

impl Driver {
    pub(crate) fn jobs_part(&self, query: &JobsQuery) -> JobsPart {
        let now = self.clock.now();
        self.job_states.part(query, self.jobs.active().filter_map(|job| self.scheduler.status(job, now)))
    }

    /// A job, with the shape of its plan while the scheduler knows it.
    pub(crate) fn job_facts(&self, job: JobId) -> Result<JobFacts, Failure> {
        let status = self.status(job)?;
        let stages = self.scheduler.spec(job).map_or(&[][..], |spec| &spec.plan.stages);
        Ok(JobFacts { status, shape: stages.iter().map(shape).collect() })
    }

    pub(crate) fn worker_facts(&self) -> Vec<WorkerFacts> {
        let now = self.clock.now();
        let facts = |status: windrow_model::WorkerStatus| {
            let heard = self.sessions.last_heard(status.id);
            WorkerFacts {
                silent_ms: heard.map(|(at, _)| now.since_ms(at)),
                disk_full: heard.is_some_and(|(_, full)| full),
                status,
            }
        };
        self.workers().into_iter().map(facts).collect()
    }
}

fn shape(stage: &Stage) -> StageShape {
    let mut shape = StageShape::default();
    for input in &stage.inputs {
        match input {
            Input::Source(_) => shape.reads_source = true,
            Input::Edge { from } => shape.from.extend(from.iter().map(|port| port.stage.0)),
            Input::Broadcast { from } => shape.broadcast_from.push(from.stage.0),
        }
    }
    for stages in [&mut shape.from, &mut shape.broadcast_from] {
        stages.sort_unstable();
        stages.dedup();
    }
    shape
}
