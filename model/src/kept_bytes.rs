//! How much memory specs and statuses of jobs take while they are kept, so that their keeper can bound it.
//!
//! Counted are texts and the entries of lists, which is where they grow; not what the allocator adds.

use crate::failure::Failure;
use crate::job::{FailedAttempt, JobSpec, JobStatus, LeftOut, StageStatus};
use crate::plan::{Input, Output, Plan, SinkSpec, Stage};

/// Bytes that something takes in memory, about.
pub trait KeptBytes {
    /// Costs a look at each entry of its lists.
    fn kept_bytes(&self) -> usize;
}

fn texts<'a>(texts: impl IntoIterator<Item = &'a String>) -> usize {
    texts.into_iter().map(|text| size_of::<String>() + text.len()).sum()
}

impl KeptBytes for Failure {
    fn kept_bytes(&self) -> usize {
        let place = self.place.as_ref().map_or(0, |p| p.file.as_os_str().len() + p.excerpt.len());
        size_of::<Failure>() + self.message.len() + self.stderr_tail.len() + place
    }
}

impl KeptBytes for Plan {
    fn kept_bytes(&self) -> usize {
        let input = |input: &Input| {
            size_of::<Input>()
                + match input {
                    Input::Source(source) => texts(&source.inputs),
                    Input::Edge { from } => size_of_val(&from[..]),
                    Input::Broadcast { .. } => 0,
                }
        };
        let stage = |stage: &Stage| {
            let lists = stage.inputs.iter().map(input).sum::<usize>() + stage.outputs.len() * size_of::<Output>();
            size_of::<Stage>() + stage.label.len() + stage.place.len() + lists
        };
        let sink = |sink: &SinkSpec| size_of::<SinkSpec>() + sink.path.len() + sink.format.len();
        let stages: usize = self.stages.iter().map(stage).sum();
        let sinks: usize = self.sinks.iter().map(sink).sum();
        stages + sinks + texts(self.collects.iter().map(|c| &c.name)) + size_of_val(&self.sides[..])
    }
}

impl KeptBytes for JobSpec {
    fn kept_bytes(&self) -> usize {
        size_of::<JobSpec>() + self.name.len() + self.program.len() + self.params.len() + self.plan.kept_bytes()
    }
}

impl KeptBytes for JobStatus {
    fn kept_bytes(&self) -> usize {
        let stages = self.stages.iter().map(|s| size_of::<StageStatus>() + s.label.len());
        let failures = self.failures.iter().map(|f| size_of::<FailedAttempt>() + f.message.len() + f.host.len());
        let left_out = self.left_out.iter().map(|l| size_of::<LeftOut>() + l.message.len() + l.host.len());
        let lists: usize = stages.chain(failures).chain(left_out).sum();
        let counters = self.counters.0.keys().map(|name| size_of::<(String, u64)>() + name.len()).sum::<usize>();
        let error = self.error.as_ref().map_or(0, Failure::kept_bytes);
        size_of::<JobStatus>()
            + self.name.len()
            + lists
            + counters
            + texts(&self.outputs)
            + texts(&self.waiting)
            + error
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::Code;
    use crate::counters::Counters;
    use crate::ids::JobId;
    use crate::job::JobState;

    #[test]
    fn every_text_of_a_status_counts() {
        let bare = JobStatus::new(JobId::from_bytes([1; 16]), JobState::Failed);
        let text = || "x".repeat(1000);
        let failure = Failure { stderr_tail: text().into(), ..Failure::new(Code::UserError, text()) };
        let mut counters = Counters::default();
        counters.add(&text(), 1);
        let stage = StageStatus { label: text(), ..StageStatus::default() };
        let (outputs, stages) = (vec![text()], vec![stage]);
        let long = JobStatus {
            name: text(),
            error: Some(failure),
            waiting: Some(text()),
            outputs,
            stages,
            counters,
            ..bare.clone()
        };
        let more = long.kept_bytes() - bare.kept_bytes();
        assert!((7_000..8_000).contains(&more), "{more}");
    }
}
