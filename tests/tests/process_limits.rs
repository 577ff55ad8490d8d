//! Daemons under limits of the system on descriptors, processes and threads.

use rustix::process::{Pid, Signal, kill_process};
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use tempfile::TempDir;
use windrow_tests::program::{Daemon, binary, command, isolated, run};

/// A folder that another user can reach, with the program in it.
struct Place {
    folder: TempDir,
    /// A user for whom limits on processes hold, which the superuser is not.
    user: Option<u32>,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        // By another process: a child that a test forks meanwhile would hold the file open for writing, and it could not be run.
        let copied = Command::new("cp").arg(binary("windrow")).arg(folder.path().join("windrow")).status().unwrap();
        assert!(copied.success());
        // Each test has a user of its own: the limit counts all processes of a user.
        let user = rustix::process::geteuid().is_root().then(|| 1_000_000_000 + std::process::id());
        Place { folder, user }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A folder or file of the other user.
    fn own(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        if !path.exists() {
            std::fs::create_dir(&path).unwrap();
        }
        chown(&path, self.user, self.user).unwrap();
        path
    }

    /// The program as that user, after the shell has run `limits`.
    fn windrow(&self, limits: &str, args: &[&str]) -> Command {
        let mut command = isolated(Command::new("sh"), &self.own("home"));
        command.args(["-c", &format!("{limits} exec \"$0\" \"$@\"")]);
        command.arg(self.path("windrow")).args(args);
        command.env("WINDROW_LOG", "error").current_dir(self.folder.path());
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }
}

#[test]
fn daemon_without_threads_or_descriptors_says_so() {
    let place = Place::new();
    let data = place.own("data").to_str().unwrap().to_string();
    let daemons: [&[&str]; 3] = [
        &["coordinator", "--listen", "127.0.0.1:0", "--data-dir", &data],
        &["worker", "--coordinator", "http://127.0.0.1:1", "--data-dir", &data],
        &["up", "--workers", "1", "--data-dir", &data],
    ];
    for daemon in daemons {
        run(&mut place.windrow("ulimit -u 1 2>/dev/null || ulimit -p 1;", daemon))
            .with(1)
            .shows_error("IO_ERROR", &["threads to start", "ulimit -u"]);
        run(&mut place.windrow("ulimit -n 20;", daemon))
            .with(1)
            .shows_error("IO_ERROR", &["may open 20 files", "ulimit -Hn"]);
    }
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0, "nothing is touched before the limits are checked");
}

/// Soft and hard limit on descriptors.
fn descriptors(pid: u32) -> Vec<u64> {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

#[test]
fn daemon_raises_its_soft_limit_on_descriptors() {
    let place = Place::new();
    let data = place.own("data").to_str().unwrap().to_string();
    let coordinator = ["coordinator", "--listen", "127.0.0.1:0", "--data-dir", &data];
    let mut daemon = Daemon::start(&mut place.windrow("ulimit -n 900; ulimit -Sn 40;", &coordinator));
    daemon.read_line("coordinator ");
    assert_eq!(descriptors(daemon.pid()), [900, 900]);
    assert_eq!(daemon.stop(), Some(0));
}

/// Processes of the other user, until they are dropped.
struct Sleepers(std::process::Child);

impl Sleepers {
    fn start(place: &Place, number: usize) -> Sleepers {
        // The shell waits for what it kills: processes count until their parent has done so, and not every first process of a
        // machine waits for those that it inherits.
        let script = format!(
            "trap 'kill $all; wait; exit' TERM; n=0; \
             while [ $n -lt {number} ]; do sleep 1000 & all=\"$all $!\"; n=$((n+1)); done; echo started; wait"
        );
        let mut shell = Command::new("sh");
        shell.process_group(0).args(["-c", &script]).stdout(Stdio::piped()).current_dir(place.folder.path());
        if let Some(user) = place.user {
            shell.uid(user).gid(user);
        }
        let mut shell = shell.spawn().unwrap();
        let mut line = [0; 8];
        shell.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
        Sleepers(shell)
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}

/// A worker that cannot start the job's process: the job ends with the reason, the worker lives, and works when it can again.
#[test]
fn worker_survives_a_full_process_table() {
    let place = Place::new();
    if place.user.is_none() {
        return println!("skipped: needs the superuser, to become another user");
    }
    std::fs::write(place.path("words"), "to be or not to be\n").unwrap();
    // The output folder belongs to the other user, as the coordinator and the worker do.
    std::fs::set_permissions(place.folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let data = place.own("coordinator");
    let args = ["coordinator", "--listen", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()];
    let mut coordinator = Daemon::start(&mut place.windrow("", &args));
    let url = coordinator.read_line("coordinator ");
    let tool = |name: &str| {
        let mut tool = command(name, &place.path("root"));
        tool.current_dir(place.folder.path()).env("WINDROW_TOKEN_FILE", data.join("token"));
        tool
    };
    let scratch = place.own("worker");
    let args = ["worker", "--coordinator", &url, "--slots", "1", "--memory", "64MiB", "--data-dir"];
    let most = 64 + 2 * std::thread::available_parallelism().unwrap().get();
    let limit = format!("ulimit -u {most} 2>/dev/null || ulimit -p {most};");
    let mut worker = Daemon::start(&mut place.windrow(&limit, &[&args[..], &[scratch.to_str().unwrap()]].concat()));
    worker.read_line("worker ");
    let job = |output: &str| run(tool("wordcount").args(["words", "--output", output, "--cluster", &url]));

    let sleepers = Sleepers::start(&place, most);
    job("full").with(1).shows_error("RESOURCE_LIMIT", &["cannot start a thread", "ulimit"]);
    // Where there is another worker, this one is left out, with the reason.
    let mut other = Daemon::start(tool("windrow").args(args).arg(place.path("other")).env("WINDROW_LOG", "error"));
    other.read_line("worker ");
    job("beside").ok();
    let list = run(tool("windrow").args(["job", "list", "--coordinator", &url, "-o", "json"])).json();
    let done = list.as_array().unwrap().iter().find(|job| job["state"] == "done").unwrap();
    let id = done["id"].as_str().unwrap();
    let job_get = run(tool("windrow").args(["job", "get", id, "--coordinator", &url, "-o", "json"])).json();
    let reason = job_get["left_out"][0].to_string();
    assert!(reason.contains("cannot start a thread"), "{reason}");
    assert_eq!(other.stop(), Some(0));
    assert!(worker.has_ended().is_none());
    drop(sleepers);
    job("again").ok();
    assert!(place.path("again/_SUCCESS").exists());
    assert_eq!(worker.stop(), Some(0));
    assert_eq!(coordinator.stop(), Some(0));
}
