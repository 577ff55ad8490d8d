//! Submits a job. The client makes the job's id, so a submission whose answer was lost is repeated safely.

use super::persist::until_answered;
use super::{Cluster, answered, asking};
use windrow_model::{Code, Failure, JobId, JobSpec};
use windrow_proto::v1;

impl Cluster {
    /// Submits a job. When this returns, the coordinator has durably recorded it. A lost connection is reopened, for
    /// about half a minute.
    ///
    /// # Errors
    /// `JOB_EXISTS` if another job has this id, `UNREACHABLE`, or the error of an invalid plan.
    pub async fn submit(&self, spec: JobSpec) -> Result<JobId, Failure> {
        let id = spec.id;
        let request = v1::SubmitRequest { spec: Some(spec.into()) };
        let reply = until_answered(async || answered(self.jobs().submit(asking(request.clone())).await)).await?;
        match reply.id.map(JobId::try_from).transpose()? {
            Some(other) if other != id => {
                Err(Failure::new(Code::BadRequest, format!("submitted {id}, but {other} was accepted")))
            }
            _ => Ok(id),
        }
    }
}
