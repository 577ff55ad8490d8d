//! Phases of jobs: their order, and the sets and sums that follow them.

use super::phase::{EndStep, Ending};
use super::*;
use crate::commit::Commit;
use crate::split::SplitJob;
use crate::staged_outputs::{StagedOutputs, StagedSink};
use proptest::prelude::*;
use tokio::sync::oneshot;
use windrow_model::{
    AttemptId, Code, DatasetChunk, Digest, Epoch, Failure, Incarnation, JobState, JobStatus, StageId, TaskId, WorkerId,
};
use windrow_store::{Receipt, Staging};

fn id(n: u8) -> JobId {
    JobId::from_bytes([n; 16])
}
fn worker() -> WorkerId {
    WorkerId::from_bytes([7; 16])
}
fn attempt(job: JobId, index: u32) -> AttemptId {
    let task = TaskId { job, stage: StageId(0), index };
    AttemptId { task, number: 1, epoch: Epoch(1), incarnation: Incarnation(1) }
}
fn staged() -> Vec<StagedSink> {
    let staging = Staging { output: "/out".into(), area: "/.out".into(), job: id(1) };
    vec![StagedSink { sink: 0, staging, nonce: String::new() }]
}
fn split() -> SplitJob {
    SplitJob { input_bytes: 0, stages: Vec::new(), staging: staged(), probes: Vec::new() }
}
fn commit() -> Commit {
    Commit { parts: Vec::new(), bad_records: Vec::new() }
}
fn end(job: JobId, state: JobState) -> End {
    End { status: Box::new(JobStatus::new(job, state)), workers: Vec::new(), collected: Vec::new() }
}
/// Brings a new job to its first task.
fn running(jobs: &mut Jobs, job: JobId) {
    jobs.submit(job, 0, 10);
    assert_eq!(jobs.begin_try(job, BTreeMap::new(), Outputs::new()), Some((1, SplitStart::Now)));
    jobs.begin_split(job, Awaited::Submit).unwrap();
    jobs.check(job, split()).unwrap();
    jobs.run(job).unwrap();
}
/// And from there to the first try of its commit.
fn committing(jobs: &mut Jobs, job: JobId) {
    running(jobs, job);
    jobs.seal(job, commit(), Vec::new()).unwrap();
    assert_eq!(jobs.begin_commit(job), Some((Vec::new(), Some(1))));
    jobs.sealed(job);
    assert_eq!(jobs.for_chunks(), [job]);
    assert_eq!(jobs.commit_folders(job), Some(None));
}

#[test]
fn try_after_a_crash_waits_until_the_submit_is_durable() {
    let mut jobs = Jobs::default();
    jobs.submit(id(1), 1, 10);
    assert_eq!(jobs.begin_try(id(1), BTreeMap::new(), Outputs::new()), Some((2, SplitStart::WithSubmit)));
    assert!(jobs.begin_split(id(1), Awaited::Try).is_none());
    assert!(jobs.begin_split(id(1), Awaited::Submit).is_some());
    assert!(jobs.begin_split(id(1), Awaited::Submit).is_none(), "once");
    jobs.submit(id(2), 0, 10);
    jobs.wait_for_datasets(id(2));
    assert_eq!(jobs.for_datasets(), [id(2)]);
    // Its submit was queued when it waited: the try has a record of its own.
    assert_eq!(jobs.begin_try(id(2), BTreeMap::new(), Outputs::new()), Some((1, SplitStart::WithTry)));
    assert_eq!(jobs.for_datasets(), []);
}

#[test]
fn late_plan_keeps_its_ended_job_until_it_returns() {
    let mut jobs = Jobs::default();
    for returns_first in [false, true] {
        jobs.submit(id(1), 0, 10);
        jobs.begin_try(id(1), BTreeMap::new(), Outputs::new());
        let (_, steps) = jobs.begin_split(id(1), Awaited::Submit).unwrap();
        assert!(!jobs.end(id(1), end(id(1), JobState::Cancelled)).unwrap().is_stored);
        assert!(steps.is_cancelled());
        jobs.record_end(id(1)).unwrap();
        assert_eq!((jobs.active_count(), jobs.spec_bytes()), (0, 0));
        if returns_first {
            assert!(jobs.returned(id(1), staged()).is_none(), "its folders stay until the end is durable");
        }
        let recorded = jobs.end_recorded(id(1)).unwrap();
        assert_eq!(recorded.staging.sinks.len(), usize::from(returns_first));
        assert_eq!(recorded.late_thread, (!returns_first).then_some(LateThread::Plan));
        assert_eq!(jobs.contains(id(1)), !returns_first);
        assert_eq!(jobs.returned(id(1), staged()).map(|staging| staging.sinks.len()), Some(1));
        assert!(!jobs.contains(id(1)));
    }
}

#[test]
fn given_up_job_stays_until_its_commit_thread_returns() {
    for hangs in [false, true] {
        let mut jobs = Jobs::default();
        committing(&mut jobs, id(1));
        match hangs {
            true => assert_eq!(jobs.commit_hangs(id(1)), Some((true, Some(0)))),
            false => assert_eq!(jobs.pause_commit(id(1), Time(5)), Some((true, Some(0)))),
        }
        assert!(jobs.commit_try(id(1)).is_some_and(TryState::waits));
        assert_eq!(jobs.counted_tries(), []);
        jobs.found_staging(id(1), Vec::new());
        jobs.end(id(1), end(id(1), JobState::Cancelled)).unwrap();
        assert_eq!(jobs.late_thread(id(1)), hangs.then_some(LateThread::Commit));
        assert_eq!(jobs.next_commit(), None);
        jobs.record_end(id(1)).unwrap();
        assert_eq!(jobs.end_recorded(id(1)).unwrap().staging.sinks.len(), 0);
        assert_eq!(jobs.contains(id(1)), hangs);
    }
}

#[test]
fn tries_of_a_commit_count_while_they_may_end_the_coordinator() {
    let mut jobs = Jobs::default();
    committing(&mut jobs, id(1));
    assert_eq!(jobs.counted_tries(), [(id(1), 0)]);
    assert_eq!(jobs.retry_commit(id(1)), None, "a thread works on it");
    assert_eq!(jobs.pause_commit(id(1), Time(0)), Some((true, Some(0))));
    let due = jobs.next_commit().unwrap();
    assert!(jobs.commits_due(Time(due.0 - 1)).is_empty());
    assert_eq!(jobs.commits_due(due), [id(1)]);
    assert_eq!(jobs.retry_commit(id(1)), Some(Some(1)));
    assert_eq!(jobs.next_commit(), None);
    assert_eq!(jobs.commit_hangs(id(1)), Some((false, Some(0))), "it has waited before");
    jobs.commit_datasets(id(1));
    assert_eq!(jobs.commit_try(id(1)), None);
}

#[test]
fn held_commit_of_an_earlier_epoch_counts_no_try() {
    let mut jobs = Jobs::default();
    let earlier = Some(EarlierCommit { collected: vec![("n".into(), Vec::new())], held: Some("why".into()) });
    let job = Restoring { tries: 5, spec_bytes: 10, is_split: true, staging: StagedOutputs::default(), earlier };
    jobs.restore(id(1), job);
    jobs.seal(id(1), commit(), vec![("n".into(), Vec::new())]).unwrap();
    assert_eq!(jobs.begin_commit(id(1)).unwrap().1, None);
    jobs.sealed(id(1));
    assert_eq!(jobs.counted_tries(), []);
    assert_eq!(jobs.commit_folders(id(1)), Some(Some("why".to_string())));
    assert_eq!(jobs.commit_try(id(1)), Some(TryState::Held));
    assert_eq!(jobs.retry_commit(id(1)), Some(Some(6)));
    assert!(jobs.commit_work(id(1)).is_some_and(|work| work.sealed_before));
}

#[test]
fn chunks_of_attempts_are_kept_until_the_commit_is_recorded() {
    let mut jobs = Jobs::default();
    running(&mut jobs, id(1));
    let mut datasets = windrow_datasets::Datasets::default();
    let put = datasets.begin_output("d", false).unwrap();
    jobs.set_outputs(id(1), [(0, DatasetOutput { put, chunks: BTreeMap::new() })].into());
    let chunk = DatasetChunk { digest: Digest([1; 32]), length: 1 };
    assert!(jobs.keep_chunk(0, attempt(id(1), 0), chunk));
    assert!(!jobs.keep_chunk(0, attempt(id(1), 0), chunk), "it is kept already");
    assert!(!jobs.keep_chunk(1, attempt(id(1), 0), chunk), "there is no such output");
    jobs.publish(attempt(id(1), 0), worker(), vec![chunk.digest]);
    assert_eq!(jobs.take_copied(|_| false), []);
    assert_eq!(jobs.take_copied(|digests| digests == [chunk.digest]), [(attempt(id(1), 0), worker())]);
    assert_eq!(jobs.take_copied(|_| true), []);
    jobs.seal(id(1), commit(), Vec::new()).unwrap();
    assert!(jobs.keep_chunk(0, attempt(id(1), 1), chunk));
    jobs.begin_commit(id(1)).unwrap();
    jobs.sealed(id(1));
    assert!(!jobs.keep_chunk(0, attempt(id(1), 2), chunk));
    assert_eq!(jobs.outputs(id(1)).map(|(_, output)| output.chunks.len()).sum::<usize>(), 0, "no attempt has won");
    assert_eq!(jobs.end(id(1), end(id(1), JobState::Failed)).unwrap().outputs.len(), 1);
}

#[test]
fn receipts_of_late_attempts_are_kept_up_to_a_bound() {
    let mut jobs = Jobs::default();
    running(&mut jobs, id(1));
    let receipt = |text: &str| vec![(0, Receipt::new(text.into()).unwrap())];
    let kept = |jobs: &Jobs| jobs.prepared(id(1)).unwrap().staging.receipts.of_sink(0).count();
    jobs.keep_receipts(attempt(id(1), 0), receipt("first"), true);
    jobs.keep_receipts(attempt(id(1), 0), receipt("again"), false);
    let first = jobs.prepared(id(1)).unwrap().staging.receipts.placed(0, attempt(id(1), 0)).receipt.clone();
    assert_eq!((first.bytes(), kept(&jobs)), (&b"first"[..], 1), "the part has won since");
    jobs.keep_receipts(attempt(id(1), 1), vec![(7, Receipt::new(b"x".to_vec()).unwrap())], true);
    assert_eq!(kept(&jobs), 1, "no such output is staged");
    (0..2_000).for_each(|n| jobs.keep_receipts(attempt(id(1), n), receipt("late"), false));
    assert_eq!(kept(&jobs), 1_001);
    jobs.keep_receipts(attempt(id(1), 5_000), receipt("publishing"), true);
    assert_eq!(kept(&jobs), 1_002);
}

#[test]
fn job_fails_whose_result_cannot_be_stored() {
    let mut jobs = Jobs::default();
    running(&mut jobs, id(1));
    let collected = vec![("n".to_string(), Vec::new())];
    jobs.end(id(1), End { collected: collected.clone(), ..end(id(1), JobState::Done) }).unwrap();
    assert!(jobs.is_active(id(1)), "a stop continues it");
    assert_eq!(jobs.storing(id(1)), Some(&mut collected.clone()));
    assert!(jobs.end_recorded(id(1)).is_none(), "its end is not with the journal");
    let (answer, mut answered) = oneshot::channel();
    assert!(jobs.await_end(id(1), answer).is_none());
    assert!(jobs.fail_end(id(1), &Failure::new(Code::NoSpace, "full")));
    let ended = jobs.record_end(id(1)).unwrap();
    assert_eq!((ended.status.state, ended.collected), (JobState::Failed, collected));
    for answer in jobs.end_recorded(id(1)).unwrap().waiting {
        answer.send(Ok(())).unwrap();
    }
    assert_eq!(answered.try_recv().unwrap(), Ok(()));
    assert!(!jobs.contains(id(1)));
}

/// Every message that changes a phase, by number, in any phase.
fn deliver(jobs: &mut Jobs, job: JobId, message: u8) {
    match message {
        0 if !jobs.contains(job) => jobs.submit(job, 0, 10),
        1 if !jobs.contains(job) => {
            let restoring =
                Restoring { tries: 1, spec_bytes: 10, is_split: true, staging: staged().into(), earlier: None };
            jobs.restore(job, restoring);
        }
        2 => jobs.wait_for_datasets(job),
        3 => drop(jobs.begin_try(job, BTreeMap::new(), Outputs::new())),
        4 => drop(jobs.begin_split(job, Awaited::Submit)),
        5 => drop(jobs.begin_split(job, Awaited::Try)),
        6 => drop(jobs.check(job, split())),
        7 => drop(jobs.run(job)),
        8 => jobs.publish(attempt(job, 0), worker(), vec![Digest([1; 32])]),
        9 => drop(jobs.take_copied(|_| true)),
        10 => drop(jobs.seal(job, commit(), Vec::new())),
        11 => drop(jobs.begin_commit(job)),
        12 => jobs.sealed(job),
        13 => drop(jobs.commit_folders(job)),
        14 => drop(jobs.commit_hangs(job)),
        15 => drop(jobs.pause_commit(job, Time(3))),
        16 => drop(jobs.retry_commit(job)),
        17 => jobs.commit_datasets(job),
        18 => drop(jobs.end(job, end(job, JobState::Failed))),
        19 => drop(jobs.record_end(job)),
        20 => drop(jobs.end_recorded(job)),
        21 if jobs.late_thread(job).is_some() => drop(jobs.returned(job, Vec::new())),
        _ => {}
    }
}

proptest! {
    /// After any messages in any order, the sets and sums of the table are those of its jobs.
    #[test]
    fn sets_of_jobs_follow_their_phases(messages in prop::collection::vec((1u8..4, 0u8..22), 0..200)) {
        let mut jobs = Jobs::default();
        for (n, message) in messages {
            deliver(&mut jobs, id(n), message);
            let mut index = Index::default();
            jobs.table.iter().for_each(|(id, job)| index.add(*id, &job.phase));
            prop_assert_eq!(&jobs.index, &index);
            prop_assert_eq!(jobs.active_count(), jobs.active().count());
            prop_assert_eq!(jobs.spec_bytes(), 10 * jobs.active().count());
        }
    }

    /// From every phase that a job reaches its end can be recorded, and the table forgets it.
    #[test]
    fn job_can_end_from_every_phase(messages in prop::collection::vec(0u8..18, 0..40)) {
        let mut jobs = Jobs::default();
        jobs.submit(id(1), 0, 10);
        messages.into_iter().for_each(|message| deliver(&mut jobs, id(1), message));
        jobs.end(id(1), end(id(1), JobState::Failed)).unwrap();
        jobs.record_end(id(1)).unwrap();
        let ending = |phase: &JobPhase| matches!(phase, JobPhase::Ending(Ending { step: EndStep::Recording, .. }));
        prop_assert!(jobs.phase(id(1)).is_some_and(ending));
        let recorded = jobs.end_recorded(id(1)).unwrap();
        if recorded.late_thread.is_some() {
            prop_assert!(jobs.returned(id(1), Vec::new()).is_some());
        }
        prop_assert!(!jobs.contains(id(1)));
        prop_assert_eq!(&jobs.index, &Index::default());
    }
}
