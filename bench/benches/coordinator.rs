//! A coordinator with many workers over gRPC: one process is the coordinator, another simulates all workers, which
//! finish tasks instantly. Measures tasks per second, the coordinator's cost per task, and its cost of idle workers.
//!
//! `cargo bench -p windrow-bench --bench coordinator`

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::{cpu, map_reduce, report};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use windrow_coordinator::Config;
use windrow_model::*;
use windrow_net::{Access, Connection, channel, clients};
use windrow_proto::v1::{self, from_worker::Message as Say, to_worker::Message as ToWorker};

/// Numbers of workers, and slots of each.
const CLUSTERS: [(u16, u32); 3] = [(10, 8), (100, 8), (1_000, 8)];
const MAPS: u64 = 20_000;
const REDUCES: u32 = 200;
/// Segments of each map.
const SEGMENTS: u32 = 20;
/// Duration of the measurement of idle workers.
const IDLE: Duration = Duration::from_secs(5);

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("serve") => serve(Path::new(&std::env::args().nth(2).unwrap())),
        _ => measure(),
    }
}

fn serve(folder: &Path) {
    // As the command does.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("http://{}", listener.local_addr().unwrap());
        windrow_coordinator::run(Config::new(folder), listener, std::future::pending()).await.unwrap();
    });
}

fn measure() {
    let folder = tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    std::fs::write(folder.path().join("in"), "one line\n".repeat(MAPS as usize)).unwrap();
    println!(
        "{:>8} {:>10} {:>16} {:>16} {:>18}",
        "workers", "tasks/s", "coordinator µs", "all others µs", "idle, cores"
    );
    println!("{:>8} {:>10} {:>16} {:>16} {:>18}", "", "", "a task", "a task", "");
    for (workers, slots) in CLUSTERS {
        let own = std::env::current_exe().unwrap();
        let mut command = Command::new(own);
        command.arg("serve").arg(folder.path().join(format!("coordinator-{workers}")));
        let mut server = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut url).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(one(url.trim(), server.id(), folder.path(), workers, slots));
        server.kill().unwrap();
        server.wait().unwrap();
    }
}

async fn one(url: &str, server: u32, folder: &Path, workers: u16, slots: u32) {
    let connect = || async { channel(url, &Access::default()).await.unwrap() };
    for n in 0..workers {
        let (connection, (ready, registered)) = (connect().await, tokio::sync::oneshot::channel());
        tokio::spawn(work(connection, n, slots, ready));
        registered.await.unwrap();
    }
    let (wall, before) = (Instant::now(), cpu(server));
    tokio::time::sleep(IDLE).await;
    let idle = (cpu(server) - before).as_secs_f64() / wall.elapsed().as_secs_f64();

    let mut client = clients::jobs(connect().await);
    let binary = Digest::of(b"binary");
    let piece = v1::ArtifactPiece { digest: Some(binary.into()), data: b"binary".to_vec().into() };
    client.put_artifact(tokio_stream::iter([piece])).await.unwrap();
    let spec = spec(&folder.join("in"), binary);
    let (wall, here, there) = (Instant::now(), cpu(std::process::id()), cpu(server));
    client.submit(v1::SubmitRequest { spec: Some(spec.clone().into()) }).await.unwrap();
    let mut statuses = client.watch(v1::WatchRequest { id: Some(spec.id.into()) }).await.unwrap().into_inner();
    let mut last: Option<JobStatus> = None;
    while let Some(status) = statuses.message().await.unwrap() {
        last = Some(status.try_into().unwrap());
    }
    let last = last.unwrap();
    assert_eq!((last.state, last.tasks.done), (JobState::Done, MAPS + u64::from(REDUCES)), "{:?}", last.error);
    let tasks = last.tasks.total as f64;
    let micros = |from: Duration, to: Duration| (to - from).as_secs_f64() * 1e6 / tasks;
    println!(
        "{workers:>8} {:>10.0} {:>16.0} {:>16.0} {idle:>18.3}",
        tasks / wall.elapsed().as_secs_f64(),
        micros(there, cpu(server)),
        micros(here, cpu(std::process::id())),
    );
}

/// Simulates a worker until the coordinator has gone.
async fn work(connection: Connection, n: u16, slots: u32, ready: tokio::sync::oneshot::Sender<()>) {
    let mut id = [0; 16];
    id[..2].copy_from_slice(&n.to_be_bytes());
    let node = NodeInfo {
        worker: WorkerId::from_bytes(id),
        incarnation: Incarnation(1),
        address: format!("http://10.0.{}.{}:7700", n >> 8, n & 255),
        host: format!("node-{n}.example.com"),
        slots,
        memory_bytes: 1 << 30,
        version: "0.1.0".into(),
        home: None,
    };
    let (say, said) = mpsc::unbounded_channel();
    let tell = |message| drop(say.send(v1::FromWorker { message: Some(message) }));
    tell(Say::Register(v1::Register { folder: Some(v1::Folder::default()), ..node.into() }));
    tell(Say::Inventory(v1::Inventory { last: true, ..Default::default() }));
    let health = HealthClient::new(connection.clone());
    let mut hear = clients::session(connection).connect(UnboundedReceiverStream::new(said)).await.unwrap().into_inner();
    let Some(ToWorker::Registered(registered)) = hear.message().await.unwrap().and_then(|m| m.message) else {
        panic!("the first message is not `Registered`");
    };
    let _ = ready.send(());
    let mut beats = tokio::time::interval(Duration::from_millis(registered.lease_ms / 3));
    loop {
        let heard = tokio::select! {
            heard = hear.message() => heard,
            _ = beats.tick() => {
                tell(Say::Beat(v1::Beat::default()));
                // As a worker does, which trusts its lease only while it is answered.
                let mut health = health.clone();
                tokio::spawn(async move { health.check(HealthCheckRequest::default()).await });
                continue;
            }
        };
        let Ok(Some(message)) = heard else { return };
        match message.message.unwrap() {
            ToWorker::Assign(assign) => {
                let task: Task = assign.task.unwrap().try_into().unwrap();
                let report = report(&task, SEGMENTS);
                tell(Say::Done(v1::AttemptDone { attempt: Some(task.attempt.into()), report: Some(report.into()) }));
            }
            ToWorker::CheckStaging(check) => {
                tell(Say::StagingChecked(v1::StagingChecked { request: check.request, failure: None }));
            }
            _ => {}
        }
    }
}

/// Maps and reduces; nothing is written.
fn spec(input: &Path, binary: Digest) -> JobSpec {
    let collects = vec![Collect { name: "n".into(), from: Port { stage: StageId(1), output: 0 } }];
    JobSpec {
        id: JobId::from_bytes([1; 16]),
        name: "bench".into(),
        program: "Bench".into(),
        params: "{}".into(),
        plan: map_reduce(input.to_str().unwrap(), REDUCES, Output::Broadcast, vec![], collects),
        binary,
        options: JobOptions { chunk_bytes: Some(9), ..JobOptions::default() },
    }
}
