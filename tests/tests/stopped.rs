//! A process that is stopped between two tasks does not block its next task for ever.

use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use windrow_tests::cluster::Cluster;
use windrow_tests::corpus;
use windrow_tests::output::parts;
use windrow_tests::program::{eventually, happens, local, pids_below, run};

/// Stops an idle executor with `stop`, and assigns it a task then.
#[track_caller]
fn idle_executor_is_replaced(stop: impl FnOnce(Pid)) {
    let folder = tempfile::tempdir().unwrap();
    let gate = folder.path().join("gate");
    fs::create_dir(&gate).unwrap();
    // Two chunks: the first one's worker waits at the gate, the other worker is idle until the reduces begin.
    let text = corpus::text(7, 9_000);
    fs::write(folder.path().join("in"), format!("gate1 a\n{text}")).unwrap();
    let args = |output| {
        let gate = gate.to_str().unwrap();
        let args = ["gate", "in", "--output", output, "--gate", gate, "--chunk-size", "5kB", "--partitions", "6"];
        args.into_iter().chain(["--no-backup-attempts"])
    };
    let cluster = Cluster::start(2, 1);
    let id = cluster.detach(folder.path(), "hostile", args("out"));
    eventually("one task is at the gate, the other is done", || {
        let job = cluster.json(["job", "get", &id]);
        fs::read_dir(&gate).unwrap().count() == 1 && job["tasks"]["running"] == 1 && job["tasks"]["done"] == 1
    });
    let waits: i32 = {
        let name = fs::read_dir(&gate).unwrap().next().unwrap().unwrap().file_name().into_string().unwrap();
        name.rsplit_once('.').unwrap().1.parse().unwrap()
    };
    let all = [0, 1].map(|worker| pids_below(&cluster.worker_folder(worker)));
    let idle = all.iter().flatten().find(|pid| pid.as_raw_nonzero().get() != waits).copied().unwrap();
    stop(idle);
    fs::write(gate.join("open"), "").unwrap();

    run(&mut cluster.windrow(["job", "wait", &id, "--coordinator", &cluster.url])).ok();
    let job = cluster.json(["job", "get", &id]);
    assert_eq!((&job["tasks"]["failed"], &job["backups"]), (&0.into(), &0.into()), "{job:#}");
    assert!([0, 1].iter().all(|worker| !pids_below(&cluster.worker_folder(*worker)).contains(&idle)), "it is gone");
    local(folder.path(), "hostile", args("expected")).ok();
    assert!(parts(&folder.path().join("out")) == parts(&folder.path().join("expected")));
    cluster.stop();
}

#[test]
fn executor_that_is_stopped_between_two_tasks_is_replaced() {
    idle_executor_is_replaced(|pid| kill_process(pid, Signal::STOP).unwrap());
}

/// A control group of this test. Dropping it thaws its processes.
struct Freezer {
    folder: PathBuf,
    /// The file, and what is written to it to freeze and to thaw.
    state: (&'static str, &'static str, &'static str),
}

impl Freezer {
    /// A group of version 1 or 2; `None` where none can be made.
    fn make(hierarchy: &str, state: (&'static str, &'static str, &'static str)) -> Option<Freezer> {
        let folder = Path::new("/sys/fs/cgroup").join(hierarchy).join(format!("windrow-test-{}", std::process::id()));
        fs::create_dir(&folder).ok()?;
        let made = Freezer { folder, state };
        made.folder.join(state.0).exists().then_some(made)
    }

    fn freeze(&self, pid: Pid) {
        fs::write(self.folder.join("cgroup.procs"), pid.as_raw_nonzero().to_string()).unwrap();
        fs::write(self.folder.join(self.state.0), self.state.1).unwrap();
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        let _ = fs::write(self.folder.join(self.state.0), self.state.2);
        // Not before the last process is gone.
        happens(|| fs::remove_dir(&self.folder).is_ok());
    }
}

#[test]
fn executor_that_is_frozen_between_two_tasks_is_replaced() {
    let first = Freezer::make("freezer", ("freezer.state", "FROZEN", "THAWED"));
    // In version 2 a killed process ends without being thawed.
    let second = || ["unified", ""].iter().find_map(|root| Freezer::make(root, ("cgroup.freeze", "1", "0")));
    match first.or_else(second) {
        Some(freezer) => idle_executor_is_replaced(|pid| freezer.freeze(pid)),
        None => eprintln!("skipped: this machine lets no control group be made"),
    }
}
