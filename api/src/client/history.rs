//! Calls about the histories of jobs.

use super::{Cluster, answered, asking, failure};
use std::time::Duration;
use windrow_model::{Code, Failure, JobFilter, JobId, JobStatus};
use windrow_net::{Backoff, Clock, Connection, clients, is_lost};
use windrow_proto::v1;
use windrow_proto::v1::history_client::HistoryClient;

/// Milliseconds of silence after which a coordinator is given up.
const SILENCE_MAX_MS: u64 = 900_000;
/// Jobs of one page.
const PAGE: u32 = 1_000;

/// Selects attempts of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttemptsAsked {
    /// In one of these states (`queued`, `running`, `done`, `failed`, `stopped`); empty: in any.
    pub states: Vec<String>,
    /// Of this stage.
    pub stage: Option<u32>,
    /// Of this task of the stage.
    pub task: Option<u32>,
    /// `worst`, `duration`, `bytes` or `start`; empty: `worst`.
    pub sort: String,
    /// Attempts that are left off at the beginning.
    pub skip: u32,
    /// At most this many.
    pub limit: u32,
}

impl Cluster {
    /// Passes the events of a job to `each`, as JSON lines in the format of `docs/history.md`, until it returns false. With `follow`
    /// new ones, too, until the job has ended; then a lost connection is reopened for up to a quarter of an hour.
    ///
    /// # Errors
    /// `JOB_NOT_FOUND` (there is no history of it), `UNREACHABLE`.
    pub async fn events(
        &self,
        job: JobId,
        follow: bool,
        mut each: impl FnMut(&str) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let clock = Clock::new();
        let (mut heard, mut seen) = (clock.now(), 0);
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        loop {
            let before = seen;
            let mut hear = |line: &str| {
                (heard, seen) = (clock.now(), seen + 1);
                each(line)
            };
            match self.events_once(job, follow, before, &mut hear).await {
                Ok(()) => return Ok(()),
                Err(lost) if follow && lost.code == Code::Unreachable => {
                    if clock.now().since_ms(heard) > SILENCE_MAX_MS {
                        return Err(lost);
                    }
                }
                Err(failure) => return Err(failure),
            }
            if seen > before {
                backoff.reset();
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    async fn events_once(
        &self,
        job: JobId,
        follow: bool,
        skip: u64,
        each: &mut impl FnMut(&str) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let lost_or_said = |status: tonic::Status| match is_lost(&status) {
            true => Failure::new(Code::Unreachable, failure(status).message),
            false => failure(status),
        };
        let request = v1::EventsRequest { id: Some(job.into()), follow, skip };
        let mut stream = self.histories().events(request).await.map_err(lost_or_said)?.into_inner();
        while let Some(message) = stream.message().await.map_err(lost_or_said)? {
            for line in &message.lines {
                if !each(line)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// A page of the attempts of a job, as JSON in the format of `docs/history.md`, and the number of all attempts that were asked
    /// for.
    ///
    /// # Errors
    /// `JOB_NOT_FOUND` (there is no history of it), `BAD_REQUEST`, `UNREACHABLE`.
    pub async fn attempts(&self, job: JobId, asked: AttemptsAsked) -> Result<(Vec<String>, u64), Failure> {
        let AttemptsAsked { states, stage, task, sort, skip, limit } = asked;
        let of_task = |stage| v1::AttemptsStage { stage, one_task: task.is_some(), task: task.unwrap_or(0) };
        let request =
            v1::AttemptsRequest { id: Some(job.into()), states, sort, skip, limit, stage: stage.map(of_task) };
        let reply = answered(self.histories().attempts(asking(request)).await)?;
        Ok((reply.rows, reply.admitted))
    }

    /// Ended jobs that have a history, the latest first, also those that the coordinator has forgotten; without their failed
    /// attempts. As many as the limit of the filter, or all.
    ///
    /// # Errors
    /// `UNREACHABLE`; the history cannot be read.
    pub async fn past_jobs(&self, filter: JobFilter) -> Result<Vec<JobStatus>, Failure> {
        let limit = filter.limit.unwrap_or(u32::MAX) as usize;
        let (mut jobs, mut before) = (Vec::new(), None);
        loop {
            let page = (limit - jobs.len()).min(PAGE as usize) as u32;
            let filter = Some(JobFilter { limit: Some(page), ..filter.clone() }.into());
            let reply = answered(self.histories().past_jobs(asking(v1::PastJobsRequest { filter, before })).await)?;
            for job in reply.jobs {
                jobs.push(JobStatus::try_from(job)?);
            }
            before = reply.next;
            if before.is_none() || jobs.len() >= limit {
                jobs.truncate(limit);
                return Ok(jobs);
            }
        }
    }

    fn histories(&self) -> HistoryClient<Connection> {
        clients::history(self.connection.clone())
    }
}
