//! Fuzzes the conversion of protocol messages into domain values.

use prost::Message;
use std::fmt::Debug;
use windrow_model::*;
use windrow_proto::v1;

/// A valid value is unchanged after it is encoded and decoded again.
fn valid<M, D>(bytes: &[u8])
where
    M: Message + Default + From<D>,
    D: TryFrom<M> + Clone + PartialEq + Debug,
{
    let Ok(message) = M::decode(bytes) else { return };
    let Ok(value) = D::try_from(message) else { return };
    let again = M::from(value.clone()).encode_to_vec();
    let again = M::decode(&again[..]).expect("what we have written");
    assert_eq!(D::try_from(again).ok(), Some(value));
}

/// A message of the kind that the first byte selects.
pub fn rpc(data: &[u8]) {
    let Some((kind, bytes)) = data.split_first() else { return };
    match kind % 14 {
        0 => valid::<v1::JobSpec, JobSpec>(bytes),
        1 => valid::<v1::Plan, Plan>(bytes),
        2 => valid::<v1::Task, Task>(bytes),
        3 => valid::<v1::TaskReport, TaskReport>(bytes),
        4 => valid::<v1::Failure, Failure>(bytes),
        5 => valid::<v1::Register, NodeInfo>(bytes),
        6 => valid::<v1::JobStatus, JobStatus>(bytes),
        7 => valid::<v1::WorkerStatus, WorkerStatus>(bytes),
        8 => valid::<v1::DatasetStatus, DatasetStatus>(bytes),
        9 => valid::<v1::OutputRef, OutputRef>(bytes),
        10 => valid::<v1::Chunk, Chunk>(bytes),
        11 => valid::<v1::Counters, Counters>(bytes),
        12 => valid::<v1::JobOptions, JobOptions>(bytes),
        // Other messages of a session must decode or be refused.
        _ => {
            let _ = v1::FromWorker::decode(bytes);
            let _ = v1::ToWorker::decode(bytes);
        }
    }
}
