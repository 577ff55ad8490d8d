//! Lists of outputs that readers on one worker want from another.
//!
//! All readers of a stage on a worker want the same outputs of a holder, each another partition of them. So the list is
//! sent with the first request, and named by the digest of its bytes afterwards (`known_lists.rs`).

use prost::Message;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use windrow_model::{AttemptId, Digest, Epoch, Incarnation, JobId, Partitions, StageId, TaskId, WorkerId};
use windrow_proto::{ConvertError, v1};

/// Most outputs of one list.
const LIST_OUTPUTS_MAX: usize = 4_000_000;

/// One output of several attempts of a stage, by ascending task.
#[derive(Debug)]
pub(crate) struct WantedOutputs {
    /// Index of the output.
    pub output: u32,
    /// Its number of partitions.
    pub partitions: u32,
    /// The attempts.
    pub attempts: Arc<[AttemptId]>,
    /// Digest of its encoded form.
    pub name: Digest,
    encoded: Vec<u8>,
    /// Whether a request with the list was made.
    sent: AtomicBool,
}

impl PartialEq for WantedOutputs {
    fn eq(&self, other: &WantedOutputs) -> bool {
        self.name == other.name
    }
}

impl Eq for WantedOutputs {}

impl WantedOutputs {
    /// These outputs, which are not empty and of one stage. `holder` is the worker that has them.
    pub(crate) fn new(holder: WorkerId, output: u32, partitions: u32, attempts: Vec<AttemptId>) -> WantedOutputs {
        let mut origins: Vec<v1::Origin> = Vec::new();
        let mut known: HashMap<(Incarnation, Epoch), u32> = HashMap::new();
        let origin = attempts.iter().map(|attempt| {
            *known.entry((attempt.incarnation, attempt.epoch)).or_insert_with(|| {
                let (incarnation, epoch) = (attempt.incarnation.0, attempt.epoch.0);
                origins.push(v1::Origin { worker: Some(holder.into()), incarnation, epoch });
                origins.len() as u32 - 1
            })
        });
        let origin = origin.collect();
        let stage = attempts.first().map(|attempt| attempt.task);
        let list = v1::WantedList {
            job: stage.map(|task| task.job.into()),
            stage: stage.map_or(0, |task| task.stage.0),
            output,
            origins,
            task: attempts.iter().map(|attempt| attempt.task.index).collect(),
            origin,
            number: attempts.iter().map(|attempt| attempt.number).collect(),
            partitions,
        };
        let encoded = list.encode_to_vec();
        let (name, sent) = (Digest::of(&encoded), AtomicBool::new(false));
        WantedOutputs { output, partitions, attempts: attempts.into(), name, encoded, sent }
    }

    /// Whether a request is the first one, which brings the list: later ones name it.
    pub(crate) fn is_first_request(&self) -> bool {
        !self.sent.swap(true, Ordering::Relaxed)
    }

    /// The form in requests, with or without the list.
    pub(crate) fn wire(&self, with_list: bool) -> v1::WantedOutputs {
        let list = if with_list { self.encoded.clone() } else { Vec::new() };
        v1::WantedOutputs { name: Some(self.name.into()), list }
    }

    /// Reads and checks an encoded list of outputs that are wanted from the worker `holder`.
    pub(crate) fn read(encoded: Vec<u8>, holder: WorkerId) -> Result<WantedOutputs, ConvertError> {
        let invalid = |what: &str| ConvertError::Invalid { field: "wanted.list", what: what.into() };
        let list = v1::WantedList::decode(&encoded[..]).map_err(|_| invalid("is not a list of outputs"))?;
        let v1::WantedList { job, stage, output, origins, task, origin, number, partitions } = list;
        let job: JobId = job.ok_or(ConvertError::Missing("wanted.job"))?.try_into()?;
        if task.len() != origin.len() || task.len() != number.len() || task.len() > LIST_OUTPUTS_MAX {
            return Err(invalid("has not one attempt for each task"));
        }
        if task.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(invalid("is not in ascending order of tasks"));
        }
        if partitions > Partitions::MAX {
            return Err(invalid("has too many partitions"));
        }
        let origins: Vec<(Incarnation, Epoch)> = origins
            .into_iter()
            .map(|origin| {
                let of: WorkerId = origin.worker.ok_or(ConvertError::Missing("origin.worker"))?.try_into()?;
                match of == holder {
                    true => Ok((Incarnation(origin.incarnation), Epoch(origin.epoch))),
                    false => Err(invalid("is of another worker")),
                }
            })
            .collect::<Result<_, _>>()?;
        let attempts = task.into_iter().zip(origin).zip(number).map(|((index, origin), number)| {
            let (incarnation, epoch) = *origins.get(origin as usize).ok_or_else(|| invalid("names no origin"))?;
            let task = TaskId { job, stage: StageId(stage), index };
            Ok(AttemptId { task, number, epoch, incarnation })
        });
        let attempts = attempts.collect::<Result<_, ConvertError>>()?;
        let (name, sent) = (Digest::of(&encoded), AtomicBool::new(true));
        Ok(WantedOutputs { output, partitions, attempts, name, encoded, sent })
    }
}
