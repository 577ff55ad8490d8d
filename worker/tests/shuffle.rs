//! The outputs of a whole worker's tasks: in spools, read in place or fetched, after crashes and restarts.

#![allow(clippy::disallowed_methods, reason = "tests read the files that they made")]

mod support;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use support::*;
use windrow_model::{AttemptId, Code, OutputRef, OutputReport, StageOutputs, TaskOutput, TaskReport, WorkerId};
use windrow_proto::v1::from_worker::Message as From;
use windrow_proto::v1::to_worker::Message as To;
use windrow_proto::v1::{self};

/// Runs a task of stage 0 that writes these bytes to each of three partitions. Returns what a table says of it.
async fn map(
    cluster: &Cluster,
    line: &mut Line,
    index: u32,
    bytes: &[u8],
    setup: Option<v1::JobSetup>,
) -> (WorkerId, AttemptId) {
    let input = cluster.folder.path().join(format!("input-{index}"));
    std::fs::write(&input, bytes).unwrap();
    let id = line.attempt(0, index);
    line.assign(task(id, vec![chunk(&input)], vec![TaskOutput::Edge { partitions: 3 }]), setup, vec![]);
    line.done(id).await;
    (line.worker(), id)
}

fn reader(line: &Line, partition: u32, table: &StageOutputs) -> (AttemptId, windrow_model::Task) {
    let id = line.attempt(1, partition);
    (id, task(id, vec![partition_of(table, 3)], vec![TaskOutput::Broadcast]))
}

/// What a task that reads by this table gives, which comes with it.
async fn read(line: &mut Line, partition: u32, table: &StageOutputs, setup: Option<v1::JobSetup>) -> String {
    let (id, task) = reader(line, partition, table);
    line.assign_reader(task, setup, vec![], table);
    given(line, id).await
}

async fn given(line: &mut Line, id: AttemptId) -> String {
    match &line.done(id).await[..] {
        [OutputReport::Broadcast(bytes)] => String::from_utf8(bytes.clone()).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn job_folder(cluster: &Cluster, incarnation: u64) -> PathBuf {
    let incarnation = cluster.data_dir(0).join("jobs").join(incarnation.to_string());
    incarnation.join(windrow_format::names::job_folder(job()))
}

/// Number of records in the log of reports: each has its length, a checksum, and its bytes.
fn records_in(log: &Path) -> usize {
    let bytes = std::fs::read(log).unwrap_or_default();
    let mut rest = &bytes[..];
    let mut records = 0;
    while let Some((length, behind)) = rest.split_first_chunk::<4>() {
        rest = behind.get(4 + u32::from_le_bytes(*length) as usize..).unwrap_or_default();
        records += 1;
    }
    records
}

/// Bytes of a file on the disk.
fn disk_bytes(path: PathBuf) -> u64 {
    std::fs::metadata(path).map_or(0, |meta| meta.blocks() * 512)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spooled_outputs_are_read_in_place() {
    let mut cluster = Cluster::start().await;
    let (_running, mut line) = cluster.join(0).await;
    let mut outputs = Vec::new();
    for n in 0..3 {
        outputs.push(map(&cluster, &mut line, n, format!("map {n};").as_bytes(), setup("spool_copy", None)).await);
    }
    let table = Line::table(0, &outputs);
    for partition in 0..3 {
        // The table comes once.
        let (id, task) = reader(&line, partition, &table);
        match partition {
            0 => line.assign_reader(task, None, vec![], &table),
            _ => line.assign(task, None, vec![]),
        }
        assert_eq!(given(&mut line, id).await, "map 0;map 1;map 2;");
    }
    let folder = job_folder(&cluster, 1);
    assert_eq!(names_in(&folder), ["reports", "spool-1"], "no folder and no file of an attempt");
    line.send(To::DropJob(v1::DropJob { job: Some(job().into()) }));
    let (jobs, trash) = (folder.parent().unwrap().to_path_buf(), cluster.data_dir(0).join("trash"));
    until("nothing is left of a dropped job", || names_in(&jobs).is_empty() && names_in(&trash).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spooled_outputs_outlive_their_executor() {
    let mut cluster = Cluster::start().await;
    let (_running, mut line) = cluster.join(0).await;
    let mut outputs = Vec::new();
    for n in 0..2 {
        outputs.push(map(&cluster, &mut line, n, b"bytes", setup("spool_places_crash_at_13", None)).await);
    }
    let table = Line::table(0, &outputs);
    let before = read(&mut line, 0, &table, None).await;
    assert_eq!(before, "in place spool-1\nin place spool-1");
    let fatal = line.attempt(0, 13);
    line.assign(idle(fatal), None, vec![]);
    assert_eq!(line.failed(fatal).await.code, Code::ExecutorCrashed);
    // The next executor hears of the same places, and has a spool of its own.
    let (id, task) = reader(&line, 1, &table);
    line.assign(task, None, vec![]);
    assert_eq!(given(&mut line, id).await, before);
    outputs.push(map(&cluster, &mut line, 2, b"bytes", None).await);
    let later = Line::table(1, &outputs);
    assert_eq!(read(&mut line, 2, &later, None).await, format!("{before}\nin place spool-2"));
    assert_eq!(names_in(&job_folder(&cluster, 1)), ["reports", "spool-1", "spool-2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outputs_outlive_their_worker() {
    let spooled = ["in place spool-1"; 2];
    let in_files = ["in place 0-0-0-1.edge-0", "in place 0-1-0-1.edge-0"];
    for (program, places) in [("spool_places", spooled), ("places", in_files)] {
        let mut cluster = Cluster::start().await;
        let mut worker = cluster.mortal_worker(0);
        let mut line = cluster.line().await;
        let mut outputs = Vec::new();
        for n in 0..3 {
            outputs.push(map(&cluster, &mut line, n, b"bytes", setup(program, None)).await);
        }
        let revoked = outputs.pop().unwrap().1;
        line.send(To::Revoke(v1::Revoke { attempt: Some(revoked.into()) }));
        // Three reports, and that the last one is void.
        let reports = job_folder(&cluster, 1).join("reports");
        until("the reports are on the disk", || records_in(&reports) == 4).await;
        for incarnation in 2..4 {
            worker.die().await;
            worker = cluster.mortal_worker(0);
            line = cluster.line().await;
            assert_eq!(line.register.incarnation, incarnation);
            let held = line.inventory.iter().map(|held| {
                let report = TaskReport::try_from(held.report.clone().unwrap()).unwrap();
                let [OutputReport::Edge(edge)] = &report.outputs[..] else { panic!("{report:?}") };
                (AttemptId::try_from(held.attempt.clone().unwrap()).unwrap(), edge.bytes, edge.records)
            });
            assert_eq!(held.collect::<Vec<_>>(), [(outputs[0].1, 75, 3), (outputs[1].1, 75, 3)]);
            let found = read(&mut line, 1, &Line::table(0, &outputs), setup(program, None)).await;
            assert_eq!(found, places.join("\n"));
        }
        worker.die().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn revoked_outputs_give_their_space_back() {
    let mut cluster = Cluster::start().await;
    let (_a, mut a) = cluster.join(0).await;
    let (_b, mut b) = cluster.join(1).await;
    let large = vec![b'x'; 100_000];
    let mut outputs = Vec::new();
    for n in 0..2 {
        let bytes = if n == 0 { &b"small"[..] } else { &large };
        outputs.push(map(&cluster, &mut a, n, bytes, setup("spool_copy", None)).await);
    }
    let spool = job_folder(&cluster, 1).join("spool-1");
    assert!(disk_bytes(spool.clone()) > 300_000);
    a.send(To::Revoke(v1::Revoke { attempt: Some(outputs[1].1.into()) }));
    until("the space of a revoked output is given back", || disk_bytes(spool.clone()) < 20_000).await;
    // Neither its own tasks nor other workers read it.
    let (worker, attempt) = outputs[1];
    let table = Line::table(0, &outputs);
    let from = a.far();
    for line in [&mut a, &mut b] {
        let (id, task) = reader(line, 0, &table);
        line.assign_reader(task, setup("spool_copy", None), vec![from.clone()], &table);
        assert_eq!(line.lost(id).await.0, OutputRef { worker, attempt, output: 0 });
    }
    let rest = Line::table(1, &outputs[..1]);
    assert_eq!(read(&mut a, 0, &rest, None).await, "small");
}

/// Executors know the places of an output, and find nothing there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_that_an_executor_loses_has_its_full_name() {
    let mut cluster = Cluster::start().await;
    let (_a, mut a) = cluster.join(0).await;
    let (_b, mut b) = cluster.join(1).await;
    let mut outputs = Vec::new();
    for n in 0..2 {
        outputs.push(map(&cluster, &mut a, n, &[b'x'; 20_000], setup("spool_copy", None)).await);
    }
    let table = Line::table(0, &outputs);
    let near = v1::Peer { home: a.register.home.clone(), ..a.far() };
    for line in [&mut a, &mut b] {
        let (id, task) = reader(line, 0, &table);
        line.assign_reader(task, setup("spool_copy", None), vec![near.clone()], &table);
        assert_eq!(given(line, id).await.len(), 40_000);
    }
    let (worker, attempt) = outputs[1];
    a.send(To::Revoke(v1::Revoke { attempt: Some(attempt.into()) }));
    let spool = job_folder(&cluster, 1).join("spool-1");
    until("the space of a revoked output is given back", || disk_bytes(spool.clone()) < 80_000).await;
    // The neighbour's executor finds that it is gone; then the neighbour asks again. The holder knows at once.
    let codes = [(&mut b, ["SEGMENT_CORRUPT", "STALE_ATTEMPT"]), (&mut a, ["FETCH_FAILED", "FETCH_FAILED"])];
    for (line, codes) in codes {
        for (partition, code) in (1..).zip(codes) {
            let (id, task) = reader(line, partition, &table);
            line.assign(task, None, vec![]);
            assert_eq!(line.lost(id).await, (OutputRef { worker, attempt, output: 0 }, code.to_string()));
        }
    }
}

/// Its report came when it was not wanted any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outputs_of_cancelled_attempts_give_their_space_back() {
    let mut cluster = Cluster::start().await;
    let (_running, mut line) = cluster.join(0).await;
    let input = cluster.folder.path().join("input");
    std::fs::write(&input, vec![b'x'; 100_000]).unwrap();
    let id = line.attempt(0, 0);
    let task = task(id, vec![chunk(&input)], vec![TaskOutput::Edge { partitions: 3 }]);
    line.assign(task, setup("spool_gated", None), vec![]);
    let folder = job_folder(&cluster, 1);
    until("the task begins", || folder.join("begun").exists()).await;
    line.send(To::Revoke(v1::Revoke { attempt: Some(id.into()) }));
    line.send(To::CheckStaging(v1::CheckStaging { request: 5, ..Default::default() }));
    assert!(matches!(line.hear().await, From::StagingChecked(_)), "the order has been heard");
    std::fs::write(folder.join("open"), "").unwrap();
    let spool = folder.join("spool-1");
    until("the output is written and erased", || spool.metadata().is_ok_and(|meta| meta.len() > 300_000)).await;
    until("the output is written and erased", || disk_bytes(spool.clone()) < 20_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn assignment_without_its_table_is_refused() {
    let mut cluster = Cluster::start().await;
    let (_running, mut line) = cluster.join(0).await;
    let outputs = [map(&cluster, &mut line, 0, b"bytes", setup("spool_copy", None)).await];
    let table = Line::table(0, &outputs);
    let (id, without) = reader(&line, 0, &table);
    line.assign(without, None, vec![]);
    let failure = line.failed(id).await;
    assert!(failure.code == Code::BadRequest && failure.message.contains("table"), "{failure}");
    assert_eq!(read(&mut line, 1, &table, None).await, "bytes");
    // Another version of it is another table.
    let (id, later) = reader(&line, 2, &Line::table(1, &outputs));
    line.assign(later, None, vec![]);
    assert_eq!(line.failed(id).await.code, Code::BadRequest);
    // A session begins without tables.
    drop(line);
    let mut line = cluster.line().await;
    let (id, again) = reader(&line, 2, &table);
    line.assign(again, None, vec![]);
    assert_eq!(line.failed(id).await.code, Code::BadRequest);
}

/// The setup of the restarted job ends the earlier run, with its tables.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn table_with_the_setup_of_a_restarted_job_is_kept() {
    let mut cluster = Cluster::start().await;
    let (_a, mut a) = cluster.join(0).await;
    let (_b, mut b) = cluster.join(1).await;
    let outputs = [map(&cluster, &mut a, 0, b"bytes", setup("spool_copy", None)).await];
    let old = b.attempt(0, 5);
    b.assign(idle(old), setup("earlier", None), vec![]);
    b.done(old).await;
    let table = Line::table(0, &outputs);
    let (id, task) = reader(&b, 0, &table);
    b.assign_reader(task, setup("spool_copy", None), vec![a.far()], &table);
    assert_eq!(given(&mut b, id).await, "bytes");
}
