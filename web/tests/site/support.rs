//! A page over made-up facts, and a plain client of HTTP/1.1.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use windrow_model::{
    AttemptId, Code, Counters, DatasetStatus, Epoch, FailedAttempt, Failure, Framing, Incarnation, JobId, JobState,
    JobStatus, LeftOut, PageRole, RecordPlace, StageId, StageStatus, TaskId, TaskTotals, WorkerId, WorkerState,
    WorkerStatus,
};
use windrow_web::{
    Answer, AttemptLog, Facts, JobFacts, JobsPart, JobsQuery, LogFilter, Logs, Page, PageConfig, Server, Setting,
    StageShape, WorkerFacts,
};

/// A text that would act if it were not escaped: as HTML, in an attribute, on a terminal, on the direction of text.
pub const HOSTILE: &str = "<script>alert(1)</script>\"'&\u{1b}[31m\u{202e}evil\u{0}\u{9b}x";

/// Facts that a test makes up.
#[derive(Default)]
pub struct MadeUp {
    pub jobs: Mutex<Vec<JobStatus>>,
    pub workers: Mutex<Vec<WorkerFacts>>,
    pub cancelled: Mutex<Vec<JobId>>,
    pub drained: Mutex<Vec<WorkerId>>,
    /// No question is answered.
    pub silent: AtomicBool,
}

pub fn job_id(n: u8) -> JobId {
    JobId::from_bytes([n; 16])
}

pub fn worker_id() -> WorkerId {
    WorkerId::from_bytes([9; 16])
}

/// A failed job in which every text is `text`.
pub fn failed_job(n: u8, text: &str) -> JobStatus {
    let tasks = TaskTotals { total: 4, done: 1, running: 1, failed: 2 };
    let failure = |code| FailedAttempt {
        stage: StageId(0),
        task: 3,
        attempt: 1,
        worker: worker_id(),
        host: text.into(),
        code,
        message: text.into(),
        charged: code != Code::WorkerLost,
        after_ms: 1234,
    };
    let place = RecordPlace { file: text.into(), offset: 77, excerpt: text.into() };
    let stage =
        StageStatus { label: text.into(), tasks, bytes_done: 10, bytes_total: 40, bytes_running: 5, records: 3 };
    JobStatus {
        name: text.into(),
        stages: vec![stage.clone(), stage],
        tasks,
        attempts: 5,
        counters: Counters(BTreeMap::from([(text.to_string(), 5)])),
        error: Some(Failure { place: Some(place), stderr_tail: text.into(), ..Failure::new(Code::UserPanic, text) }),
        waiting: Some(text.into()),
        outputs: vec![text.into()],
        submitted_unix_ms: 1_700_000_000_000 + u64::from(n),
        elapsed_ms: 3_210,
        failures: vec![failure(Code::WorkerLost), failure(Code::UserPanic)],
        left_out: vec![LeftOut { worker: worker_id(), host: text.into(), code: Code::IoError, message: text.into() }],
        ..JobStatus::new(job_id(n), JobState::Failed)
    }
}

pub fn worker(text: &str) -> WorkerFacts {
    let status = WorkerStatus {
        id: worker_id(),
        address: text.into(),
        host: text.into(),
        state: WorkerState::Live,
        slots: 4,
        running: 1,
        memory_bytes: 1 << 30,
        version: text.into(),
        reason: Some(text.into()),
    };
    WorkerFacts { status, silent_ms: Some(700), disk_full: true }
}

impl MadeUp {
    fn answer<T: Send + 'static>(&self, answer: Result<T, Failure>) -> Answer<T> {
        match self.silent.load(Ordering::Relaxed) {
            true => Box::pin(std::future::pending()),
            false => Box::pin(std::future::ready(answer)),
        }
    }

    fn find(&self, job: JobId) -> Result<JobStatus, Failure> {
        let jobs = self.jobs.lock().unwrap();
        let found = jobs.iter().find(|known| known.id == job).cloned();
        found.ok_or_else(|| Failure::new(Code::JobNotFound, format!("there is no {job}")))
    }
}

impl Facts for MadeUp {
    fn jobs(&self, query: JobsQuery) -> Answer<JobsPart> {
        let jobs = self.jobs.lock().unwrap();
        let selected = query.select(jobs.iter());
        let part = JobsPart {
            jobs: selected.jobs.into_iter().cloned().collect(),
            admitted: selected.admitted,
            by_state: selected.by_state,
        };
        self.answer(Ok(part))
    }

    fn job(&self, job: JobId) -> Answer<JobFacts> {
        let shape = vec![
            StageShape { reads_source: true, ..StageShape::default() },
            StageShape { from: vec![0], broadcast_from: vec![0], ..StageShape::default() },
        ];
        self.answer(self.find(job).map(|status| JobFacts { status, shape }))
    }

    fn logs(&self, job: JobId, only: LogFilter, bytes_max: usize) -> Answer<Logs> {
        let attempt = |stage| AttemptId {
            task: TaskId { job, stage: StageId(stage), index: 3 },
            number: 1,
            epoch: Epoch(1),
            incarnation: Incarnation(1),
        };
        let log = |attempt: AttemptId| AttemptLog {
            attempt,
            worker: Some(worker_id()),
            output: format!("out of stage {}\n{HOSTILE}", attempt.task.stage.0).into_bytes(),
        };
        let attempts = [attempt(0), attempt(1)].into_iter().filter(|attempt| only.admits(*attempt)).map(log).collect();
        let logs = Logs { attempts, cut: bytes_max < 1000, missing: vec![HOSTILE.into()] };
        self.answer(self.find(job).map(|_| logs))
    }

    fn workers(&self) -> Answer<Vec<WorkerFacts>> {
        self.answer(Ok(self.workers.lock().unwrap().clone()))
    }

    fn datasets(&self) -> Answer<(Vec<DatasetStatus>, Vec<String>)> {
        let dataset = DatasetStatus {
            name: HOSTILE.into(),
            version: 3,
            framing: Framing::Whole,
            bytes: 5000,
            chunks: 2,
            replicas: 2,
            copies_min: 1,
        };
        self.answer(Ok((vec![dataset], vec![HOSTILE.into()])))
    }

    fn cancel(&self, job: JobId) -> Answer<()> {
        let found = self.find(job).map(drop);
        if found.is_ok() {
            self.cancelled.lock().unwrap().push(job);
        }
        self.answer(found)
    }

    fn drain(&self, worker: WorkerId) -> Answer<()> {
        self.drained.lock().unwrap().push(worker);
        self.answer(Ok(()))
    }
}

/// A page that is being served.
pub struct Served {
    pub facts: Arc<MadeUp>,
    pub page: Page,
    pub addr: SocketAddr,
    _server: Server,
    _folder: TempDir,
}

impl Served {
    pub fn new() -> Served {
        Served::with("", &[])
    }

    pub fn with(base: &str, hosts: &[&str]) -> Served {
        let folder = tempfile::tempdir().unwrap();
        let page = Page::bind(PageConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            tls: None,
            insecure: false,
            base: base.into(),
            hosts: hosts.iter().map(|host| host.to_string()).collect(),
            tokens: folder.path().join("tokens"),
            settings: vec![Setting { name: "--lease".into(), value: HOSTILE.into() }],
        });
        let page = page.unwrap();
        let facts = Arc::new(MadeUp::default());
        facts.jobs.lock().unwrap().push(failed_job(1, HOSTILE));
        facts.workers.lock().unwrap().push(worker(HOSTILE));
        let server = page.serve(facts.clone()).unwrap();
        let addr = page.url().split('/').nth(2).unwrap().parse().unwrap();
        Served { facts, page, addr, _server: server, _folder: folder }
    }

    pub fn token(&self, role: PageRole) -> String {
        self.page.keys().issue(role, "test", 60_000).unwrap().0.as_str().to_string()
    }

    /// Signs in; the cookie.
    pub fn session(&self, role: PageRole) -> String {
        let url = self.page.sign_in_url(role).unwrap();
        let path = format!("/{}", url.splitn(4, '/').nth(3).unwrap());
        let reply = self.get(&path, &[]);
        assert_eq!(reply.status, 303, "{}", reply.body);
        let cookie = reply.header("set-cookie").unwrap();
        cookie.split(';').next().unwrap().to_string()
    }

    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Reply {
        self.request("GET", path, headers, "")
    }

    /// A form of the page itself.
    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        self.request("POST", path, headers, body)
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut stream = self.connect();
        let mut text = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            text.push_str(&format!("Host: {}\r\n", self.addr));
        }
        headers.iter().for_each(|(name, value)| text.push_str(&format!("{name}: {value}\r\n")));
        stream.write_all(format!("{text}\r\n{body}").as_bytes()).unwrap();
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        Reply::parse(&bytes)
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr).unwrap();
        // Against a hang only.
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }
}

pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Reply {
    pub fn parse(bytes: &[u8]) -> Reply {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Reply { status, head: head.to_string(), body: body.to_string() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The value of the hidden field of its first form.
    pub fn form_key(&self) -> String {
        let (_, after) = self.body.split_once("name=\"key\" value=\"").expect("a form");
        after.split('"').next().unwrap().to_string()
    }
}
