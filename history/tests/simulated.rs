//! Histories of simulated clusters: whatever goes wrong there, the summary that was made live is that of the log.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use windrow_history::{
    AttemptQuery, AttemptState, Cursor, Event, Fold, Folder, Listing, Retention, Settings, Sort, derive, start,
};
use windrow_model::JobId;
use windrow_sim::{Kinds, Outcome, Setup, Trace};

/// Stage, task, attempt and epoch.
type Named = (u32, u32, u32, u64);

fn run(seed: u64) -> Outcome {
    let kinds = Kinds { datasets: false, fickle: seed.is_multiple_of(5), ..Kinds::ALL };
    windrow_sim::run(&Setup { seed, user_errors: seed % 2 == 1, kinds, workers: None, trace: Trace::Off })
}

fn settings(folder: &Folder, epoch: u64) -> Settings {
    Settings { folder: folder.clone(), retention: Retention::default(), engine: "test".into(), epoch }
}

/// Writes the notes of a run as a coordinator would: with a history of its own for each epoch.
fn write(outcome: &Outcome, folder: &Folder) -> BTreeSet<JobId> {
    let mut all = BTreeSet::new();
    let epochs: BTreeSet<u64> = outcome.notes.iter().map(|noted| noted.epoch).collect();
    for epoch in epochs {
        let (mut recorder, reading, threads) = start(settings(folder, epoch)).unwrap();
        let mut begun = BTreeSet::new();
        for noted in outcome.notes.iter().filter(|noted| noted.epoch == epoch) {
            if begun.insert(noted.job) {
                recorder.begin(noted.job, "simulated");
            }
            if let Some(event) = derive::event_of(noted.note.clone(), None, noted.ms, epoch) {
                let ends = matches!(event, Event::Ended(_));
                recorder.record(noted.job, noted.ms, event);
                if ends {
                    begun.remove(&noted.job);
                }
            }
        }
        all.extend(outcome.notes.iter().filter(|noted| noted.epoch == epoch).map(|noted| noted.job));
        drop(recorder);
        threads.join();
        assert_eq!((reading.health().dropped, reading.health().errors), (0, 0));
    }
    all
}

#[test]
fn live_summary_is_that_of_the_replayed_log() {
    let (mut restarts, mut failed, mut jobs) = (0, 0, 0);
    for seed in 0..60 {
        let outcome = run(seed);
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path());
        for job in write(&outcome, &folder) {
            let files = folder.job(job);
            let mut fold = Fold::default();
            let end = files.read(Cursor::default(), false, &mut |logged| {
                assert!(!matches!(logged.line.event, Event::Damaged { .. } | Event::Dropped { .. } | Event::Unknown));
                fold.apply(&logged.line);
                ControlFlow::Continue(())
            });
            assert!(end.unwrap().is_some());
            let mut replayed = fold.summary();
            replayed.to_json();
            let live = files.read_summary().unwrap().expect("the job has ended");
            assert_eq!(live, replayed, "seed {seed}, {job}");
            restarts += live.body.away.items.len();
            failed += live.body.failed.items.len();
            jobs += 1;
        }
    }
    assert!(
        jobs >= 60 && restarts >= 20 && failed >= 100,
        "{jobs} jobs, {restarts} restarts, {failed} failed attempts"
    );
}

/// Every attempt of the notes is a row, once, and no row is left open when its job has ended.
#[test]
fn attempts_of_a_log_are_those_of_the_run() {
    for seed in 100..130 {
        let outcome = run(seed);
        let mut listings: BTreeMap<JobId, (Listing, BTreeSet<Named>)> = BTreeMap::new();
        for noted in &outcome.notes {
            let (listing, keys) = listings.entry(noted.job).or_insert_with(|| {
                let query =
                    AttemptQuery { limit: AttemptQuery::WINDOW_MAX, sort: Sort::Start, ..AttemptQuery::default() };
                (Listing::new(query), BTreeSet::new())
            });
            let Some(event) = derive::event_of(noted.note.clone(), None, noted.ms, noted.epoch) else { continue };
            if let Event::Assigned(a) = &event {
                keys.insert((a.stage, a.task, a.attempt, a.epoch));
            }
            listing.apply(&windrow_history::Line { t: noted.ms, event });
        }
        for (job, (listing, keys)) in listings {
            let page = listing.page(outcome.ms);
            let rows: Vec<_> = page.rows.iter().map(|r| (r.stage, r.task, r.attempt, r.epoch)).collect();
            assert_eq!(rows.iter().copied().collect::<BTreeSet<_>>(), keys, "seed {seed}, {job}");
            // An attempt that was lost with its worker and has come back has two rows.
            assert_eq!(page.admitted as usize, rows.len());
            let open = page.rows.iter().filter(|row| matches!(row.state, AttemptState::Queued | AttemptState::Running));
            assert_eq!(open.count(), 0, "seed {seed}, {job}");
        }
    }
}
