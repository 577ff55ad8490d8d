//! The service for workers: one stream in each direction for each session.

use super::{Answers, artifact, begun, field, hello, refuse};
use crate::artifacts::Artifacts;
use crate::mailbox::{ChunkReport, Inventory, Mailbox, Message, PublishedParts, Report, SessionId};
use crate::outbox::{Outgoing, outbox};
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::oneshot;
use tonic::{Request, Response, Status, Streaming};
use windrow_model::{
    AttemptId, Code, DatasetChunk, Digest, Failure, JobId, NodeInfo, OutputReport, TaskReport, WorkerId,
};
use windrow_proto::v1::{self, from_worker::Message as Said};
use windrow_scheduler::{Event, HeldAttempt, Left, Progress};
use windrow_store::Receipt;

/// Most chunks of an unjoined folder that are compared with the journal.
const UNJOINED_CHUNKS_MAX: usize = 1_000_000;

pub(crate) struct Session {
    pub mailbox: Mailbox,
    pub artifacts: Artifacts,
}

#[tonic::async_trait]
impl v1::session_server::Session for Session {
    type ConnectStream = Outgoing;

    async fn connect(
        &self,
        request: Request<Streaming<v1::FromWorker>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let mut from_worker = request.into_inner();
        let Some(Said::Register(register)) = from_worker.message().await?.and_then(|m| m.message) else {
            return Err(refuse(Failure::new(Code::BadRequest, "a session begins with `Register`")));
        };
        hello(register.protocol.as_ref())?;
        let process = register.life;
        let Some(folder) = register.folder.clone() else {
            let what =
                "the worker's release knows no cluster ids, without which it may delete chunks that it should keep";
            return Err(refuse(Failure::new(Code::VersionMismatch, what)));
        };
        let node: NodeInfo = field(Some(register), "register")?;
        let inventory =
            Inventory { folder: field(Some(folder), "folder")?, ..inventory(&mut from_worker, &self.mailbox).await? };
        let worker = node.worker;
        let (listening, ended) = oneshot::channel();
        let (to_worker, outgoing) = outbox(listening);
        let refusal = to_worker.refusal();
        let mailbox = self.mailbox.clone();
        let (registers, registered) = oneshot::channel();
        // Not here: this call ends with its connection, at any moment, and a session that has begun must be ended.
        tokio::spawn(async move {
            let began =
                mailbox.try_ask(|answer| Message::SessionBegan { node, process, inventory, to_worker, answer }).await;
            let session = match began {
                Ok(session) => session,
                Err(failure) => return drop(registers.send(Err(failure))),
            };
            let _ = registers.send(Ok(()));
            if let Err(status) = listen(session, worker, from_worker, ended, &mailbox).await {
                tracing::debug!(%worker, "its session ends: {status}");
                // The worker gets the reason if its message was invalid.
                refusal.end(status);
            }
            mailbox.send(Message::SessionEnded { session, worker }).await;
        });
        begun(registered).await?;
        Ok(Response::new(outgoing))
    }

    type GetArtifactStream = Answers<v1::Piece>;

    async fn get_artifact(
        &self,
        request: Request<v1::GetArtifactRequest>,
    ) -> Result<Response<Self::GetArtifactStream>, Status> {
        let digest = field(request.into_inner().digest, "digest")?;
        Ok(Response::new(artifact::send(&self.artifacts, digest).await?))
    }
}

/// Jobs in one inventory that the coordinator does not know: all of them are dropped.
const UNKNOWN_JOBS_MAX: usize = 10_000;
/// Attempts of one task that a worker may have: earlier ones whose outputs are still there, and the current one.
const ATTEMPTS_PER_TASK_MAX: u64 = 4;

/// Takes in an inventory piece by piece. What it keeps is bounded by the tasks of the jobs that run: attempts of other jobs are
/// counted by their job alone, which the worker has to drop.
#[derive(Default)]
struct Intake {
    inventory: Inventory,
    /// Tasks of each job that has not ended.
    known: BTreeMap<JobId, u64>,
    kept: BTreeMap<JobId, u64>,
    unknown: BTreeSet<JobId>,
}

impl Intake {
    fn attempt(&mut self, held: v1::HeldAttempt) -> Result<(), Status> {
        let attempt: AttemptId = field(held.attempt, "held.attempt")?;
        let job = attempt.task.job;
        // A job that is not cut yet has no use for attempts of an earlier cut.
        let Some(tasks) = self.known.get(&job).filter(|tasks| **tasks > 0) else { return self.unknown(job) };
        let kept = self.kept.entry(job).or_default();
        *kept += 1;
        if *kept > tasks.saturating_mul(ATTEMPTS_PER_TASK_MAX) {
            let what = format!("an inventory with more attempts of {job} than its {tasks} tasks can have");
            return Err(refuse(Failure::new(Code::BadRequest, what)));
        }
        let report = held.report.map(|r| field(Some(r), "held.report")).transpose()?;
        if report.as_ref().is_some_and(claims_storage) {
            let what = "an inventory with a report that only the coordinator makes";
            return Err(refuse(Failure::new(Code::BadRequest, what)));
        }
        self.inventory.held.push(HeldAttempt { attempt, report });
        Ok(())
    }

    fn job(&mut self, job: JobId) -> Result<(), Status> {
        match self.known.contains_key(&job) {
            true => {
                if !self.inventory.jobs.contains(&job) {
                    self.inventory.jobs.push(job);
                }
                Ok(())
            }
            false => self.unknown(job),
        }
    }

    fn unknown(&mut self, job: JobId) -> Result<(), Status> {
        self.unknown.insert(job);
        if self.unknown.len() > UNKNOWN_JOBS_MAX {
            let what = format!("an inventory with more than {UNKNOWN_JOBS_MAX} jobs that are not known here");
            return Err(refuse(Failure::new(Code::BadRequest, what)));
        }
        Ok(())
    }
}

/// Attempts that a worker's last incarnation may have left: it had no more threads.
const LEFT_MAX: usize = 100_000;

/// Reads the worker's inventory.
async fn inventory(from_worker: &mut Streaming<v1::FromWorker>, mailbox: &Mailbox) -> Result<Inventory, Status> {
    let known = mailbox.ask(|answer| Message::KnownTasks { answer }).await.map_err(refuse)?;
    let mut intake = Intake { known, ..Intake::default() };
    loop {
        let Some(Said::Inventory(piece)) = from_worker.message().await?.and_then(|m| m.message) else {
            return Err(refuse(Failure::new(Code::BadRequest, "after `Register` comes an inventory")));
        };
        for held in piece.attempts {
            intake.attempt(held)?;
        }
        for digest in piece.chunks {
            if intake.inventory.chunks.len() >= UNJOINED_CHUNKS_MAX {
                break;
            }
            intake.inventory.chunks.push(field(Some(digest), "inventory.chunks")?);
        }
        for left in piece.left {
            let place = left.place.map(|p| field(Some(p), "left.place")).transpose()?;
            let attempt: AttemptId = field(left.attempt, "left.attempt")?;
            if intake.known.contains_key(&attempt.task.job) && intake.inventory.left.len() < LEFT_MAX {
                intake.inventory.left.push(Left { attempt, place });
            }
        }
        for job in piece.jobs {
            intake.job(field(Some(job), "inventory.jobs")?)?;
        }
        if piece.last {
            let Intake { mut inventory, unknown, .. } = intake;
            inventory.dropped = unknown.into_iter().collect();
            return Ok(inventory);
        }
    }
}

/// Attempts that one beat lists: a worker has no more threads.
const PROGRESS_MAX: usize = 100_000;
/// Most names of chunks that a worker reports in one session. A worker with more registers again.
const CHUNK_NAMES_MAX: usize = 4_000_000;

/// Checks that a report is no larger than a worker's can be. Adds the names of chunks in it to `named`.
fn check_size(said: &Said, named: &mut usize) -> Result<(), Status> {
    let too_much = |what: String| Err(refuse(Failure::new(Code::BadRequest, what)));
    let chunks = match said {
        Said::Beat(beat) if beat.progress.len() > PROGRESS_MAX => {
            return too_much(format!("a beat with {} attempts, more than {PROGRESS_MAX}", beat.progress.len()));
        }
        Said::ChunksHeld(held) => held.digests.len(),
        Said::ChunksTrashed(trashed) => trashed.digests.len(),
        Said::ChunksLost(lost) => lost.digests.len(),
        _ => 0,
    };
    *named += chunks;
    match *named > CHUNK_NAMES_MAX {
        true => too_much(format!("more than {CHUNK_NAMES_MAX} chunks were named in this session: register again")),
        false => Ok(()),
    }
}

/// Forwards a worker's messages until its stream ends or the driver ends the session.
async fn listen(
    session: SessionId,
    worker: WorkerId,
    mut from_worker: Streaming<v1::FromWorker>,
    mut ended: oneshot::Receiver<()>,
    mailbox: &Mailbox,
) -> Result<(), Status> {
    let mut named = 0;
    loop {
        let message = tokio::select! {
            message = from_worker.message() => message?,
            _ = &mut ended => None,
        };
        let Some(message) = message else { break };
        let Some(said) = message.message else {
            return Err(refuse(Failure::new(Code::BadRequest, "a message that this release does not know")));
        };
        check_size(&said, &mut named)?;
        let report = report(worker, said)?;
        if !mailbox.send(Message::FromWorker { session, worker, report }).await {
            break;
        }
    }
    Ok(())
}

/// Only the coordinator itself makes such reports.
fn claims_storage(report: &TaskReport) -> bool {
    report.outputs.iter().any(|output| matches!(output, OutputReport::Stored(_)))
}

fn report(worker: WorkerId, said: Said) -> Result<Report, Status> {
    let attempt = |a: Option<v1::AttemptId>| field::<_, AttemptId>(a, "attempt");
    let failure = |f: Option<v1::Failure>| field::<_, Failure>(f, "failure");
    let event = match said {
        Said::Register(_) | Said::Inventory(_) => {
            return Err(refuse(Failure::new(Code::BadRequest, "a session registers once")));
        }
        Said::Beat(beat) => {
            let one = |p: v1::AttemptProgress| {
                let v1::AttemptProgress { attempt: named, permille, mark, waits } = p;
                Ok(Progress { attempt: attempt(named)?, permille, mark, waits })
            };
            let progress = beat.progress.into_iter().map(one).collect::<Result<_, Status>>()?;
            return Ok(Report::Beat { progress, lists_all: beat.lists_all, full: beat.no_room, scrub: beat.scrub });
        }
        Said::Draining(said) => return Ok(Report::Draining(said)),
        Said::Done(done) => {
            let attempt = attempt(done.attempt)?;
            match field(done.report, "report") {
                Ok(report) if claims_storage(&report) => {
                    let what = "its report says that the coordinator has stored its results";
                    Event::AttemptFailed { worker, attempt, failure: Failure::new(Code::ExecutorProtocol, what) }
                }
                Ok(report) => Event::AttemptDone { worker, attempt, report },
                // The attempt is charged for it. Without an end it would run and report the same for ever.
                Err(status) => {
                    let what = format!("its report is not valid: {}", windrow_net::from_status(&status).message);
                    Event::AttemptFailed { worker, attempt, failure: Failure::new(Code::ExecutorProtocol, what) }
                }
            }
        }
        Said::Failed(failed) => {
            Event::AttemptFailed { worker, attempt: attempt(failed.attempt)?, failure: failure(failed.failure)? }
        }
        Said::Published(published) => {
            let chunk = |c: v1::PublishedChunk| {
                Ok((c.sink, DatasetChunk { digest: field(c.digest, "digest")?, length: c.length }))
            };
            let chunks = published.chunks.into_iter().map(chunk).collect::<Result<_, Status>>()?;
            let attempt = attempt(published.attempt)?;
            let receipt = |part: v1::PlacedPart| Some((part.sink, Receipt::new(part.receipt)?));
            match published.parts.into_iter().map(receipt).collect() {
                Some(receipts) => return Ok(Report::Published { attempt, parts: PublishedParts { chunks, receipts } }),
                None => {
                    let failure = Failure::new(Code::BadRequest, "the receipt of a part is too long");
                    Event::PublishFailed { worker, attempt, failure }
                }
            }
        }
        Said::PublishFailed(failed) => {
            Event::PublishFailed { worker, attempt: attempt(failed.attempt)?, failure: failure(failed.failure)? }
        }
        Said::SegmentLost(lost) => Event::SegmentLost {
            worker,
            reader: attempt(lost.reader)?,
            segment: field(lost.segment, "segment")?,
            failure: failure(lost.failure)?,
        },
        Said::ChunksHeld(held) => {
            let digests = digests(held.digests)?;
            return Ok(Report::Chunks(ChunkReport::Held {
                digests,
                lengths: held.lengths,
                all: held.last,
                stored: held.stored,
            }));
        }
        Said::ChunksTrashed(trashed) => {
            let digests = digests(trashed.digests)?;
            return Ok(Report::Chunks(ChunkReport::Trashed { digests, lengths: trashed.lengths }));
        }
        Said::ChunksLost(lost) => {
            return Ok(Report::Chunks(ChunkReport::Lost(digests(lost.digests)?)));
        }
        Said::ChunksDropped(_) => return Ok(Report::Chunks(ChunkReport::Dropped)),
        Said::ChunkNotCopied(not) => {
            return Ok(Report::Chunks(ChunkReport::NotCopied(field(not.digest, "digest")?, failure(not.failure)?)));
        }
        Said::StagingChecked(checked) => {
            let failure = checked.failure.map(|f| failure(Some(f))).transpose()?;
            return Ok(Report::StagingChecked { request: checked.request, failure });
        }
    };
    Ok(Report::Event(Box::new(event)))
}

fn digests(wire: Vec<v1::Digest>) -> Result<Vec<Digest>, Status> {
    wire.into_iter().map(|digest| field(Some(digest), "digest")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use windrow_model::{Epoch, Incarnation, StageId, TaskId};

    const ATTEMPTS: u32 = 200_000;

    fn held(job: JobId, index: u32) -> v1::HeldAttempt {
        let task = TaskId { job, stage: StageId(0), index };
        let id = AttemptId { task, number: 0, epoch: Epoch(1), incarnation: Incarnation(1) };
        v1::HeldAttempt { attempt: Some(id.into()), report: Some(v1::TaskReport::default()) }
    }

    #[test]
    fn inventory_keeps_no_more_than_the_jobs_that_run_can_have() {
        let (runs, uncut) = (JobId::from_bytes([1; 16]), JobId::from_bytes([2; 16]));
        let tasks = 1_000;
        let mut intake = Intake { known: BTreeMap::from([(runs, tasks), (uncut, 0)]), ..Intake::default() };
        for n in 0..ATTEMPTS {
            // Of ten thousand jobs that are unknown here, and of one that is not cut yet.
            let job = match n % 2 {
                0 => JobId::from_bytes((u128::from(n % 19_998) << 64 | 7).to_be_bytes()),
                _ => uncut,
            };
            intake.attempt(held(job, n)).unwrap();
        }
        let kept = |intake: &Intake| (intake.inventory.held.capacity(), intake.unknown.len());
        assert_eq!(kept(&intake), (0, 10_000), "names of jobs, and nothing of their attempts");
        let most = tasks * ATTEMPTS_PER_TASK_MAX;
        (0..most as u32).for_each(|n| intake.attempt(held(runs, n)).unwrap());
        assert!(intake.attempt(held(runs, 0)).is_err());
        assert_eq!(intake.inventory.held.len(), most as usize);
        assert!(intake.attempt(held(JobId::from_bytes([3; 16]), 0)).is_err(), "one unknown job too many");
    }

    #[test]
    fn reports_of_absurd_sizes_are_refused() {
        let mut named = 0;
        let beat =
            |attempts| Said::Beat(v1::Beat { progress: vec![Default::default(); attempts], ..Default::default() });
        assert!(check_size(&beat(PROGRESS_MAX), &mut named).is_ok());
        assert!(check_size(&beat(PROGRESS_MAX + 1), &mut named).is_err());
        let chunks =
            |n| Said::ChunksHeld(v1::ChunksHeld { digests: vec![Default::default(); n], ..Default::default() });
        // An inventory of 200,000 chunks, as often as it fits.
        for _ in 0..CHUNK_NAMES_MAX / 200_000 {
            check_size(&chunks(200_000), &mut named).unwrap();
        }
        assert!(check_size(&chunks(1), &mut named).is_err());
    }
}
