//! A whole worker: `windrow_worker::run` against a coordinator of the test, with executors that copy their input
//! (`fake_executor.py`).

#![allow(clippy::disallowed_methods, reason = "tests read the files that they made")]

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
    AttemptId, Chunk, ClusterId, Code, Digest, Epoch, Failure, FileIdentity, FileRange, Incarnation, JobId,
    OutputReport, Segment, SegmentRef, StageId, Task, TaskId, TaskInput, TaskOutput, WorkerId,
};
use windrow_net::{Access, Role, Server, Token, serve::serve, to_status};
use windrow_proto::v1::from_worker::Message as From;
use windrow_proto::v1::session_server::{Session, SessionServer};
use windrow_proto::v1::to_worker::Message as To;
use windrow_proto::v1::{self};
use windrow_worker::{Config, Error};

const LEASE_MS: u64 = 3000;

/// One registration, as the coordinator sees it.
struct Line {
    register: v1::Register,
    /// The inventory that it sent.
    inventory: Vec<v1::HeldAttempt>,
    jobs: Vec<v1::JobId>,
    hear: Streaming<v1::FromWorker>,
    to_worker: ToWorker,
}

type ToWorker = mpsc::UnboundedSender<Result<v1::ToWorker, Status>>;

impl Line {
    fn send(&self, message: To) {
        self.to_worker.send(Ok(v1::ToWorker { message: Some(message) })).unwrap();
    }

    /// The next message except beats and the empty list of chunks.
    async fn hear(&mut self) -> From {
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

    fn worker(&self) -> WorkerId {
        self.register.worker.clone().unwrap().try_into().unwrap()
    }

    fn attempt(&self, stage: u32, index: u32) -> AttemptId {
        AttemptId {
            task: TaskId { job: job(), stage: StageId(stage), index },
            number: 0,
            epoch: Epoch(1),
            incarnation: Incarnation(self.register.incarnation),
        }
    }

    fn assign(&self, task: Task, setup: Option<v1::JobSetup>, peers: Vec<v1::Peer>) {
        self.send(To::Assign(v1::Assign { task: Some(task.into()), setup, peers, chunks: vec![] }));
    }

    async fn done(&mut self, id: AttemptId) -> Vec<OutputReport> {
        match self.hear().await {
            From::Done(done) => {
                assert_eq!(AttemptId::try_from(done.attempt.unwrap()).unwrap(), id);
                windrow_model::TaskReport::try_from(done.report.unwrap()).unwrap().outputs
            }
            other => panic!("expected {id} done, got {other:?}"),
        }
    }
}

fn job() -> JobId {
    JobId::from_bytes([1; 16])
}

fn binary() -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake_executor.py")).unwrap()
}

fn setup(program: &str, staging: Option<&Path>) -> Option<v1::JobSetup> {
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

fn chunk(path: &Path) -> TaskInput {
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

fn task(id: AttemptId, inputs: Vec<TaskInput>, outputs: Vec<TaskOutput>) -> Task {
    Task { attempt: id, inputs, outputs, job_input_bytes: 0 }
}

fn idle(id: AttemptId) -> Task {
    task(id, vec![], vec![TaskOutput::Broadcast])
}

/// Passes bytes between a worker and its coordinator until the flag makes it swallow them.
async fn proxy(target: String) -> (String, tokio::sync::watch::Sender<bool>) {
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

/// A coordinator on a port, and its workers' folders.
struct Cluster {
    url: String,
    lines: mpsc::UnboundedReceiver<Line>,
    refuse: Arc<Mutex<Option<Failure>>>,
    folder: tempfile::TempDir,
}

impl Cluster {
    async fn start() -> Cluster {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Cluster::start_on(listener, None)
    }

    fn start_on(listener: TcpListener, token: Option<Token>) -> Cluster {
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (lines_in, lines) = mpsc::unbounded_channel();
        let refuse = Arc::new(Mutex::new(None));
        let service = Coordinator { lines: lines_in, refuse: refuse.clone() };
        let routes = tonic::service::Routes::new(SessionServer::new(service));
        tokio::spawn(serve(listener, routes, Server::new(Role::Coordinator, token, None), std::future::pending()));
        Cluster { url, lines, refuse, folder: tempfile::tempdir().unwrap() }
    }

    fn data_dir(&self, n: u32) -> PathBuf {
        self.folder.path().join(format!("worker-{n}"))
    }

    /// A worker that runs until the sender is used or dropped.
    fn worker(&self, n: u32) -> (oneshot::Sender<()>, tokio::task::JoinHandle<Result<(), Error>>) {
        self.worker_that_stays(n, Config::STOP_TIMEOUT)
    }

    /// The same with a stop timeout.
    fn worker_that_stays(
        &self,
        n: u32,
        stop_timeout: Duration,
    ) -> (oneshot::Sender<()>, tokio::task::JoinHandle<Result<(), Error>>) {
        let (stop, stopped) = oneshot::channel::<()>();
        let run = run_worker_for(self.url.clone(), self.data_dir(n), stop_timeout, async {
            let _ = stopped.await;
        });
        (stop, tokio::spawn(run))
    }

    async fn line(&mut self) -> Line {
        tokio::time::timeout(Duration::from_secs(60), self.lines.recv()).await.expect("a registration").unwrap()
    }
}

async fn run_worker(url: String, data_dir: PathBuf, shutdown: impl Future<Output = ()>) -> Result<(), Error> {
    run_worker_for(url, data_dir, Config::STOP_TIMEOUT, shutdown).await
}

async fn run_worker_for(
    url: String,
    data_dir: PathBuf,
    stop_timeout: Duration,
    shutdown: impl Future<Output = ()>,
) -> Result<(), Error> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = Config {
        coordinator_url: url,
        data_dir,
        slots: 2,
        memory_bytes: 64 << 20,
        memory_limit_bytes: None,
        processes_max: None,
        scratch_quota_bytes: None,
        stop_timeout,
        storage_timeout: Duration::from_secs(60),
        fetch_timeout: Config::FETCH_TIMEOUT,
        scrub_period: Config::SCRUB_PERIOD,
        scrub_bytes_per_s: Config::SCRUB_BYTES_PER_S,
        trash_kept: Config::TRASH_KEPT,
        fetch_from_neighbours: false,
        advertised: None,
        access: Access::default(),
        tls: None,
        insecure: false,
    };
    windrow_worker::run(config, listener, shutdown, |_| {}).await
}

/// Files of jobs in a worker's data folder.
fn job_files(data_dir: &Path) -> Vec<PathBuf> {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_is_mapped_on_two_workers_shuffled_and_published() {
    let mut cluster = Cluster::start().await;
    let (_stop_a, _a) = cluster.worker(0);
    let mut a = cluster.line().await;
    let (_stop_b, _b) = cluster.worker(1);
    let mut b = cluster.line().await;
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

    let mut segments = Vec::new();
    let texts = ["first half ".to_string(), "second".repeat(300_000)];
    for (line, (i, text)) in [&mut a, &mut b].into_iter().zip((0u32..).zip(&texts)) {
        let input = cluster.folder.path().join(format!("input-{i}"));
        std::fs::write(&input, text).unwrap();
        let id = line.attempt(0, i);
        line.assign(
            task(id, vec![chunk(&input)], vec![TaskOutput::Edge { partitions: 1 }]),
            setup("copy", Some(&staging)),
            vec![],
        );
        let [OutputReport::Edge(found)] = &line.done(id).await[..] else { panic!("one edge") };
        let segment: Segment = found[0];
        assert_eq!(segment.length, text.len() as u64);
        segments.push(SegmentRef { worker: line.worker(), attempt: id, output: 0, segment });
    }

    assert!(b.register.home.is_some());
    let far = v1::Peer { worker: b.register.worker.clone(), address: b.register.address.clone(), home: None };
    let near = v1::Peer { home: b.register.home.clone(), ..far.clone() };
    for (n, peer) in [(7, far.clone()), (9, near)] {
        let id = a.attempt(1, n);
        let reduce = task(id, vec![TaskInput::Segments(segments.clone())], vec![TaskOutput::Sink { sink: 0 }]);
        a.assign(reduce, None, vec![peer]);
        a.done(id).await;
        a.send(To::Grant(v1::Grant { attempt: Some(id.into()) }));
        assert!(matches!(a.hear().await, From::Published(p) if p.attempt == Some(id.into())));
        let part = staging.join("_parts").join(windrow_format::names::attempt_part(&id, ".txt"));
        let part = std::fs::read_to_string(part).unwrap();
        assert!(part == texts.concat());
    }

    // A segment that its holder has dropped is reported, and the reader's attempt is over.
    b.send(To::DropJob(v1::DropJob { job: Some(job().into()) }));
    let again = a.attempt(1, 8);
    let reduce = task(again, vec![TaskInput::Segments(segments.clone())], vec![TaskOutput::Sink { sink: 0 }]);
    a.assign(reduce, None, vec![far]);
    match a.hear().await {
        From::SegmentLost(lost) => {
            assert_eq!(lost.reader, Some(again.into()));
            assert_eq!(lost.segment, Some(segments[1].into()));
        }
        other => panic!("{other:?}"),
    }
    a.send(To::DropJob(v1::DropJob { job: Some(job().into()) }));
    // No message reports that files are gone; the folder shows it.
    let gone = async {
        while !job_files(&cluster.data_dir(0)).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("files of a dropped job go");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_is_charged_to_the_crashing_task_only() {
    let mut cluster = Cluster::start().await;
    let (_stop, _worker) = cluster.worker(0);
    let mut line = cluster.line().await;
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
    let (_stop_a, _a) = cluster.worker(0);
    let mut a = cluster.line().await;
    let (_stop_b, _b) = cluster.worker(1);
    let mut b = cluster.line().await;
    let input = cluster.folder.path().join("input");
    std::fs::write(&input, "some bytes").unwrap();
    let id = a.attempt(0, 0);
    let map = task(id, vec![chunk(&input)], vec![TaskOutput::Edge { partitions: 1 }]);
    a.assign(map, setup("copy", None), vec![]);
    let [OutputReport::Edge(found)] = &a.done(id).await[..] else { panic!("one edge") };
    let segment = SegmentRef { worker: a.worker(), attempt: id, output: 0, segment: found[0] };
    // Without a home it is fetched.
    let peer = v1::Peer { worker: a.register.worker.clone(), address: a.register.address.clone(), home: None };
    for index in [0, 1] {
        let id = b.attempt(1, index);
        let reads = task(id, vec![TaskInput::Segments(vec![segment])], vec![TaskOutput::Broadcast]);
        b.assign(reads, setup("segv_at_13", None), vec![peer.clone()]);
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
    let (_stop, _worker) = cluster.worker(0);
    let mut line = cluster.line().await;
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
    let (stop, worker) = cluster.worker(0);
    let mut first = cluster.line().await;
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
    let (stop, worker) = cluster.worker(0);
    let mut first = cluster.line().await;
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
    let (stop, worker) = cluster.worker(0);
    let mut first = cluster.line().await;
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
    let (stop, worker) = cluster.worker(0);
    let mut line = cluster.line().await;
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
    let (_stop, _worker) = cluster.worker(0);
    let mut first = cluster.line().await;
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
    let (_stop, _worker) = cluster.worker(0);
    let mut line = cluster.line().await;
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
    let (_stop, _worker) = cluster.worker(0);
    cluster.line().await;
    let error = run_worker(cluster.url.clone(), cluster.data_dir(0), std::future::pending()).await.unwrap_err();
    assert_eq!(error.code(), Code::DataDirInUse);
}
