//! Lists of past jobs, which read the heads of summaries only.

use windrow_history::event::Ended;
use windrow_history::{Event, Folder, Retention, Settings, start};
use windrow_model::{JobFilter, JobId, JobState, WorkerId};

/// An id of a job that was made at this second (UUID version 7).
fn job(seconds: u64, n: u8) -> JobId {
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&(seconds * 1_000).to_be_bytes()[2..]);
    (bytes[6], bytes[8], bytes[15]) = (0x70, 0x80, n);
    JobId::from_bytes(bytes)
}

fn history(folder: &Folder, jobs: impl Iterator<Item = JobId>) {
    let settings =
        Settings { folder: folder.clone(), retention: Retention::default(), engine: "test".into(), epoch: 1 };
    let (mut recorder, _, threads) = start(settings).unwrap();
    for (n, job) in jobs.enumerate() {
        recorder.begin(job, &format!("job {n}"));
        let state = if n % 3 == 0 { "failed" } else { "done" };
        let ended = Ended { state: state.into(), submitted: n as u64, ..Ended::default() };
        recorder.record(job, n as u64, Event::Ended(Box::new(ended)));
    }
    threads.join();
}

#[test]
fn pages_follow_each_other_across_months() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::new(dir.path());
    // Three months, with an hour between two jobs.
    history(&folder, (0..2_000).map(|n| job(1_750_000_000 + n * 3_600, n as u8)));
    let all = folder.list(&JobFilter::default(), None, usize::MAX).unwrap();
    assert_eq!((all.jobs.len(), all.next), (2_000, None));
    assert!(all.jobs.windows(2).all(|pair| pair[0].id > pair[1].id));
    let failed = JobFilter { states: vec![JobState::Failed], limit: Some(70), ..JobFilter::default() };
    let (mut pages, mut before, mut listed) = (0, None, Vec::new());
    loop {
        let page = folder.list(&failed, before, 100).unwrap();
        (pages, before) = (pages + 1, page.next);
        assert!(page.jobs.len() <= 34, "a page reads a hundred heads");
        listed.extend(page.jobs);
        if before.is_none() {
            break;
        }
    }
    assert_eq!((pages, listed.len()), (20, 667));
    let expected = all.jobs.iter().filter(|status| status.state == JobState::Failed);
    assert!(listed.iter().eq(expected));
    let name = JobFilter { name: "job 1999".into(), ..JobFilter::default() };
    assert_eq!(folder.list(&name, None, usize::MAX).unwrap().jobs.len(), 1);
}

#[test]
fn damaged_summary_hides_one_job_only() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::new(dir.path());
    let jobs: Vec<JobId> = (0..3).map(|n| job(1_750_000_000 + n, n as u8)).collect();
    history(&folder, jobs.iter().copied());
    std::fs::write(folder.job(jobs[1]).summary(), "{\"head\":{\n").unwrap();
    let listed = folder.list(&JobFilter::default(), None, usize::MAX).unwrap().jobs;
    assert_eq!(listed.iter().map(|status| status.id).collect::<Vec<_>>(), [jobs[2], jobs[0]]);
    // A summary that was copied to the name of another job is not that job's.
    std::fs::copy(folder.job(jobs[0]).summary(), folder.job(jobs[1]).summary()).unwrap();
    assert_eq!(folder.list(&JobFilter::default(), None, usize::MAX).unwrap().jobs.len(), 2);
    let unknown: WorkerId = WorkerId::from_bytes([0; 16]);
    assert!(folder.job(JobId::from_bytes(*unknown.as_bytes())).read_summary().unwrap().is_none());
}
