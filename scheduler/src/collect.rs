//! Bounds the bytes that a job collects. The bound is checked when a task reports, so that a job that is done has a
//! result that its driver can keep.

use crate::job::Job;
use crate::state::State;
use windrow_model::{Code, Failure, OutputReport, TaskId};

impl Job {
    /// Bytes that these outputs of a task of stage `s` add to collected results.
    fn collects(&self, s: usize, outputs: &[OutputReport]) -> u64 {
        let ports = self.spec.plan.collects.iter().map(|c| c.from).filter(|port| port.stage.0 as usize == s);
        let length = |output: &OutputReport| match output {
            OutputReport::Broadcast(bytes) => bytes.len() as u64,
            OutputReport::Stored(blob) => blob.length,
            OutputReport::Edge(_) | OutputReport::Sink(_) => 0,
        };
        ports.filter_map(|port| outputs.get(port.output as usize)).map(length).fold(0, u64::saturating_add)
    }

    /// Bytes collected by the job if these outputs become the task's.
    fn collected_with(&self, s: usize, t: usize, outputs: &[OutputReport]) -> u64 {
        if self.spec.plan.collects.is_empty() {
            return 0;
        }
        let held = self.stages[s].tasks[t].held.as_ref().map_or(0, |held| self.collects(s, &held.outputs));
        (self.collected_bytes - held).saturating_add(self.collects(s, outputs))
    }

    /// Counts these outputs as the task's.
    pub(crate) fn note_collected(&mut self, s: usize, t: usize, outputs: &[OutputReport]) {
        self.collected_bytes = self.collected_with(s, t, outputs);
    }
}

impl State {
    /// Refuses outputs with which the job would collect more than the limit.
    pub(crate) fn check_collected(&self, id: TaskId, outputs: &[OutputReport]) -> Result<(), Failure> {
        let max = self.config.collect_bytes_max;
        let Some(job) = self.jobs.get(&id.job) else { return Ok(()) };
        match job.collected_with(id.stage.0 as usize, id.index as usize, outputs) {
            bytes if bytes > max => {
                let message = format!("the job collects {bytes} bytes or more; it may collect {max} bytes");
                Err(Failure::new(Code::CollectTooLarge, message))
            }
            _ => Ok(()),
        }
    }
}
