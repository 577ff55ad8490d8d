//! A coordinator of the test, its workers, and tasks for executors that copy their input (`fake_executor.py`).

#![allow(dead_code)] // Each test file uses its part.

use std::future::Future;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};
use tonic::{Request, Response, Status, Streaming};
use windrow_model::{
    AttemptId, Chunk, ClusterId, Digest, EdgeInput, EdgePort, Epoch, Failure, FileIdentity, FileRange, Incarnation,
    JobId, OutputRef, OutputReport, Port, StageId, StageOutputs, TableVersion, Task, TaskId, TaskInput, TaskOutput,
    WorkerId,
};
use windrow_net::{Access, Role, Server, Token, serve::serve, to_status};
use windrow_proto::v1::from_worker::Message as From;
use windrow_proto::v1::session_server::{Session, SessionServer};
use windrow_proto::v1::to_worker::Message as To;
use windrow_proto::v1::{self};
use windrow_worker::{Config, Error};

pub const LEASE_MS: u64 = 3000;

/// One registration, as the coordinator sees it.
pub struct Line {
    pub register: v1::Register,
    /// The inventory that it sent.
    pub inventory: Vec<v1::HeldAttempt>,
    pub jobs: Vec<v1::JobId>,
    pub hear: Streaming<v1::FromWorker>,
    to_worker: ToWorker,
}

type ToWorker = mpsc::UnboundedSender<Result<v1::ToWorker, Status>>;

impl Line {
    pub fn send(&self, message: To) {
        self.to_worker.send(Ok(v1::ToWorker { message: Some(message) })).unwrap();
    }

    /// The next message except beats and the empty list of chunks.
    pub async fn hear(&mut self) -> From {
        let next = async {
            loop {
                let message = self.hear.message().await.unwrap().expect("the worker keeps its session");
                match message.message.unwrap() {
                    From::Beat(_) => {}
                    From::ChunksHeld(held) => assert!(held.digests.is_empty() && held.last),
                    other => return other,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(60), next).await.expect("the worker answers")
    }

    pub fn worker(&self) -> WorkerId {
        self.register.worker.clone().unwrap().try_into().unwrap()
    }

    pub fn attempt(&self, stage: u32, index: u32) -> AttemptId {
        AttemptId {
            task: TaskId { job: job(), stage: StageId(stage), index },
            number: 0,
            epoch: Epoch(1),
            incarnation: Incarnation(self.register.incarnation),
        }
    }

    pub fn assign(&self, task: Task, setup: Option<v1::JobSetup>, peers: Vec<v1::Peer>) {
        self.send(To::Assign(v1::Assign { task: Some(task.into()), setup, peers, ..Default::default() }));
    }

    /// Assigns a task with the table of the outputs that it reads.
    pub fn assign_reader(&self, task: Task, setup: Option<v1::JobSetup>, peers: Vec<v1::Peer>, table: &StageOutputs) {
        let tables = vec![windrow_proto::convert::table_to_bytes(table)];
        self.send(To::Assign(v1::Assign { task: Some(task.into()), setup, peers, tables, chunks: vec![] }));
    }

    /// The failure of this attempt.
    pub async fn failed(&mut self, id: AttemptId) -> Failure {
        match self.hear().await {
            From::Failed(failed) => {
                assert_eq!(failed.attempt, Some(id.into()));
                Failure::try_from(failed.failure.unwrap()).unwrap()
            }
            other => panic!("expected {id} to fail, got {other:?}"),
        }
    }

    /// The output that this reader has lost, and the code of the failure.
    pub async fn lost(&mut self, reader: AttemptId) -> (OutputRef, String) {
        match self.hear().await {
            From::SegmentLost(lost) => {
                assert_eq!(lost.reader, Some(reader.into()));
                (lost.lost.unwrap().try_into().unwrap(), lost.failure.unwrap().code)
            }
            other => panic!("expected {reader} to lose an output, got {other:?}"),
        }
    }

    /// This worker, as others fetch from it.
    pub fn far(&self) -> v1::Peer {
        v1::Peer { worker: self.register.worker.clone(), address: self.register.address.clone(), home: None }
    }

    /// The table of stage 0 in its n-th version, in which these attempts of workers count for tasks 0, 1, 2 …
    pub fn table(n: u64, outputs: &[(WorkerId, AttemptId)]) -> StageOutputs {
        let version = TableVersion { epoch: Epoch(1), reopened: n };
        StageOutputs::new(job(), StageId(0), version, outputs.iter().copied().map(Some), vec![n])
    }

    pub async fn done(&mut self, id: AttemptId) -> Vec<OutputReport> {
        match self.hear().await {
            From::Done(done) => {
                assert_eq!(AttemptId::try_from(done.attempt.unwrap()).unwrap(), id);
                windrow_model::TaskReport::try_from(done.report.unwrap()).unwrap().outputs
            }
            other => panic!("expected {id} done, got {other:?}"),
        }
    }
}

pub fn job() -> JobId {
    JobId::from_bytes([1; 16])
}

pub fn binary() -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake_executor.py")).unwrap()
}

pub fn setup(program: &str, staging: Option<&Path>) -> Option<v1::JobSetup> {
    let folder = |path: &Path| v1::StagingFolder {
        sink: 0,
        path: windrow_proto::convert::path_to_bytes(path),
        suffix: ".txt".into(),
        nonce: "n0".into(),
    };
    Some(v1::JobSetup {
        job: Some(job().into()),
        program: program.into(),
        binary: Some(Digest::of(&binary()).into()),
        fingerprint: Some(Digest::of(b"plan").into()),
        staging: staging.map(folder).into_iter().collect(),
        ..Default::default()
    })
}

pub fn chunk(path: &Path) -> TaskInput {
    let meta = std::fs::metadata(path).unwrap();
    let identity = FileIdentity {
        device: meta.dev(),
        inode: meta.ino(),
        length: meta.len(),
        modified_ns: meta.mtime() * 1_000_000_000 + meta.mtime_nsec(),
        changed_ns: meta.ctime() * 1_000_000_000 + meta.ctime_nsec(),
    };
    let range = FileRange {
        path: path.to_path_buf(),
        offset: 0,
        length: meta.len(),
        identity,
        content: None,
        local: None,
        as_is: false,
    };
    TaskInput::Chunk(Chunk { ranges: vec![range], ..Chunk::default() })
}

pub fn task(id: AttemptId, inputs: Vec<TaskInput>, outputs: Vec<TaskOutput>) -> Task {
    Task { attempt: id, inputs, outputs, job_input_bytes: 0, skip_keys: Vec::new() }
}

/// The input of a task that reads the first output of a stage, of this number of partitions.
pub fn partition_of(table: &StageOutputs, partitions: u32) -> TaskInput {
    let port = Port { stage: table.stage, output: 0 };
    let port = EdgePort { port, partitions, version: table.version, digest: table.digests[0] };
    TaskInput::Edge(EdgeInput { ports: vec![port], bytes: 1 })
}

pub fn idle(id: AttemptId) -> Task {
    task(id, vec![], vec![TaskOutput::Broadcast])
}

/// Passes bytes between a worker and its coordinator until the flag makes it swallow them.
pub async fn proxy(target: String) -> (String, tokio::sync::watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (swallow, swallows) = tokio::sync::watch::channel(false);
    let target = target.trim_start_matches("http://").to_string();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = tokio::net::TcpStream::connect(&target).await.unwrap();
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            tokio::spawn(pass(near_in, far_out, swallows.clone()));
            tokio::spawn(pass(far_in, near_out, swallows.clone()));
        }
    });
    (url, swallow)
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut swallows: tokio::sync::watch::Receiver<bool>,
) {
    let _ = tokio::select! {
        copied = tokio::io::copy(&mut from, &mut to) => copied.map(|_| ()),
        _ = swallows.wait_for(|s| *s) => Ok(()),
    };
    if *swallows.borrow() {
        // A black hole: the connection stays open and carries nothing.
        std::future::pending::<()>().await;
    }
}

/// The coordinator's service, played by the test.
struct Coordinator {
    lines: mpsc::UnboundedSender<Line>,
    refuse: Arc<Mutex<Option<Failure>>>,
}

#[tonic::async_trait]
impl Session for Coordinator {
    type ConnectStream = UnboundedReceiverStream<Result<v1::ToWorker, Status>>;
    type GetArtifactStream = ReceiverStream<Result<v1::Piece, Status>>;

    async fn connect(
        &self,
        request: Request<Streaming<v1::FromWorker>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        if let Some(failure) = &*self.refuse.lock().unwrap() {
            return Err(to_status(failure));
        }
        let mut hear = request.into_inner();
        let Some(From::Register(register)) = hear.message().await?.and_then(|m| m.message) else {
            panic!("the first message is the registration");
        };
        let (mut inventory, mut jobs) = (Vec::new(), Vec::new());
        loop {
            let Some(From::Inventory(piece)) = hear.message().await?.and_then(|m| m.message) else {
                panic!("then comes the inventory");
            };
            inventory.extend(piece.attempts);
            jobs.extend(piece.jobs);
            if piece.last {
                break;
            }
        }
        let (to_worker, stream) = mpsc::unbounded_channel();
        let line = Line { register, inventory, jobs, hear, to_worker };
        line.send(To::Registered(v1::Registered {
            protocol: Some(windrow_proto::own_range()),
            epoch: 1,
            lease_ms: LEASE_MS,
            cluster: Some(ClusterId::from_bytes([7; 16]).into()),
            nonce: 1,
            revision: 0,
        }));
        let _ = self.lines.send(line);
        Ok(Response::new(UnboundedReceiverStream::new(stream)))
    }

    async fn get_artifact(
        &self,
        request: Request<v1::GetArtifactRequest>,
    ) -> Result<Response<Self::GetArtifactStream>, Status> {
        let bytes = binary();
        assert_eq!(Digest::try_from(request.into_inner().digest.unwrap()).unwrap(), Digest::of(&bytes));
        let (pieces, stream) = mpsc::channel(1);
        tokio::spawn(async move {
            for piece in bytes.chunks(1000) {
                let _ = pieces.send(Ok(v1::Piece { data: piece.to_vec().into() })).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// A running worker: dropping the sender stops it.
pub type Running = (oneshot::Sender<()>, tokio::task::JoinHandle<Result<(), Error>>);

/// A worker in a runtime of its own.
pub struct Mortal(tokio::runtime::Runtime);

impl Mortal {
    /// Ends the worker as if its process were killed: it reports nothing and deletes nothing.
    pub async fn die(self) {
        tokio::task::spawn_blocking(move || self.0.shutdown_timeout(Duration::from_secs(20))).await.unwrap();
    }
}

/// A coordinator on a port, and its workers' folders.
pub struct Cluster {
    pub url: String,
    lines: mpsc::UnboundedReceiver<Line>,
    pub refuse: Arc<Mutex<Option<Failure>>>,
    pub folder: tempfile::TempDir,
}

impl Cluster {
    pub async fn start() -> Cluster {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Cluster::start_on(listener, None)
    }

    pub fn start_on(listener: TcpListener, token: Option<Token>) -> Cluster {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (lines_in, lines) = mpsc::unbounded_channel();
        let refuse = Arc::new(Mutex::new(None));
        let service = Coordinator { lines: lines_in, refuse: refuse.clone() };
        let routes = tonic::service::Routes::new(SessionServer::new(service));
        tokio::spawn(serve(listener, routes, Server::new(Role::Coordinator, token, None), std::future::pending()));
        Cluster { url, lines, refuse, folder: tempfile::tempdir().unwrap() }
    }

    pub fn data_dir(&self, n: u32) -> PathBuf {
        self.folder.path().join(format!("worker-{n}"))
    }

    /// A worker that runs until the sender is used or dropped.
    pub fn worker(&self, n: u32) -> Running {
        self.worker_that_stays(n, Config::STOP_TIMEOUT)
    }

    /// A worker that has registered, and its registration.
    pub async fn join(&mut self, n: u32) -> (Running, Line) {
        let running = self.worker(n);
        (running, self.line().await)
    }

    /// Worker `n` with a stop timeout.
    pub fn worker_that_stays(&self, n: u32, stop_timeout: Duration) -> Running {
        self.worker_with(config(self.url.clone(), self.data_dir(n), stop_timeout))
    }

    /// A worker with these settings.
    pub fn worker_with(&self, config: Config) -> Running {
        let (stop, stopped) = oneshot::channel::<()>();
        let run = run_with(config, async {
            let _ = stopped.await;
        });
        (stop, tokio::spawn(run))
    }

    /// A worker that ends without a word when the test says so.
    pub fn mortal_worker(&self, n: u32) -> Mortal {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(run_worker(self.url.clone(), self.data_dir(n), std::future::pending()));
        Mortal(runtime)
    }

    pub async fn line(&mut self) -> Line {
        tokio::time::timeout(Duration::from_secs(60), self.lines.recv()).await.expect("a registration").unwrap()
    }
}

pub async fn run_worker(url: String, data_dir: PathBuf, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    run_worker_for(url, data_dir, Config::STOP_TIMEOUT, shutdown).await
}

pub async fn run_worker_for(
    url: String,
    data_dir: PathBuf,
    stop_timeout: Duration,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    run_with(config(url, data_dir, stop_timeout), shutdown).await
}

/// The settings of a worker in a test.
pub fn config(url: String, data_dir: PathBuf, stop_timeout: Duration) -> Config {
    Config {
        coordinator_url: url,
        data_dir,
        slots: 2,
        memory_bytes: 64 << 20,
        memory_limit_bytes: None,
        processes_max: None,
        scratch_quota_bytes: None,
        stop_timeout,
        storage_timeout: Duration::from_secs(60),
        outputs: windrow_store::Outputs::default(),
        fetch_timeout: Config::FETCH_TIMEOUT,
        scrub_period: Config::SCRUB_PERIOD,
        scrub_bytes_per_s: Config::SCRUB_BYTES_PER_S,
        trash_kept: Config::TRASH_KEPT,
        fetch_from_neighbours: false,
        advertised: None,
        access: Access::default(),
        tls: None,
        insecure: false,
    }
}

pub async fn run_with(config: Config, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    windrow_worker::run(config, listener, shutdown, |_| {}).await
}

/// Waits until this holds: no message reports it.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    let waits = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waits).await.unwrap_or_else(|_| panic!("in vain: {what}"));
}

/// Names in a folder, in order; none if it is not there.
pub fn names_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Files of jobs in a worker's data folder.
pub fn job_files(data_dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![data_dir.join("jobs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.push(path),
            }
        }
    }
    found
}
