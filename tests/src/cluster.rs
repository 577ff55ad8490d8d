//! A cluster of processes on loopback: one coordinator and its workers, in folders of its own.

mod setup;

pub use setup::{Setup, Timeouts};

use crate::program::{Daemon, Ended, command, eventually, processes_below, run};
use crate::proxy::Proxy;
use rustix::process::Signal;
use serde_json::Value;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The variable with the failpoints of a process; binaries of the `dev` profile have them.
const FAILPOINTS: &str = "WINDROW_FAILPOINTS";

/// The links of one worker that a test may break.
pub struct Links {
    /// From the worker to the coordinator.
    pub session: Proxy,
    /// From the other workers, the coordinator and clients to the worker.
    pub transfer: Proxy,
    listens: SocketAddr,
}

/// The processes of a cluster. Dropping it kills them.
pub struct Cluster {
    pub url: String,
    folder: TempDir,
    coordinator: Option<Daemon>,
    workers: Vec<Option<Daemon>>,
    slots: Vec<u32>,
    ids: Vec<String>,
    coordinator_args: Vec<String>,
    /// One entry for each worker, if the cluster was started with links.
    pub links: Vec<Links>,
    /// Memory of the workers that are started from now on.
    pub worker_memory: String,
    /// Workers that are started from now on use each other's files in place. Otherwise they fetch, as between machines.
    pub in_place: bool,
    /// Further arguments of the workers that are started from now on.
    pub worker_args: Vec<String>,
    /// Workers that are started from now on see this folder empty, in a mount namespace of their own.
    pub hidden: Option<PathBuf>,
    /// Failpoints of the workers (and their executors) that are started from now on.
    pub worker_failpoints: String,
}

impl Cluster {
    /// A coordinator and this many registered workers.
    pub fn start(workers: usize, slots: u32) -> Cluster {
        Setup { workers, slots, ..Setup::default() }.start()
    }
    /// Adds a worker and waits until it has registered.
    pub fn add_worker(&mut self, slots: u32) {
        self.workers.push(None);
        self.slots.push(slots);
        self.ids.push(String::new());
        self.start_worker(self.workers.len() - 1);
    }
    /// Adds a worker without waiting: it may be refused.
    pub fn add_worker_unheard(&mut self, slots: u32) {
        self.slots.push(slots);
        self.ids.push(String::new());
        let daemon = self.spawn_worker(self.workers.len());
        self.workers.push(Some(daemon));
    }
    /// Adds a worker with these arguments; false if this machine does not let it start.
    pub fn add_worker_if_possible(&mut self, slots: u32, args: [&str; 2]) -> bool {
        self.worker_args = args.map(str::to_string).to_vec();
        self.slots.push(slots);
        let mut daemon = self.spawn_worker(self.workers.len());
        let Some(id) = daemon.read_line_if_it_starts("worker ") else {
            self.slots.pop();
            return false;
        };
        self.ids.push(id);
        self.workers.push(Some(daemon));
        true
    }
    /// Starts a worker on its folder, perhaps again, and waits until it has registered.
    pub fn start_worker(&mut self, index: usize) {
        let mut daemon = self.spawn_worker(index);
        self.ids[index] = daemon.read_line("worker ");
        self.workers[index] = Some(daemon);
    }
    /// The same without waiting: the coordinator may be away.
    pub fn start_worker_unheard(&mut self, index: usize) {
        self.workers[index] = Some(self.spawn_worker(index));
    }
    fn spawn_worker(&self, index: usize) -> Daemon {
        let mut command = self.windrow(["worker", "--memory", &self.worker_memory, "--coordinator"]);
        match self.links.get(index) {
            None => command.args([&self.url, "--listen", "127.0.0.1:0"]),
            Some(links) => {
                command.args([&links.session.url(), "--advertise", &links.transfer.url()]);
                command.args(["--listen", &links.listens.to_string(), "--token-file"]).arg(self.token_file())
            }
        };
        command.args(["--slots", &self.slots[index].to_string(), "--data-dir"]);
        command.arg(self.worker_folder(index)).args(&self.worker_args);
        command.env("WINDROW_FETCH_FROM_NEIGHBOURS", if self.in_place { "no" } else { "yes" });
        command.env("WINDROW_LOG", "error").env(FAILPOINTS, &self.worker_failpoints);
        match &self.hidden {
            Some(folder) => Daemon::start(&mut hiding(folder, &command)),
            None => Daemon::start(&mut command),
        }
    }
    /// Whether workers can be started that see some folder empty, or the reason why not.
    pub fn can_hide() -> Result<(), String> {
        let made = Command::new("unshare").args(["-m", "mount", "-t", "tmpfs", "none", "/mnt"]).output();
        match made {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
            Err(e) => Err(format!("unshare: {e}")),
        }
    }
    /// Whether this worker's process has been started and not killed by the test.
    pub fn has_worker(&self, index: usize) -> bool {
        self.workers[index].is_some()
    }
    /// Sends a signal to a worker's process, but not to its group.
    pub fn signal_worker(&self, index: usize, signal: Signal) {
        self.workers[index].as_ref().expect("it runs").signal(signal);
    }
    pub fn worker_pid(&self, index: usize) -> u32 {
        self.workers[index].as_ref().expect("it runs").pid()
    }
    pub fn worker_id(&self, index: usize) -> &str {
        &self.ids[index]
    }
    pub fn worker_folder(&self, index: usize) -> PathBuf {
        self.folder.path().join(format!("worker-{index}"))
    }
    pub fn coordinator_folder(&self) -> PathBuf {
        self.folder.path().join("coordinator")
    }
    /// For clients and workers that reach the coordinator by another URL than its own.
    pub fn token_file(&self) -> PathBuf {
        self.coordinator_folder().join("token")
    }
    /// The state folder of this cluster's user.
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }
    /// Sends SIGKILL to a worker's process group.
    pub fn kill_worker(&mut self, index: usize) {
        self.workers[index].take().expect("it has not been killed before").kill();
    }
    /// Stops the coordinator with SIGTERM. Returns its exit code.
    pub fn stop_coordinator(&mut self) -> Option<i32> {
        self.coordinator.take().expect("it runs").stop()
    }
    /// Stops the coordinator in order and starts it again on the same folder and address.
    pub fn restart_coordinator(&mut self) {
        self.restart_coordinator_after(|| {});
    }
    /// The same, with a change of its folder in between.
    pub fn restart_coordinator_after(&mut self, change: impl FnOnce()) {
        let stopped = self.stop_coordinator();
        assert_eq!(stopped, Some(0), "the coordinator's exit code");
        change();
        self.start_coordinator();
    }
    /// Waits until the coordinator has ended by itself or `over` returns true. Returns its exit code, absent after a
    /// signal.
    pub fn coordinator_ends(&mut self, over: impl FnMut() -> bool) -> Option<Option<i32>> {
        ends(&mut self.coordinator, "the coordinator or what it is asked for has ended", over)
    }
    /// The same for a worker.
    pub fn worker_ends(&mut self, index: usize, over: impl FnMut() -> bool) -> Option<Option<i32>> {
        ends(&mut self.workers[index], "the worker or what it is asked for has ended", over)
    }
    /// Stops a worker with SIGTERM. Returns its exit code.
    pub fn stop_worker(&mut self, index: usize) -> Option<i32> {
        self.workers[index].take().expect("it runs").stop()
    }
    /// Sends SIGKILL to the coordinator's process group.
    pub fn kill_coordinator(&mut self) {
        self.coordinator.take().expect("it runs").kill();
    }
    /// Starts the coordinator again on the same folder and address.
    pub fn start_coordinator(&mut self) {
        let address = self.url.trim_start_matches("http://").to_string();
        let (coordinator, url) = coordinator(self.folder.path(), &address, "", &self.coordinator_args);
        assert_eq!(url, self.url);
        self.coordinator = Some(coordinator);
    }
    /// The same, with failpoints that may kill it before it answers. Returns whether it answers.
    pub fn start_coordinator_failing(&mut self, failpoints: &str) -> bool {
        let address = self.url.trim_start_matches("http://").to_string();
        let mut daemon = spawn_coordinator(self.folder.path(), &address, failpoints, &self.coordinator_args);
        let answers = daemon.read_line_if_it_starts("coordinator ").is_some();
        self.coordinator = Some(daemon);
        answers
    }
    /// Stops workers, then the coordinator, in order, and checks that no process is left.
    pub fn stop(self) {
        self.stop_then(|_| {});
    }
    /// The same, and then looks at the folder of the coordinator.
    pub fn stop_then(mut self, look: impl FnOnce(&Path)) {
        for worker in self.workers.drain(..).flatten() {
            assert_eq!(worker.stop(), Some(0), "a worker's exit code");
        }
        assert_eq!(self.coordinator.take().and_then(Daemon::stop), Some(0), "the coordinator's exit code");
        eventually("every executor has ended", || processes_below(self.folder.path()).is_empty());
        look(&self.coordinator_folder());
    }
    /// Kills one of the running executors, if there are any.
    pub fn kill_an_executor(&self, which: u64) -> bool {
        let all = crate::program::pids_below(self.folder.path());
        let chosen = all.get(which as usize % all.len().max(1)).copied();
        chosen.is_some_and(|pid| rustix::process::kill_process(pid, Signal::KILL).is_ok())
    }
    /// Number of running executors.
    pub fn executors(&self) -> usize {
        processes_below(self.folder.path()).len()
    }
    /// Files of attempts in the workers' folders.
    pub fn leftovers(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for index in 0..self.workers.len() {
            // jobs/INCARNATION/…: the folder of the current incarnation stays, and is empty.
            for incarnation in list(&self.worker_folder(index).join("jobs")) {
                found.extend(list(&incarnation));
            }
            found.extend(list(&self.worker_folder(index).join("trash")));
        }
        found
    }
    /// Waits until the workers have no files of any attempt.
    #[track_caller]
    pub fn wait_until_clean(&self) {
        let is_clean = crate::program::happens(|| self.leftovers().is_empty());
        assert!(is_clean, "never gone: {:?}, of {}", self.leftovers(), self.json(["job", "list"]));
    }
    /// `windrow` with these arguments, as this cluster's user.
    pub fn windrow<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = command("windrow", &self.home());
        command.args(args);
        command
    }
    /// The JSON output of a `windrow` command that must succeed.
    #[track_caller]
    pub fn json<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Value {
        run(self.windrow(args).args(["-o", "json", "--coordinator", &self.url])).ok().json()
    }
    /// The entry of `worker list` for a worker.
    #[track_caller]
    pub fn worker(&self, index: usize) -> Option<Value> {
        let workers = self.json(["worker", "list"]);
        let mut workers = workers.as_array().expect("a list").iter();
        workers.find(|worker| worker["id"] == self.worker_id(index)).cloned()
    }
    /// Runs `windrow data` with these arguments, in `folder`.
    pub fn data(&self, folder: &Path, args: &[&str]) -> Ended {
        run(self.windrow(["data"]).args(args).args(["--coordinator", &self.url]).current_dir(folder))
    }
    /// Runs a job binary with `--cluster`, in `folder`.
    pub fn job<A: AsRef<OsStr>>(&self, folder: &Path, name: &str, args: impl IntoIterator<Item = A>) -> Ended {
        let mut command = command(name, &self.home());
        run(command.current_dir(folder).args(args).args(["--cluster", &self.url]))
    }
    /// Submits a job with `windrow submit --detach`. Returns its id.
    #[track_caller]
    pub fn detach<A: AsRef<OsStr>>(&self, folder: &Path, name: &str, args: impl IntoIterator<Item = A>) -> String {
        let mut command = self.windrow(["submit", "--detach", "--coordinator", &self.url]);
        command.arg(crate::program::binary(name)).arg("--").args(args).current_dir(folder);
        run(&mut command).ok().stdout.trim().to_string()
    }
}

/// Waits until a process has ended by itself or `over` returns true. Returns the exit code of an end by itself.
fn ends(process: &mut Option<Daemon>, what: &str, mut over: impl FnMut() -> bool) -> Option<Option<i32>> {
    let mut ended = None;
    let running = process.as_mut().expect("it runs");
    eventually(what, || {
        // In this order: the end of the process wins if both happen.
        let is_over = over();
        ended = running.has_ended();
        ended.is_some() || is_over
    });
    if ended.is_some() {
        *process = None;
    }
    ended
}

/// The command in a mount namespace where this folder is empty.
fn hiding(folder: &Path, command: &Command) -> Command {
    let mut inside = Command::new("unshare");
    inside.args(["-m", "sh", "-c", "mount -t tmpfs none \"$0\" && exec \"$@\""]).arg(folder);
    inside.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => inside.env(name, value),
            None => inside.env_remove(name),
        };
    }
    std::os::unix::process::CommandExt::process_group(&mut inside, 0);
    inside
}

fn spawn_coordinator(folder: &Path, listen: &str, failpoints: &str, args: &[String]) -> Daemon {
    let mut command = command("windrow", &folder.join("home"));
    command.args(["coordinator", "--listen", listen, "--data-dir"]).arg(folder.join("coordinator"));
    // A later start has the port of an earlier one, and would take the usual port of dashboards.
    command.arg("--no-ui").args(args);
    Daemon::start(command.env("WINDROW_LOG", "error").env(FAILPOINTS, failpoints))
}

fn coordinator(folder: &Path, listen: &str, failpoints: &str, args: &[String]) -> (Daemon, String) {
    let mut daemon = spawn_coordinator(folder, listen, failpoints, args);
    let url = daemon.read_line("coordinator ");
    (daemon, url)
}

fn list(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).map(|entries| entries.flatten().map(|e| e.path()).collect()).unwrap_or_default()
}
