//! Takes in the inventory with which a worker registers, with a bound on what is kept of it.

use super::super::{field, refuse};
use super::reports::claims_storage;
use crate::mailbox::{Inventory, Mailbox, Message};
use std::collections::{BTreeMap, BTreeSet};
use tonic::{Status, Streaming};
use windrow_model::{AttemptId, Code, Failure, JobId};
use windrow_proto::v1::{self, from_worker::Message as Said};
use windrow_scheduler::{HeldAttempt, Left};

/// Most chunks of an unjoined folder that are compared with the journal.
const UNJOINED_CHUNKS_MAX: usize = 1_000_000;

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
pub(super) async fn inventory(
    from_worker: &mut Streaming<v1::FromWorker>,
    mailbox: &Mailbox,
) -> Result<Inventory, Status> {
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
}
