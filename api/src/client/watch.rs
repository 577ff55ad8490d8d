//! Follows a job to its end, through lost connections and restarts of the coordinator.

use super::Cluster;
use std::time::Duration;
use tokio::time::sleep;
use windrow_model::{Code, Failure, JobId, JobStatus};
use windrow_net::{Backoff, Clock, from_status, is_lost};
use windrow_proto::v1;

/// Milliseconds of silence after which a coordinator is given up; the job may still be running.
const SILENCE_MAX_MS: u64 = 900_000;

impl Cluster {
    /// Passes every new status of the job to `each` until it has ended, and returns the last one. A lost connection is
    /// reopened, for up to a quarter of an hour.
    ///
    /// # Errors
    /// `JOB_NOT_FOUND`, or `UNREACHABLE` after that time.
    pub async fn watch(&self, job: JobId, mut each: impl FnMut(&JobStatus)) -> Result<JobStatus, Failure> {
        let clock = Clock::new();
        let mut heard = clock.now();
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        loop {
            let mut connected = false;
            let mut hear = || (heard, connected) = (clock.now(), true);
            let lost = match self.follow(job, &mut each, &mut hear).await {
                Ok(Some(last)) => return Ok(last),
                Ok(None) => Failure::new(Code::Unreachable, format!("{} closed the connection", self.url)),
                Err(failure) => failure,
            };
            if lost.code != Code::Unreachable {
                return Err(lost);
            }
            let now = clock.now();
            if now.since_ms(heard) > SILENCE_MAX_MS {
                let message = format!("lost contact with {job}, which may still be running: {}", lost.message);
                return Err(Failure::new(Code::Unreachable, message));
            }
            if connected {
                backoff.reset();
            }
            sleep(backoff.next_delay()).await;
        }
    }

    /// One stream of statuses; none if it ended before the job did.
    async fn follow(
        &self,
        job: JobId,
        each: &mut impl FnMut(&JobStatus),
        heard: &mut impl FnMut(),
    ) -> Result<Option<JobStatus>, Failure> {
        let lost_or_said = |status: tonic::Status| match is_lost(&status) {
            true => Failure::new(Code::Unreachable, from_status(&status).message),
            false => from_status(&status),
        };
        let request = v1::WatchRequest { id: Some(job.into()) };
        let mut stream = self.jobs().watch(request).await.map_err(lost_or_said)?.into_inner();
        while let Some(message) = stream.message().await.map_err(lost_or_said)? {
            heard();
            let status = JobStatus::try_from(message)?;
            each(&status);
            if status.state.is_final() {
                return Ok(Some(status));
            }
        }
        Ok(None)
    }
}
