//! The ids of new jobs.

use std::time::{SystemTime, UNIX_EPOCH};
use windrow_format::durable;
use windrow_model::JobId;

/// An id that no other job has: a UUID of version 7, so ids ascend with the time of day.
///
/// # Errors
/// The system gives no random bytes.
pub(crate) fn new_job_id() -> std::io::Result<JobId> {
    let random = durable::random()?;
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    Ok(JobId(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_ids_differ_and_ascend_with_time() {
        let first = new_job_id().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(2));
        let second = new_job_id().unwrap();
        assert!(first.0 < second.0, "{first} {second}");
        assert_eq!(second.0.get_version_num(), 7);
    }
}
