//! Checks of the histories in the folder of a coordinator that has stopped.

use std::ops::ControlFlow;
use std::path::Path;
use windrow_history::{Cursor, Event, Fold, Folder};
use windrow_model::JobId;

/// Holds the summary of each ended job against its log, read again. Returns the number of jobs with a summary.
#[track_caller]
pub fn check_summaries(coordinator: &Path) -> usize {
    let folder = Folder::new(coordinator.join("history"));
    let listed = folder.list(&Default::default(), None, usize::MAX).expect("the history can be read").jobs;
    for job in &listed {
        let files = folder.job(job.id);
        let mut replayed = fold_of(&folder, job.id).summary();
        replayed.to_json();
        let live = files.read_summary().expect("the summary can be read").expect("it is listed");
        assert_eq!(live, replayed, "{}", job.id);
        assert_eq!(live.body.dropped, 0, "{}", job.id);
    }
    listed.len()
}

/// The events of a job.
#[track_caller]
pub fn events_of(coordinator: &Path, job: JobId) -> Vec<(u64, Event)> {
    let mut events = Vec::new();
    let files = Folder::new(coordinator.join("history")).job(job);
    let read = files.read(Cursor::default(), true, &mut |logged| {
        events.push((logged.line.t, logged.line.event));
        ControlFlow::Continue(())
    });
    read.expect("the log can be read");
    events
}

fn fold_of(folder: &Folder, job: JobId) -> Fold {
    let mut fold = Fold::default();
    let read = folder.job(job).read(Cursor::default(), false, &mut |logged| {
        fold.apply(&logged.line);
        ControlFlow::Continue(())
    });
    read.expect("the log can be read");
    fold
}
