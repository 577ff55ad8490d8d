//! Handing in a job. The client makes the job's id, so a submit whose answer was lost is simply made again.

use super::persist::until_answered;
use super::{Cluster, answered, asking};
use windrow_model::{Code, Failure, JobId, JobSpec};
use windrow_proto::v1;

impl Cluster {
    /// Submits a job. When this returns, the coordinator has recorded it and will not forget it. A lost connection is
    /// made again, for about half a minute.
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
