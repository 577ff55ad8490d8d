//! Chunks that attempts of a job have written for its outputs.

use super::{stay, to};
use crate::jobs::Jobs;
use crate::jobs::phase::{JobPhase, Publishing};
use crate::jobs::prepared::{DatasetOutput, Outputs, Prepared};
use windrow_model::{AttemptId, DatasetChunk, Digest, JobId, WorkerId};

impl Jobs {
    /// The outputs of a restored job that are datasets.
    pub(crate) fn set_outputs(&mut self, id: JobId, outputs: Outputs) {
        if let Some(prepared) = self.open_prepared(id) {
            prepared.outputs = outputs;
        }
    }

    /// Keeps a chunk that an attempt has left for an output. False if it is kept already, or comes too late.
    pub(crate) fn keep_chunk(&mut self, sink: u32, attempt: AttemptId, chunk: DatasetChunk) -> bool {
        let prepared = self.open_prepared(attempt.task.job);
        let output: Option<&mut DatasetOutput> = prepared.and_then(|prepared| prepared.outputs.get_mut(&sink));
        output.is_some_and(|output| output.chunks.insert(attempt, chunk).is_none())
    }

    pub(super) fn open_prepared(&mut self, id: JobId) -> Option<&mut Prepared> {
        match &mut self.table.get_mut(&id)?.phase {
            JobPhase::Running(running) => Some(&mut running.prepared),
            JobPhase::Sealing(sealing) => Some(&mut sealing.prepared),
            _ => None,
        }
    }

    /// The chunks of an attempt are being copied.
    pub(crate) fn publish(&mut self, attempt: AttemptId, worker: WorkerId, digests: Vec<Digest>) {
        self.change(attempt.task.job, |phase, _| match phase {
            JobPhase::Running(mut running) => {
                running.publishing.insert(attempt, Publishing { worker, digests });
                to(JobPhase::Running(running), ())
            }
            other => stay(other),
        });
    }

    /// Takes the attempts of all jobs whose chunks have their copies, in the order of their ids.
    pub(crate) fn take_copied(&mut self, is_copied: impl Fn(&[Digest]) -> bool) -> Vec<(AttemptId, WorkerId)> {
        let mut copied = Vec::new();
        for id in self.index.copying.clone() {
            self.change(id, |phase, _| match phase {
                JobPhase::Running(mut running) => {
                    let done = running.publishing.extract_if(.., |_, publishing| is_copied(&publishing.digests));
                    copied.extend(done.map(|(attempt, publishing)| (attempt, publishing.worker)));
                    to(JobPhase::Running(running), ())
                }
                other => stay(other),
            });
        }
        copied
    }
}
