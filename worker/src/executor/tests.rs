//! Supervised executors, with a real child process that speaks the protocol without an engine.

use super::{Command, Handle, Notice, Plan, Spawner, supervise};
use crate::artifacts::Executable;
use crate::logs::Logs;
use crate::progress::Watch;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;
use windrow_attempts::{Event, Exit};
use windrow_model::{AttemptId, Code, Digest, Escape, OutputReport, TaskOutput};
use windrow_proto::convert::path_to_bytes;
use windrow_proto::v1;
use windrow_sim::samples::{attempt, job_id as job, task};

fn watch() -> Watch {
    Watch::new(Default::default())
}

fn fake() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fake_executor.py")
}

fn owner() -> super::Owner {
    let marks = super::Marks::new(windrow_model::WorkerId(uuid::Uuid::now_v7()));
    super::Owner { marks, memory_limit_bytes: None, crumbs: super::CrumbFolder::unnamed(), groups: None }
}

struct Fixture {
    folder: tempfile::TempDir,
    logs: Logs,
    handle: Handle,
    /// Children die with the thread that forked them.
    _spawner: Spawner,
    notices: mpsc::UnboundedReceiver<Notice>,
}

impl Fixture {
    /// Starts `binary` with a job of this name.
    fn start(program: &str, binary: PathBuf) -> Fixture {
        Fixture::start_opened(program, Executable::at(binary).unwrap())
    }

    fn start_opened(program: &str, binary: Executable) -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let fingerprint = Digest::of(b"plan");
        let setup = v1::ExecutorSetup {
            protocol: windrow_proto::PROTOCOL_MAX,
            program: program.into(),
            fingerprint: Some(fingerprint.into()),
            threads: 2,
            ..Default::default()
        };
        let plan = Plan {
            binary,
            folder: folder.path().to_path_buf(),
            setup,
            fingerprint,
            limits: Default::default(),
            looks: Default::default(),
        };
        let logs = Logs::default();
        let (post, notices) = mpsc::unbounded_channel();
        let notices_in = move |notice| drop(post.send(notice));
        let spawner = Spawner::start(owner()).unwrap();
        let handle =
            supervise::start(job(1), 1, spawner.clone(), logs.open(job(1)), watch(), async { Ok(plan) }, notices_in);
        Fixture { folder, logs, handle, _spawner: spawner, notices }
    }

    async fn next(&mut self) -> Notice {
        let notice = tokio::time::timeout(Duration::from_secs(60), self.notices.recv()).await;
        notice.expect("a notice in time").expect("a live supervisor")
    }

    async fn event(&mut self) -> Event {
        match self.next().await {
            Notice::Event(event) => event,
            other => panic!("expected an event, got {other:?}"),
        }
    }

    async fn ready(&mut self) {
        assert_eq!(self.event().await, Event::ExecutorReady { job: job(1), generation: 1 });
    }

    fn run(&self, id: AttemptId) {
        let folder = self.folder.path().join(format!("out-{}", id.task.index));
        std::fs::create_dir(&folder).unwrap();
        let task = task(id, vec![TaskOutput::Broadcast]);
        let run = v1::RunTask { task: Some((*task).into()), folder: path_to_bytes(&folder), ..Default::default() };
        self.handle.send(Command::Run(id, Box::new(run), None));
    }

    async fn exit(&mut self) -> Exit {
        match self.event().await {
            Event::ExecutorEnded { job: j, generation: 1, exit } if j == job(1) => exit,
            other => panic!("expected the end, got {other:?}"),
        }
    }

    async fn not_started(&mut self) -> windrow_model::Failure {
        match self.event().await {
            Event::ExecutorNotStarted { failure, killed: false, .. } => failure,
            other => panic!("expected no start, got {other:?}"),
        }
    }

    fn output(&self) -> String {
        self.logs.read(job(1)).iter().map(|(_, bytes)| String::from_utf8_lossy(bytes)).collect()
    }
}

fn is_done(notice: &Notice, id: AttemptId) -> bool {
    matches!(notice, Notice::Done { generation: 1, attempt, report, spooled }
        if *attempt == id && spooled.is_empty() && report.outputs == [OutputReport::Broadcast(vec![])])
}

#[tokio::test]
async fn script_is_started_by_its_descriptor() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("script");
    std::fs::copy(fake(), &path).unwrap();
    let opened = Executable::at(path.clone()).unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "#!/bin/false\n").unwrap();
    Fixture::start_opened("ok", opened).ready().await;
}

#[tokio::test]
async fn tasks_run_and_closing_the_socket_ends_the_executor() {
    let mut f = Fixture::start("copy", fake());
    f.ready().await;
    for i in 0..3 {
        f.run(attempt(1, i));
        let notice = f.next().await;
        assert!(is_done(&notice, attempt(1, i)), "{notice:?}");
    }
    f.handle.send(Command::Close);
    assert!(f.exit().await.killed_by_worker);
    f.handle.ended().await;
}

#[tokio::test]
async fn child_inherits_only_its_socket_and_crumbs() {
    // A descriptor that an earlier process left open must not be inherited.
    let leaked = std::fs::File::open("/dev/null").unwrap();
    rustix::io::fcntl_setfd(&leaked, rustix::io::FdFlags::empty()).unwrap();
    let mut f = Fixture::start("fds", fake());
    f.ready().await;
    f.run(attempt(1, 0));
    f.next().await;
    f.handle.send(Command::Kill);
    f.exit().await;
    let output = f.output();
    // The last one is the script itself.
    assert!(output.contains("fds [0, 1, 2, 3, 4, 5] env"), "{output}");
    let folder = f.folder.path().canonicalize().unwrap();
    assert!(output.contains(&format!("cwd {}", folder.escaped())), "{output}");
    for name in ["CARGO", "USER", "WINDROW_TOKEN_FILE"] {
        assert!(!output.contains(&format!("'{name}")), "{output}");
    }
}

#[tokio::test]
async fn signal_is_reported_with_the_tail_of_stderr() {
    let mut f = Fixture::start("segv", fake());
    f.ready().await;
    f.run(attempt(1, 0));
    let exit = f.exit().await;
    assert_eq!(exit.failure.code, Code::ExecutorCrashed);
    assert!(exit.failure.message.contains("SIGSEGV"), "{}", exit.failure);
    assert_eq!(&*exit.failure.stderr_tail, "about to crash");
    assert!(exit.self_inflicted && !exit.killed_by_worker);
}

#[tokio::test]
async fn exit_code_is_reported_with_twenty_lines_of_stderr() {
    let mut f = Fixture::start("exit3", fake());
    f.ready().await;
    f.run(attempt(1, 0));
    let failure = f.exit().await.failure;
    assert!(failure.message.contains("code 3"), "{failure}");
    assert_eq!(failure.stderr_tail.lines().count(), 20);
    assert!(failure.stderr_tail.ends_with("line 49\nlast words"));
}

#[tokio::test]
async fn foreign_kill_is_distinguished_from_our_own() {
    let mut f = Fixture::start("hang", fake());
    f.ready().await;
    let pid = find_child(f.folder.path());
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let exit = f.exit().await;
    assert!(!exit.self_inflicted && !exit.killed_by_worker, "{exit:?}");
    assert!(exit.failure.message.contains("SIGKILL"), "{}", exit.failure);

    let mut f = Fixture::start("hang", fake());
    f.ready().await;
    f.handle.send(Command::Kill);
    assert!(f.exit().await.killed_by_worker);
}

/// The process whose working directory is this folder.
fn find_child(folder: &Path) -> rustix::process::Pid {
    let folder = folder.canonicalize().unwrap();
    let works_there = |pid: &i32| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == folder);
    let pids = std::fs::read_dir("/proc").unwrap().filter_map(|e| e.unwrap().file_name().to_str()?.parse::<i32>().ok());
    rustix::process::Pid::from_raw(pids.into_iter().find(works_there).unwrap()).unwrap()
}

#[tokio::test]
async fn flood_of_output_blocks_no_task() {
    let mut f = Fixture::start("flood", fake());
    f.ready().await;
    f.run(attempt(1, 0));
    let notice = f.next().await;
    assert!(is_done(&notice, attempt(1, 0)), "{notice:?}");
    f.handle.send(Command::Close);
    f.exit().await;
    let output = f.output();
    assert!(output.contains("bytes left out") && output.contains("done flooding"));
    assert!(output.len() < 200_000, "{} bytes", output.len());
}

#[tokio::test]
async fn a_failed_task_carries_what_was_written_before_it() {
    let mut f = Fixture::start("user_error", fake());
    f.ready().await;
    f.run(attempt(1, 0));
    match f.next().await {
        Notice::Failed { generation: 1, attempt: id, failure, lost: None } => {
            assert_eq!((id, failure.code), (attempt(1, 0), Code::UserError));
            assert_eq!(&*failure.stderr_tail, "the record is bad");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn garbage_on_the_socket_fails_the_executor() {
    let mut f = Fixture::start("garbage", fake());
    f.ready().await;
    f.run(attempt(1, 0));
    let exit = f.exit().await;
    assert_eq!(exit.failure.code, Code::ExecutorProtocol);
    assert!(exit.self_inflicted);
}

#[tokio::test]
async fn report_on_a_task_of_others_fails_the_executor() {
    for program in ["says_twice", "says_of_another"] {
        let mut f = Fixture::start(program, fake());
        f.ready().await;
        f.run(attempt(1, 0));
        let done = f.next().await;
        assert!(is_done(&done, attempt(1, 0)), "{done:?}");
        let exit = f.exit().await;
        assert_eq!(exit.failure.code, Code::ExecutorProtocol, "{}", exit.failure);
        assert!(exit.self_inflicted && exit.failure.message.contains("does not run"), "{}", exit.failure);
    }
}

#[tokio::test]
async fn an_executor_with_another_plan_is_refused() {
    let failure = Fixture::start("other_plan", fake()).not_started().await;
    assert_eq!(failure.code, Code::PlanMismatch);
}

#[tokio::test]
async fn executor_start_failure_has_its_reason() {
    let failure = Fixture::start("setup_fails", fake()).not_started().await;
    assert_eq!((failure.code, failure.message.as_str()), (Code::PlanInvalid, "no such plan"));
    let failure = Fixture::start("dies_early", fake()).not_started().await;
    assert_eq!(failure.code, Code::ExecutorCrashed);
    assert!(failure.message.contains("code 5") && &*failure.stderr_tail == "cannot plan", "{failure:?}");
}

#[tokio::test]
async fn unexecutable_binary_is_reported_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &[u8]| {
        use std::os::unix::fs::PermissionsExt;
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    let own = std::fs::read("/proc/self/exe").unwrap();
    let mut foreign = own[..64].to_vec();
    foreign[18] ^= 0x55;
    let cases = [
        (write("noise", b"echo this would be run by a shell"), "neither"),
        (write("foreign", &foreign), "some other machine"),
        (write("script", b"#!/no/such/interpreter\n"), "os error 2"),
    ];
    for (binary, reason) in cases {
        let failure = Fixture::start("copy", binary).not_started().await;
        assert_eq!(failure.code, Code::ExecFailed, "{failure}");
        assert!(failure.message.contains(reason), "{reason}: {failure}");
    }
}

#[tokio::test]
async fn abandoned_executor_is_not_started() {
    let logs = Logs::default();
    let (post, mut notices) = mpsc::unbounded_channel();
    let never = std::future::pending();
    let spawner = Spawner::start(owner()).unwrap();
    let handle = supervise::start(job(1), 1, spawner, logs.open(job(1)), watch(), never, move |e| drop(post.send(e)));
    handle.send(Command::Close);
    assert!(matches!(notices.recv().await, Some(Notice::Event(Event::ExecutorNotStarted { .. }))));
    handle.ended().await;
}
