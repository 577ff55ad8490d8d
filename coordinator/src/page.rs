//! The coordinator's answers to its page, through the driver's mailbox. Logs are read from the workers, as for the call
//! `Logs`. Nothing here runs on the driver's task.

use crate::logs::send_logs;
use crate::mailbox::{DataMessage, Mailbox, Message};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;
use windrow_model::{AttemptId, Code, DatasetStatus, Failure, JobId, WorkerId};
use windrow_net::{Access, from_status};
use windrow_proto::v1;
use windrow_web::{Answer, AttemptLog, Facts, JobFacts, JobsPart, JobsQuery, LogFilter, Logs, WorkerFacts};

/// Pieces of logs that wait for the page.
const PIECES_MAX: usize = 8;

/// How long workers are waited for, less than the page waits for the answer.
const LOGS_TIMEOUT: Duration = Duration::from_secs(4);

/// The facts of a coordinator.
pub(crate) struct PageFacts {
    pub mailbox: Mailbox,
    /// How workers are reached.
    pub access: Access,
}

impl Facts for PageFacts {
    fn jobs(&self, query: JobsQuery) -> Answer<JobsPart> {
        let (mailbox, query) = (self.mailbox.clone(), Box::new(query));
        Box::pin(async move { mailbox.ask(|answer| Message::JobsPart { query, answer }).await })
    }

    fn job(&self, job: JobId) -> Answer<JobFacts> {
        let mailbox = self.mailbox.clone();
        Box::pin(async move { mailbox.try_ask(|answer| Message::JobFacts { job, answer }).await })
    }

    fn logs(&self, job: JobId, only: LogFilter, bytes_max: usize) -> Answer<Logs> {
        let (mailbox, access) = (self.mailbox.clone(), self.access.clone());
        Box::pin(read_logs(job, only, bytes_max, mailbox, access))
    }

    fn workers(&self) -> Answer<Vec<WorkerFacts>> {
        let mailbox = self.mailbox.clone();
        Box::pin(async move { mailbox.ask(|answer| Message::WorkerFacts { answer }).await })
    }

    fn datasets(&self) -> Answer<(Vec<DatasetStatus>, Vec<String>)> {
        let mailbox = self.mailbox.clone();
        Box::pin(async move { mailbox.ask(|answer| Message::Data(DataMessage::List { answer })).await })
    }

    fn cancel(&self, job: JobId) -> Answer<()> {
        let mailbox = self.mailbox.clone();
        Box::pin(async move { mailbox.try_ask(|answer| Message::Cancel { job, answer }).await })
    }

    fn drain(&self, worker: WorkerId) -> Answer<()> {
        let mailbox = self.mailbox.clone();
        Box::pin(async move { mailbox.try_ask(|answer| Message::DrainWorker { worker, answer }).await })
    }
}

/// Reads the logs of the selected attempts, up to `bytes_max` bytes.
async fn read_logs(
    job: JobId,
    only: LogFilter,
    bytes_max: usize,
    mailbox: Mailbox,
    access: Access,
) -> Result<Logs, Failure> {
    let (send, mut pieces) = mpsc::channel(PIECES_MAX);
    // Its end drops the sender; an early end here drops the receiver, which ends it.
    let sending = send_logs(job, mailbox, access, send);
    let mut logs = Logs::default();
    let mut found: BTreeMap<AttemptId, AttemptLog> = BTreeMap::new();
    let receiving = async {
        let mut left = bytes_max;
        while let Some(piece) = pieces.recv().await {
            let piece = match piece {
                Ok(piece) => piece,
                Err(status) => {
                    logs.missing.push(from_status(&status).message);
                    continue;
                }
            };
            let v1::LogPiece { attempt, worker, data } = piece;
            let without = || Failure::new(Code::BadRequest, "a piece of a log without an attempt");
            let attempt: AttemptId = attempt.ok_or_else(without)?.try_into()?;
            if !only.admits(attempt) {
                continue;
            }
            let worker = worker.map(WorkerId::try_from).transpose()?;
            let kept = &data[..data.len().min(left)];
            left -= kept.len();
            let log = found.entry(attempt).or_insert(AttemptLog { attempt, worker, output: Vec::new() });
            log.output.extend_from_slice(kept);
            if kept.len() < data.len() {
                logs.cut = true;
                pieces.close();
                break;
            }
        }
        Ok::<(), Failure>(())
    };
    let sending = async {
        sending.await;
        Ok(())
    };
    match timeout(LOGS_TIMEOUT, async { tokio::try_join!(sending, receiving) }).await {
        Ok(read) => drop(read?),
        Err(_) => logs.missing.push("some workers have not answered in time: their logs are missing".into()),
    }
    logs.attempts = found.into_values().collect();
    Ok(logs)
}
