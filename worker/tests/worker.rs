//! A whole worker: `windrow_worker::run` against a coordinator of the test, with executors that copy their input
//! (`fake_executor.py`).

#![allow(clippy::disallowed_methods, reason = "tests read the files that they made")]

mod support;

use std::time::Duration;
use support::*;
use tokio::net::TcpListener;
use windrow_model::{AttemptId, Code, Epoch, Failure, OutputRef, OutputReport, TaskOutput};
use windrow_net::Token;
use windrow_proto::v1::from_worker::Message as From;
use windrow_proto::v1::to_worker::Message as To;
use windrow_proto::v1::{self};
use windrow_worker::Config;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_mapped_on_two_workers_shuffled_and_published() {
    let mut cluster = Cluster::start().await;
    let (_a, mut a) = cluster.join(0).await;
    let (_b, mut b) = cluster.join(1).await;
    let staging = cluster.folder.path().join("staging");
    std::fs::create_dir_all(staging.join("_parts")).unwrap();
    std::fs::write(staging.join("nonce"), "n0").unwrap();
    for (nonce, fine) in [("n0", true), ("other", false)] {
        a.send(To::CheckStaging(v1::CheckStaging {
            request: 5,
            folder: windrow_proto::convert::path_to_bytes(&staging),
            nonce: nonce.into(),
            inputs: vec![],
        }));
        match a.hear().await {
            From::StagingChecked(checked) => assert!(checked.request == 5 && checked.failure.is_none() == fine),
            other => panic!("{other:?}"),
        }
    }

    let mut outputs = Vec::new();
    let texts = ["first half ".to_string(), "second".repeat(300_000)];
    for (line, (i, text)) in [&mut a, &mut b].into_iter().zip((0u32..).zip(&texts)) {
        let input = cluster.folder.path().join(format!("input-{i}"));
        std::fs::write(&input, text).unwrap();
        let id = line.attempt(0, i);
        line.assign(
            task(id, vec![chunk(&input)], vec![TaskOutput::Edge { partitions: 3 }]),
            setup("copy", Some(&staging)),
            vec![],
        );
        let [OutputReport::Edge(found)] = &line.done(id).await[..] else { panic!("one edge") };
        let block = (windrow_format::block::HEADER_BYTES + text.len()) as u64;
        assert_eq!((found.bytes, found.records), (3 * block, 3));
        outputs.push((line.worker(), id));
    }

    assert!(b.register.home.is_some());
    let near = v1::Peer { home: b.register.home.clone(), ..b.far() };
    for (n, peer) in [(0, b.far()), (2, near)] {
        let id = a.attempt(1, n);
        let table = Line::table(u64::from(n), &outputs);
        let reduce = task(id, vec![partition_of(&table, 3)], vec![TaskOutput::Sink { sink: 0 }]);
        a.assign_reader(reduce, None, vec![peer], &table);
        a.done(id).await;
        a.send(To::Grant(v1::Grant { attempt: Some(id.into()) }));
        assert!(matches!(a.hear().await, From::Published(p) if p.attempt == Some(id.into())));
        let part = staging.join("_parts").join(windrow_format::names::attempt_part(&id, ".txt"));
        let part = std::fs::read_to_string(part).unwrap();
        assert!(part == texts.concat());
    }

    // An output that its holder has dropped is reported, and the reader's attempt is over.
    b.send(To::DropJob(v1::DropJob { job: Some(job().into()) }));
    let again = a.attempt(1, 1);
    let table = Line::table(3, &outputs);
    let reduce = task(again, vec![partition_of(&table, 3)], vec![TaskOutput::Sink { sink: 0 }]);
    a.assign_reader(reduce, None, vec![b.far()], &table);
    let (worker, attempt) = outputs[1];
    assert_eq!(a.lost(again).await.0, OutputRef { worker, attempt, output: 0 });
    a.send(To::DropJob(v1::DropJob { job: Some(job().into()) }));
    until("files of a dropped job go", || job_files(&cluster.data_dir(0)).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_is_charged_to_the_crashing_task_only() {
    let mut cluster = Cluster::start().await;
    let (_running, mut line) = cluster.join(0).await;
    let (good, bad) = (line.attempt(0, 12), line.attempt(0, 13));
    line.assign(idle(good), setup("segv_at_13", None), vec![]);
    line.assign(idle(bad), None, vec![]);
    // Either of the two suspects may run first.
    let mut done = 0;
    let mut failures = Vec::new();
    for _ in 0..2 {
        match line.hear().await {
            From::Done(d) if d.attempt == Some(good.into()) => done += 1,
            From::Failed(f) if f.attempt == Some(bad.into()) => failures.push(Failure::try_from(f.failure.unwrap())),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((done, failures.len()), (1, 1));
    let failure = failures[0].clone().unwrap();
    assert_eq!(failure.code, Code::ExecutorCrashed);
    assert!(failure.message.contains("SIGSEGV"), "{failure}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fetched_inputs_survive_a_crash() {
    let mut cluster = Cluster::start().await;
    let (_a, mut a) = cluster.join(0).await;
    let (_b, mut b) = cluster.join(1).await;
    let input = cluster.folder.path().join("input");
    std::fs::write(&input, "some bytes").unwrap();
    let id = a.attempt(0, 0);
    let map = task(id, vec![chunk(&input)], vec![TaskOutput::Edge { partitions: 2 }]);
    a.assign(map, setup("copy", None), vec![]);
    a.done(id).await;
    let table = Line::table(0, &[(a.worker(), id)]);
    // Without a home it is fetched.
    for index in [0, 1] {
        let id = b.attempt(1, index);
        let reads = task(id, vec![partition_of(&table, 2)], vec![TaskOutput::Broadcast]);
        b.assign_reader(reads, setup("segv_at_13", None), vec![a.far()], &table);
    }
    for _ in 0..2 {
        match b.hear().await {
            From::Done(done) => {
                let report = windrow_model::TaskReport::try_from(done.report.unwrap()).unwrap();
                assert_eq!(report.outputs, [OutputReport::Broadcast(b"some bytes".to_vec())]);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unstoppable_task_is_killed_and_its_neighbour_finishes() {
    let mut cluster = Cluster::start().await;
    let (_running, mut line) = cluster.join(0).await;
    let (stuck, next) = (line.attempt(0, 13), line.attempt(0, 1));
    line.assign(idle(stuck), setup("hang_at_13", None), vec![]);
    line.assign(idle(next), None, vec![]);
    line.done(next).await;
    line.send(To::Revoke(v1::Revoke { attempt: Some(stuck.into()) }));
    let later = line.attempt(0, 2);
    line.assign(idle(later), None, vec![]);
    line.done(later).await;
    line.send(To::Grant(v1::Grant { attempt: Some(stuck.into()) }));
    match line.hear().await {
        From::PublishFailed(failed) => assert_eq!(failed.failure.unwrap().code, "STALE_ATTEMPT"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_reports_its_inventory_after_a_lost_session() {
    let mut cluster = Cluster::start().await;
    let ((stop, worker), mut first) = cluster.join(0).await;
    assert!(first.inventory.is_empty() && first.jobs.is_empty());
    let (id, stuck) = (first.attempt(0, 0), first.attempt(0, 13));
    first.assign(idle(id), setup("hang_at_13", None), vec![]);
    first.done(id).await;
    first.assign(idle(stuck), None, vec![]);
    let incarnation = first.register.incarnation;
    // Messages are handled in order, so the assignment has arrived when the later request is answered.
    first.send(To::Grant(v1::Grant { attempt: Some(id.into()) }));
    assert!(matches!(first.hear().await, From::Published(_)));
    drop(first);
    let mut second = cluster.line().await;
    assert_eq!(second.register.incarnation, incarnation, "it is the same incarnation");
    let held: Vec<_> = second.inventory.iter().map(|h| (h.attempt.clone().unwrap(), h.report.is_some())).collect();
    assert_eq!(held, [(id.into(), true), (stuck.into(), false)]);
    assert_eq!(second.jobs, [job().into()]);
    // A repeated grant is answered as before, and the job's setup is still here.
    second.send(To::Grant(v1::Grant { attempt: Some(id.into()) }));
    assert!(matches!(second.hear().await, From::Published(_)));
    let next = second.attempt(0, 1);
    second.assign(idle(next), None, vec![]);
    second.done(next).await;
    drop(stop);
    assert!(matches!(second.hear().await, From::Draining(_)));
    assert!(!worker.is_finished(), "its outputs may still be needed");
    second.send(To::DropJob(v1::DropJob { job: Some(job().into()) }));
    worker.await.unwrap().unwrap();
    assert!(job_files(&cluster.data_dir(0)).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drained_worker_runs_until_it_is_stopped() {
    let mut cluster = Cluster::start().await;
    let ((stop, worker), mut first) = cluster.join(0).await;
    first.send(To::Drain(v1::Drain {}));
    assert!(matches!(first.hear().await, From::Draining(_)));
    // It still answers, although it holds nothing of any job.
    first.send(To::CheckStaging(v1::CheckStaging { request: 5, ..Default::default() }));
    assert!(matches!(first.hear().await, From::StagingChecked(_)));
    drop(first);
    let mut second = cluster.line().await;
    assert!(matches!(second.hear().await, From::Draining(_)), "the next coordinator hears it as well");
    assert!(!worker.is_finished());
    drop(stop);
    worker.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_worker_finishes_tasks_without_a_coordinator() {
    let mut cluster = Cluster::start().await;
    let ((stop, worker), mut first) = cluster.join(0).await;
    let id = first.attempt(0, 0);
    first.assign(idle(id), setup("gated", None), vec![]);
    let incarnation = cluster.data_dir(0).join("jobs").join(id.incarnation.to_string());
    let folder = incarnation.join(windrow_format::names::job_folder(job()));
    let begins = async {
        while !folder.join("begun").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), begins).await.expect("the task begins");
    drop(stop);
    assert!(matches!(first.hear().await, From::Draining(_)));
    drop(first);
    let mut second = cluster.line().await;
    assert_eq!(second.inventory.len(), 1, "it runs still");
    assert!(matches!(second.hear().await, From::Draining(_)));
    std::fs::write(folder.join("open"), "").unwrap();
    second.done(id).await;
    second.send(To::DropJob(v1::DropJob { job: Some(job().into()) }));
    worker.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_worker_ends_at_once_when_nothing_needs_it() {
    let mut cluster = Cluster::start().await;
    let ((stop, worker), mut line) = cluster.join(0).await;
    // Its job continues, but its result is in its report, and published.
    let id = line.attempt(0, 0);
    line.assign(idle(id), setup("copy", None), vec![]);
    line.done(id).await;
    drop(stop);
    let ended = tokio::time::timeout(Config::STOP_TIMEOUT / 2, worker).await;
    ended.expect("it does not wait for the end of the job").unwrap().unwrap();
    assert!(matches!(line.hear().await, From::Draining(said) if said.running + said.unpublished + said.served == 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_worker_reports_its_wait() {
    let mut cluster = Cluster::start().await;
    let (stop, worker) = cluster.worker_that_stays(0, Duration::from_secs(2));
    let mut line = cluster.line().await;
    let id = line.attempt(0, 0);
    let input = cluster.folder.path().join("input");
    std::fs::write(&input, "some bytes").unwrap();
    line.assign(task(id, vec![chunk(&input)], vec![TaskOutput::Edge { partitions: 1 }]), setup("copy", None), vec![]);
    line.done(id).await;
    drop(stop);
    match line.hear().await {
        From::Draining(said) => assert_eq!((said.running, said.unpublished, said.served), (0, 0, 1)),
        other => panic!("{other:?}"),
    }
    assert!(!worker.is_finished(), "another task may read the segment");
    tokio::time::timeout(Duration::from_secs(40), worker).await.expect("not for ever").unwrap().unwrap();
}

/// A coordinator that died before a job was recorded gets it again, under the same id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarted_job_keeps_nothing() {
    let mut cluster = Cluster::start().await;
    let (_running, mut first) = cluster.join(0).await;
    let (old, stuck) = (first.attempt(0, 0), first.attempt(0, 13));
    first.assign(idle(old), setup("hang_at_13", None), vec![]);
    first.done(old).await;
    first.assign(idle(stuck), None, vec![]);
    first.send(To::Grant(v1::Grant { attempt: Some(old.into()) }));
    assert!(matches!(first.hear().await, From::Published(_)));
    drop(first);
    let mut second = cluster.line().await;
    let new = AttemptId { epoch: Epoch(old.epoch.0 + 1), ..old };
    second.assign(idle(new), setup("other", None), vec![]);
    second.done(new).await;
    drop(second);
    let third = cluster.line().await;
    let held: Vec<_> = third.inventory.iter().map(|h| (h.attempt.clone().unwrap(), h.report.is_some())).collect();
    assert_eq!(held, [(new.into(), true)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beats_keep_the_lease() {
    let mut cluster = Cluster::start().await;
    let (_running, mut line) = cluster.join(0).await;
    // More beats than fit into one lease, and the list of chunks: their answers have kept the lease.
    for _ in 0..6 {
        let message = tokio::time::timeout(Duration::from_millis(LEASE_MS), line.hear.message()).await;
        let message = message.expect("a beat comes in time").unwrap().unwrap();
        assert!(matches!(message.message, Some(From::Beat(_) | From::ChunksHeld(_))));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silently_cut_worker_registers_with_its_outputs() {
    let mut cluster = Cluster::start().await;
    let (url, swallow) = proxy(cluster.url.clone()).await;
    let data_dir = cluster.data_dir(0);
    let _worker = tokio::spawn(run_worker(url, data_dir.clone(), std::future::pending()));
    let mut line = cluster.line().await;
    let id = line.attempt(0, 0);
    let edge = vec![TaskOutput::Edge { partitions: 1 }];
    line.assign(task(id, vec![], edge), setup("copy", None), vec![]);
    line.done(id).await;
    swallow.send(true).unwrap();
    tokio::time::sleep(Duration::from_millis(LEASE_MS)).await;
    swallow.send(false).unwrap();
    let again = cluster.line().await;
    let held: Vec<_> = again.inventory.iter().map(|h| h.attempt.clone().unwrap()).collect();
    assert_eq!(held, [id.into()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn worker_waits_for_its_coordinator() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let folder = tempfile::tempdir().unwrap();
    let worker = tokio::spawn(run_worker(format!("http://{address}"), folder.path().join("w"), std::future::pending()));
    // Long enough for a first refused connection; the promise holds for any time.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let listener = TcpListener::bind(address).await.unwrap();
    let mut cluster = Cluster::start_on(listener, None);
    cluster.line().await;
    assert!(!worker.is_finished());
    worker.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn permanent_refusal_ends_the_worker() {
    let cluster = Cluster::start().await;
    let failure = Failure::new(Code::VersionMismatch, "this side speaks protocol 9");
    *cluster.refuse.lock().unwrap() = Some(failure);
    let (_stop, worker) = cluster.worker(0);
    let error = worker.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::VersionMismatch);
    assert!(error.to_string().contains("protocol 9") && error.to_string().contains(&cluster.url), "{error}");

    // Another process is registered as this worker.
    *cluster.refuse.lock().unwrap() = Some(Failure::new(Code::DataDirInUse, "a copy of the folder"));
    let (_stop, worker) = cluster.worker(1);
    assert_eq!(worker.await.unwrap().unwrap_err().code(), Code::DataDirInUse);

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let token = Token::parse("0123456789abcdef0123456789abcdef").unwrap();
    let cluster = Cluster::start_on(listener, Some(token));
    let (_stop, worker) = cluster.worker(0);
    assert_eq!(worker.await.unwrap().unwrap_err().code(), Code::Unauthorised);
}

#[tokio::test]
async fn two_workers_do_not_share_a_folder() {
    let mut cluster = Cluster::start().await;
    let (_running, _line) = cluster.join(0).await;
    let error = run_worker(cluster.url.clone(), cluster.data_dir(0), std::future::pending()).await.unwrap_err();
    assert_eq!(error.code(), Code::DataDirInUse);
}
