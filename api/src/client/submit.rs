//! Handing in a job. The client makes the job's id, so a submit whose answer was lost is simply made again.

use super::{Cluster, asking};
use std::time::Duration;
use tokio::time::sleep;
use windrow_model::{Code, Failure, JobId, JobSpec};
use windrow_net::{Backoff, from_status, is_lost};
use windrow_proto::v1;

/// Tries after a lost connection: about half a minute, in which a coordinator starts again.
const TRIES_MAX: u32 = 20;

impl Cluster {
    /// Submits a job. When this returns, the coordinator has recorded it and will not forget it.
    pub async fn submit(&self, spec: JobSpec) -> Result<JobId, Failure> {
        let id = spec.id;
        let request = v1::SubmitRequest { spec: Some(spec.into()) };
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        loop {
            let status = match self.jobs().submit(asking(request.clone())).await {
                Ok(reply) => {
                    let answered = reply.into_inner().id.map(JobId::try_from).transpose()?;
                    return match answered {
                        Some(answered) if answered != id => {
                            Err(Failure::new(Code::BadRequest, format!("submitted {id}, but {answered} was accepted")))
                        }
                        _ => Ok(id),
                    };
                }
                Err(status) => status,
            };
            if !is_lost(&status) || backoff.tries() >= TRIES_MAX {
                return Err(from_status(&status));
            }
            sleep(backoff.next_delay()).await;
        }
    }
}
