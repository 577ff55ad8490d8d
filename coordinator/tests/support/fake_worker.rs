//! A worker that answers orders without running tasks.

use super::{Coordinator, failure, soon};
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Streaming;
use windrow_model::*;
use windrow_net::clients;
use windrow_proto::convert::table_from_bytes;
use windrow_proto::v1::{self, from_worker::Message as Say, to_worker::Message as ToWorker};

/// The content of each part.
pub const PART: &[u8] = b"a line\n";

/// An order about chunks.
#[derive(Debug, PartialEq)]
pub enum ChunkOrder {
    Copy(Digest),
    Drop(Vec<Digest>),
}

/// A worker's session whose messages the test sends itself.
pub struct FakeWorker {
    pub id: WorkerId,
    say: mpsc::UnboundedSender<v1::FromWorker>,
    hear: Streaming<v1::ToWorker>,
    pub setups: BTreeMap<JobId, v1::JobSetup>,
    pub dropped: Vec<JobId>,
    pub revoked: Vec<AttemptId>,
    /// The tables that came in this session, and the addresses of holders.
    pub tables: Vec<StageOutputs>,
    pub peers: Vec<(WorkerId, String)>,
    pub registered: v1::Registered,
}

pub fn register(id: u8, incarnation: u64) -> v1::Register {
    let node = NodeInfo {
        worker: WorkerId::from_bytes([id; 16]),
        incarnation: Incarnation(incarnation),
        address: "http://127.0.0.1:1".into(),
        host: "test".into(),
        slots: 2,
        memory_bytes: 1 << 30,
        version: "0.1.0".into(),
        home: None,
    };
    v1::Register { folder: Some(Folder::default().into()), ..node.into() }
}

impl FakeWorker {
    pub async fn join(coordinator: &Coordinator, register: v1::Register) -> Result<FakeWorker, Failure> {
        Self::join_with(coordinator, register, v1::Inventory { last: true, ..Default::default() }).await
    }

    /// Registers, with an inventory.
    pub async fn join_with(
        coordinator: &Coordinator,
        register: v1::Register,
        inventory: v1::Inventory,
    ) -> Result<FakeWorker, Failure> {
        let id = WorkerId::try_from(register.worker.clone().unwrap()).unwrap();
        let (say, said) = mpsc::unbounded_channel();
        say.send(v1::FromWorker { message: Some(Say::Register(register)) }).unwrap();
        say.send(v1::FromWorker { message: Some(Say::Inventory(inventory)) }).unwrap();
        let mut client = clients::session(coordinator.connect().await);
        let connected = soon("a session", client.connect(UnboundedReceiverStream::new(said))).await;
        let mut hear = connected.map_err(failure)?.into_inner();
        let Some(ToWorker::Registered(registered)) = soon("registered", hear.message()).await.unwrap().unwrap().message
        else {
            panic!("the first message is not `Registered`");
        };
        let (setups, dropped, revoked, tables, peers) = Default::default();
        Ok(FakeWorker { id, say, hear, setups, dropped, revoked, tables, peers, registered })
    }

    pub fn say(&self, message: Say) {
        let _ = self.say.send(v1::FromWorker { message: Some(message) });
    }

    /// The next message; `None` when the coordinator has ended the session.
    pub async fn hear(&mut self) -> Option<ToWorker> {
        let message = soon("a message", self.hear.message()).await.ok()??.message.unwrap();
        match &message {
            ToWorker::Assign(assign) => {
                let setup = assign.setup.clone();
                self.setups.extend(setup.map(|s| (s.job.clone().unwrap().try_into().unwrap(), s)));
                self.tables.extend(assign.tables.iter().map(|table| table_from_bytes(table).unwrap()));
                let peer = |p: &v1::Peer| (p.worker.clone().unwrap().try_into().unwrap(), p.address.clone());
                self.peers.extend(assign.peers.iter().map(peer));
            }
            ToWorker::DropJob(drop) => self.dropped.push(drop.job.clone().unwrap().try_into().unwrap()),
            ToWorker::Revoke(revoke) => self.revoked.push(revoke.attempt.clone().unwrap().try_into().unwrap()),
            _ => {}
        }
        Some(message)
    }

    /// The next task. Answers questions about staging on the way.
    pub async fn next_task(&mut self) -> Task {
        loop {
            match self.hear().await.expect("the session ended") {
                ToWorker::Assign(assign) => return assign.task.unwrap().try_into().unwrap(),
                ToWorker::CheckStaging(check) => self.check_staging(check),
                _ => {}
            }
        }
    }

    pub fn check_staging(&self, check: v1::CheckStaging) {
        let folder = PathBuf::from(std::ffi::OsString::from_vec(check.folder));
        assert_eq!(std::fs::read_to_string(folder.join("nonce")).unwrap(), check.nonce);
        for input in check.inputs {
            assert!(PathBuf::from(std::ffi::OsString::from_vec(input)).is_file());
        }
        self.say(Say::StagingChecked(v1::StagingChecked { request: check.request, failure: None }));
    }

    pub fn done(&self, task: &Task) {
        self.done_with(task, report_of(task).into());
    }

    /// Reports the task as done, with this report.
    pub fn done_with(&self, task: &Task, report: v1::TaskReport) {
        self.say(Say::Done(v1::AttemptDone { attempt: Some(task.attempt.into()), report: Some(report) }));
    }

    /// Answers orders until this job is dropped.
    pub async fn work_until_dropped(&mut self, job: JobId) {
        self.work_with(job, FakeWorker::done).await;
    }

    /// Answers orders until this job is dropped; `run` answers those to run a task.
    pub async fn work_with(&mut self, job: JobId, mut run: impl FnMut(&FakeWorker, &Task)) {
        while !self.dropped.contains(&job) {
            match self.hear().await.expect("the session ended") {
                ToWorker::Assign(assign) => run(self, &assign.task.unwrap().try_into().unwrap()),
                ToWorker::CheckStaging(check) => self.check_staging(check),
                ToWorker::Grant(grant) => self.publish(grant.attempt.unwrap().try_into().unwrap()),
                _ => {}
            }
        }
    }

    /// Reports an attempt's parts as this chunk of a dataset.
    pub fn publish_chunk(&self, attempt: AttemptId, digest: Digest) {
        let chunk = v1::PublishedChunk { sink: 0, digest: Some(digest.into()), length: PART.len() as u64 };
        self.say(Say::Published(v1::Published {
            attempt: Some(attempt.into()),
            chunks: vec![chunk],
            ..Default::default()
        }));
    }

    /// Reports these chunks as held; `last`: the inventory is complete.
    pub fn holds(&self, digests: &[Digest], last: bool) {
        let digests = digests.iter().map(|d| (*d).into()).collect();
        self.say(Say::ChunksHeld(v1::ChunksHeld { digests, last, ..Default::default() }));
    }

    /// Reports these chunks as stored by a client.
    pub fn stored(&self, digests: &[Digest]) {
        let digests = digests.iter().map(|d| (*d).into()).collect();
        self.say(Say::ChunksHeld(v1::ChunksHeld { digests, stored: true, ..Default::default() }));
    }

    /// The next order to copy or drop chunks. Answers other messages that come before it.
    pub async fn next_order(&mut self) -> ChunkOrder {
        loop {
            match self.hear().await.expect("the session ended") {
                ToWorker::CopyChunk(order) => {
                    return ChunkOrder::Copy(order.chunk.unwrap().digest.unwrap().try_into().unwrap());
                }
                ToWorker::DropChunks(order) => {
                    return ChunkOrder::Drop(order.digests.into_iter().map(|d| d.try_into().unwrap()).collect());
                }
                ToWorker::CheckStaging(check) => self.check_staging(check),
                _ => {}
            }
        }
    }

    pub fn not_copied(&self, digest: Digest, code: Code) {
        let failure = Failure::new(code, "for a test");
        let said = v1::ChunkNotCopied { digest: Some(digest.into()), failure: Some(failure.into()) };
        self.say(Say::ChunkNotCopied(said));
    }

    pub fn publish(&self, attempt: AttemptId) {
        let folder = self.setups[&attempt.task.job].staging[0].path.clone();
        let folder = PathBuf::from(std::ffi::OsString::from_vec(folder));
        let part = folder.join("_parts").join(windrow_format::names::attempt_part(&attempt, ""));
        match std::fs::write(part, PART) {
            // The job has failed meanwhile, and its folder is removed.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return,
            written => written.unwrap(),
        }
        self.say(Say::Published(v1::Published { attempt: Some(attempt.into()), ..Default::default() }));
    }
}

pub fn report_of(task: &Task) -> TaskReport {
    let outputs = task.outputs.iter().map(|o| output_report(o, task)).collect();
    TaskReport { outputs, counters: Counters::default(), run_ms: 1, inputs: input_digest(&task.inputs) }
}

/// An entry of an inventory.
pub fn held(task: &Task, done: bool) -> v1::HeldAttempt {
    v1::HeldAttempt { attempt: Some(task.attempt.into()), report: done.then(|| report_of(task).into()) }
}

fn output_report(output: &TaskOutput, task: &Task) -> OutputReport {
    match output {
        TaskOutput::Edge { partitions } => {
            let segment =
                |partition| Segment { partition, offset: 0, length: 10, records: 1, raw_length: 10, digest: 0 };
            OutputReport::Edge(EdgeReport::of(&(0..*partitions).map(segment).collect::<Vec<_>>(), *partitions))
        }
        TaskOutput::Broadcast => OutputReport::Broadcast(vec![task.attempt.task.index as u8]),
        TaskOutput::Sink { sink } => {
            OutputReport::Sink(PartReport { sink: *sink, bytes: PART.len() as u64, records: 1, checksum: 7 })
        }
    }
}
