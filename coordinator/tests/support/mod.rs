//! A coordinator in this process, and a client of it. `fake_worker` answers orders without running tasks.

#![allow(clippy::disallowed_methods, reason = "tests read the files that they made")]
#![allow(dead_code)] // Each test file uses its part.

mod fake_worker;
pub mod log_server;
pub mod put;

#[allow(unused_imports)] // As above.
pub use fake_worker::*;

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Status;
use windrow_coordinator::{Config, Error, JobRecord, JobStore, Record};
use windrow_model::*;
use windrow_net::{Access, Connection, Token, clients, connect};
use windrow_proto::v1;

pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// A deadline that only a hang misses.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waiting for {what}"))
}

fn config(data_dir: &Path) -> Config {
    Config { token: Token::parse(TOKEN), ..Config::new(data_dir) }
}

pub struct Coordinator {
    pub url: String,
    stop: oneshot::Sender<()>,
    running: JoinHandle<Result<(), Error>>,
}

impl Coordinator {
    pub async fn start(data_dir: &Path) -> Coordinator {
        Self::start_with(config(data_dir)).await
    }
    pub async fn start_with(config: Config) -> Coordinator {
        Self::serve(|listener, stopped| windrow_coordinator::run(config, listener, stopped)).await
    }
    /// Starts a coordinator on the test's own store.
    pub async fn start_on(config: Config, store: Box<dyn JobStore>) -> Coordinator {
        Self::serve(|listener, stopped| windrow_coordinator::run_on(config, store, listener, stopped)).await
    }
    async fn serve<F>(run: impl FnOnce(TcpListener, Pin<Box<dyn Future<Output = ()> + Send>>) -> F) -> Coordinator
    where
        F: Future<Output = Result<(), Error>> + Send + 'static,
    {
        let (listener, url) = listen().await;
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = Box::pin(async {
            let _ = stopped.await;
        });
        Coordinator { url, stop, running: tokio::spawn(run(listener, stopped)) }
    }
    pub async fn stop(self) {
        self.stop.send(()).unwrap();
        soon("the coordinator to stop", self.running).await.unwrap().unwrap();
    }
    pub async fn connect(&self) -> Connection {
        connect::channel(&self.url, &Access { token: Token::parse(TOKEN), ca: None }).await.unwrap()
    }
    /// A URL of a proxy to this coordinator, and the proxy's task: aborting it breaks the connections.
    pub async fn link(&self) -> (String, JoinHandle<()>) {
        let (listener, url) = listen().await;
        let to = self.url.trim_start_matches("http://").to_string();
        let link = async move {
            let (mut here, _) = listener.accept().await.unwrap();
            let mut there = tokio::net::TcpStream::connect(to).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
        };
        (url, tokio::spawn(link))
    }
    pub async fn client(&self) -> Client {
        Client(clients::jobs(self.connect().await))
    }
    /// A client that has uploaded the binary of the jobs of [`spec`].
    pub async fn client_with_binary(&self) -> Client {
        let mut client = self.client().await;
        client.upload(b"binary").await;
        client
    }
}

/// A free port, and its URL.
async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (listener, url)
}

/// A new place with a coordinator, and a client that has uploaded the binary.
pub async fn start() -> (Place, Coordinator, Client) {
    let place = Place::new();
    let coordinator = Coordinator::start_with(place.config()).await;
    let client = coordinator.client_with_binary().await;
    (place, coordinator, client)
}

/// A new place with a coordinator, a client that has uploaded the binary, and worker 1.
pub async fn start_with_worker() -> (Place, Coordinator, Client, FakeWorker) {
    start_configured(|_| {}).await
}

/// Like [`start_with_worker`], with changed settings of the coordinator.
pub async fn start_configured(change: impl FnOnce(&mut Config)) -> (Place, Coordinator, Client, FakeWorker) {
    let place = Place::new();
    let mut config = place.config();
    change(&mut config);
    let coordinator = Coordinator::start_with(config).await;
    let client = coordinator.client_with_binary().await;
    let worker = FakeWorker::join(&coordinator, register(1, 1)).await.unwrap();
    (place, coordinator, client, worker)
}

pub fn failure(status: Status) -> Failure {
    windrow_net::from_status(&status)
}

pub struct Client(pub v1::jobs_client::JobsClient<Connection>);

impl Client {
    pub async fn upload(&mut self, bytes: &'static [u8]) -> Digest {
        let digest = Digest::of(bytes);
        let first = v1::ArtifactPiece { digest: Some(digest.into()), data: bytes[..1].to_vec().into() };
        let rest = v1::ArtifactPiece { digest: None, data: bytes[1..].to_vec().into() };
        self.0.put_artifact(tokio_stream::iter([first, rest])).await.unwrap();
        digest
    }
    pub async fn submit(&mut self, spec: &JobSpec) -> Result<JobId, Failure> {
        let request = v1::SubmitRequest { spec: Some(spec.clone().into()) };
        let reply = soon("submit", self.0.submit(request)).await.map_err(failure)?.into_inner();
        Ok(reply.id.unwrap().try_into().unwrap())
    }
    /// The statuses until the job's end.
    pub async fn watch(&mut self, job: JobId) -> Vec<JobStatus> {
        let mut stream = self.0.watch(v1::WatchRequest { id: Some(job.into()) }).await.unwrap().into_inner();
        let mut seen = Vec::new();
        while let Some(status) = soon("a status", stream.message()).await.unwrap() {
            seen.push(status.try_into().unwrap());
        }
        seen
    }
    /// Submits a job, lets this worker do all of it, and returns its last status.
    pub async fn run(&mut self, worker: &mut FakeWorker, spec: &JobSpec) -> JobStatus {
        self.submit(spec).await.unwrap();
        worker.work_until_dropped(spec.id).await;
        self.end_of(spec.id).await
    }
    pub async fn end_of(&mut self, job: JobId) -> JobStatus {
        self.watch(job).await.pop().unwrap()
    }
    pub async fn get(&mut self, job: JobId) -> Result<JobStatus, Failure> {
        let status = self.0.get(v1::GetRequest { id: Some(job.into()) }).await.map_err(failure)?.into_inner();
        Ok(status.try_into().unwrap())
    }
    pub async fn list(&mut self) -> Vec<JobStatus> {
        let jobs = self.0.list(v1::ListRequest::default()).await.unwrap().into_inner().jobs;
        jobs.into_iter().map(|j| j.try_into().unwrap()).collect()
    }
    pub async fn workers(&mut self) -> Vec<WorkerStatus> {
        let workers = self.0.workers(v1::WorkersRequest {}).await.unwrap().into_inner().workers;
        workers.into_iter().map(|w| w.try_into().unwrap()).collect()
    }
    /// Asks for the list of workers until it is as wanted: for states that no event announces.
    pub async fn until_workers(&mut self, wanted: impl Fn(&[WorkerStatus]) -> bool) {
        soon("workers", async {
            while !wanted(&self.workers().await) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
    /// Asks for the job's status until it is as wanted: for states that no event announces.
    pub async fn until_job(&mut self, what: &str, job: JobId, wanted: impl Fn(&JobStatus) -> bool) {
        soon(what, async {
            while !wanted(&self.get(job).await.unwrap()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
    pub async fn cancel(&mut self, job: JobId) -> Result<(), Failure> {
        self.0.cancel(v1::CancelRequest { id: Some(job.into()) }).await.map(drop).map_err(failure)
    }
    pub async fn collected(&mut self, job: JobId) -> Result<Vec<v1::CollectedBlob>, Failure> {
        let request = v1::CollectedRequest { id: Some(job.into()) };
        let mut stream = self.0.collected(request).await.map_err(failure)?.into_inner();
        let mut blobs = Vec::new();
        while let Some(blob) = stream.message().await.map_err(failure)? {
            blobs.push(blob);
        }
        Ok(blobs)
    }
}

/// Reads lines, shuffles, writes one output and collects a number of each reduce task.
pub fn spec(id: u8, input: &Path, output: &Path) -> JobSpec {
    let port = |stage, output| Port { stage: StageId(stage), output };
    let text = |p: &Path| p.to_str().unwrap().to_string();
    let source = SourceSpec {
        inputs: vec![text(input)],
        framing: Framing::Delimiter(b'\n'),
        header: false,
        sample: false,
        as_is: false,
    };
    let edge = Output::Edge {
        partitions: Partitions::Count(2),
        partitioner: Partitioner::Hash,
        order: Order::Key,
        combined: false,
    };
    let stage = |label: &str, inputs, outputs| Stage {
        label: label.into(),
        place: "test.rs:1".into(),
        inputs,
        outputs,
        deterministic: true,
    };
    JobSpec {
        id: JobId::from_bytes([id; 16]),
        name: format!("job {id}"),
        program: "Test".into(),
        params: "{}".into(),
        plan: Plan {
            stages: vec![
                stage("map", vec![Input::Source(source)], vec![edge]),
                stage(
                    "reduce",
                    vec![Input::Edge { from: vec![port(0, 0)] }],
                    vec![Output::Sink { sink: 0 }, Output::Broadcast],
                ),
            ],
            sinks: vec![SinkSpec {
                path: text(output),
                format: "text".into(),
                suffix: "".into(),
                framing: windrow_model::Framing::Whole,
                overwrite: false,
            }],
            collects: vec![Collect { name: "n".into(), from: port(1, 1) }],
            sides: vec![],
            fingerprint: Digest::of(b"plan"),
        },
        binary: Digest::of(b"binary"),
        options: JobOptions::default(),
    }
}

/// The records of a coordinator that ended while it planned a job: tries without an end.
pub fn left_in_planning(spec: &JobSpec, tries: u32) -> [Record; 3] {
    let status = JobStatus {
        name: spec.name.clone(),
        outputs: spec.plan.sinks.iter().map(|s| s.path.clone()).collect(),
        submitted_unix_ms: 1,
        ..JobStatus::new(spec.id, JobState::Planning)
    };
    let program = spec.program.clone();
    let record = JobRecord { status, program, binary: spec.binary, spec: None, collects: None };
    [Record::Spec(Box::new(spec.clone())), Record::Tries(spec.id, tries), record.into()]
}

/// A folder with an input file in it, and a data folder.
pub struct Place {
    pub dir: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("in.txt"), "one\ntwo\n").unwrap();
        Place { dir }
    }
    pub fn input(&self) -> PathBuf {
        self.dir.path().join("in.txt")
    }
    pub fn output(&self) -> PathBuf {
        self.dir.path().join("out")
    }
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }
    /// The settings of a coordinator on this place.
    pub fn config(&self) -> Config {
        config(&self.data())
    }
    pub fn spec(&self, id: u8) -> JobSpec {
        spec(id, &self.input(), &self.output())
    }
    /// The names beside the input, which show hidden folders that were left behind.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}
