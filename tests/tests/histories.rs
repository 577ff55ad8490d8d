//! What users see of jobs from their histories, while they run, after restarts, and when the coordinator has forgotten them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};
use windrow_history::Event;
use windrow_model::JobId;
use windrow_tests::cluster::Cluster;
use windrow_tests::gated::Gated;
use windrow_tests::histories::{check_summaries, events_of};
use windrow_tests::program::{eventually, run};

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as u64
}

#[test]
fn failure_is_told_when_the_coordinator_has_forgotten_the_job() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("in"), "a b\nBOOM c\n").unwrap();
    let mut cluster = Cluster::start(1, 1);
    let id = cluster.detach(folder.path(), "hostile", ["bad", "panic", "in", "--output", "out"]);
    run(&mut cluster.windrow(["job", "wait", &id, "--coordinator", &cluster.url])).with(1);
    let before = cluster.json(["job", "get", &id]);
    // Without its journal, the next coordinator knows nothing but histories.
    assert_eq!(cluster.stop_worker(0), Some(0));
    let journal = cluster.coordinator_folder().join("journal.redb");
    cluster.restart_coordinator_after(|| std::fs::remove_file(&journal).unwrap());
    assert_eq!(cluster.json(["job", "list"]), serde_json::json!([]));
    let past = cluster.json(["job", "list", "--past"]);
    assert_eq!((&past[0]["id"], &past[0]["error"]["code"]), (&before["id"], &before["error"]["code"]), "{past:#}");
    let after = cluster.json(["job", "get", &id]);
    for field in ["id", "name", "state", "stages", "tasks", "attempts", "outputs", "submitted_unix_ms", "elapsed_ms"] {
        assert_eq!(after[field], before[field], "{field}: {after:#}");
    }
    assert_eq!(after["error"], before["error"], "record and stderr, too");
    assert!(after["error"]["record"]["offset"].is_u64(), "{after:#}");

    let tasks = cluster.json(["job", "tasks", &id, "--state", "failed"]);
    let attempts = tasks.as_array().unwrap();
    assert_eq!(attempts.len() as u64, before["tasks"]["failed"].as_u64().unwrap(), "{tasks:#}");
    for (n, attempt) in attempts.iter().enumerate() {
        let failure = &attempt["failure"];
        assert!(failure["code"] == "USER_PANIC" && failure["file"].as_str().unwrap().ends_with("in"), "{attempt:#}");
        assert!(attempt["charged"] == true && attempt["host"].is_string(), "attempt {n}: {attempt:#}");
    }
    let events = cluster.json(["job", "events", &id]);
    let kinds: Vec<&str> = events.as_array().unwrap().iter().map(|e| e["e"].as_str().unwrap()).collect();
    assert_eq!((kinds[0], kinds[1], *kinds.last().unwrap()), ("log", "submitted", "ended"));
    let text = run(&mut cluster.windrow(["job", "events", &id, "-f", "--coordinator", &cluster.url])).ok().stdout;
    assert!(text.contains("failed on worker-") && text.contains("USER_PANIC"), "{text}");
    let unknown = "job-00000000000000000000000000000001";
    for verb in ["events", "tasks", "get"] {
        let refused = run(&mut cluster.windrow(["job", verb, unknown, "--coordinator", &cluster.url]));
        assert!(refused.stderr.contains("JOB_NOT_FOUND"), "{verb}: {}", refused.stderr);
    }
    assert_eq!(cluster.stop_coordinator(), Some(0));
    assert_eq!(check_summaries(&cluster.coordinator_folder()), 1);
    cluster.start_coordinator();
    cluster.stop();
}

#[test]
fn killed_coordinator_loses_no_event_older_than_a_second() {
    let job = Gated::new();
    let mut cluster = Cluster::start(2, 2);
    let id = cluster.detach(job.path(), "hostile", job.args("out"));
    job.wait_for(3);
    let running = cluster.json(["job", "tasks", &id, "--state", "running"]);
    assert!(running.as_array().unwrap().len() >= 3, "{running:#}");
    let known: u64 = cluster.json(["job", "get", &id])["attempts"].as_u64().unwrap();
    // All of these events are older than a second when the coordinator dies.
    std::thread::sleep(Duration::from_millis(1_100));
    let killed = unix_ms();
    cluster.kill_coordinator();
    let parsed: JobId = id.parse().unwrap();
    let events = events_of(&cluster.coordinator_folder(), parsed);
    let begun = events.iter().filter(|(_, e)| matches!(e, Event::Assigned(_))).count() as u64;
    assert!(begun >= known, "{begun} of {known} attempts are on disk");
    assert!(!events.iter().any(|(_, e)| matches!(e, Event::Ended(_) | Event::Damaged { .. } | Event::Dropped { .. })));
    cluster.start_coordinator();
    job.open();
    run(&mut cluster.windrow(["job", "wait", &id, "--coordinator", &cluster.url])).ok();
    eventually("the job has ended in its log", || {
        events_of(&cluster.coordinator_folder(), parsed).iter().any(|(_, e)| matches!(e, Event::Ended(_)))
    });
    let all = events_of(&cluster.coordinator_folder(), parsed);
    assert_eq!(all[..events.len()], events[..], "the log goes on behind what was there");
    let away =
        all.iter().find_map(|(_, e)| if let Event::Away { from, to, .. } = e { Some((*from, *to)) } else { None });
    let (from, to) = away.expect("the log has the restart");
    assert!(from <= killed && killed <= to, "{from} to {to}, killed at {killed}");
    let text = run(&mut cluster.windrow(["job", "events", &id, "--coordinator", &cluster.url])).ok().stdout;
    assert!(text.contains("the coordinator was away for"), "{text}");
    assert_eq!(cluster.stop_coordinator(), Some(0));
    assert_eq!(check_summaries(&cluster.coordinator_folder()), 1);
    cluster.start_coordinator();
    cluster.stop();
}
