//! What the coordinator's log says: joins and losses, jobs, exclusions with their reason, refused callers; as plain text.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use windrow_tests::program::{Daemon, command, eventually, run};

/// A daemon whose log goes to a file.
fn daemon(home: &Path, log: &Path, args: &[&str]) -> Daemon {
    let mut command = command("windrow", home);
    command.args(args).stderr(File::options().append(true).create(true).open(log).unwrap());
    // A terminal could have colours.
    command.env("TERM", "xterm-256color").env("CLICOLOR_FORCE", "1").env("FORCE_COLOR", "1");
    Daemon::start(&mut command)
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn log_lists_workers_jobs_and_refused_callers() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let (home, log) = (folder.path().join("home"), folder.path().join("log"));
    std::fs::write(path("in"), "a b\n".repeat(2_000)).unwrap();
    let mut coordinator =
        daemon(&home, &log, &["coordinator", "--listen", "127.0.0.1:0", "--data-dir", &path("c"), "--lease", "2s"]);
    let url = coordinator.read_line("coordinator ");
    let says = |what: &str, words: &[&str]| {
        let line = |line: &str| words.iter().all(|word| line.contains(word));
        eventually(what, || text(&log).lines().any(line));
    };
    let start = |n: &str, failpoints: &str| {
        let mut worker = command("windrow", &home);
        worker.args(["worker", "--coordinator", &url, "--slots", "1", "--data-dir", &path(n), "--memory", "64MiB"]);
        worker.env("WINDROW_LOG", "error").env("WINDROW_FAILPOINTS", failpoints);
        let mut worker = Daemon::start(&mut worker);
        let id = worker.read_line("worker ");
        (worker, id)
    };
    let (first, first_id) = start("w1", "");
    says("a join", &["INFO", "worker joined", &first_id, "slots=1"]);

    // A caller with another token.
    std::fs::write(path("other-token"), "0123456789abcdef0123456789abcdef\n").unwrap();
    std::fs::set_permissions(path("other-token"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let list = |token: &str| {
        run(command("windrow", &home).args(["job", "list", "--coordinator", &url, "--token-file", token]))
    };
    list(&path("other-token")).with(3);
    says("a refused caller", &["WARN", "refused a caller", "127.0.0.1"]);

    // Tasks fail on the second worker that succeed on the first.
    let (second, second_id) = start("w2", "shuffle.write=eio");
    says("another join", &["worker joined", &second_id]);
    let job = |output: &str| {
        let mut job: Command = command("wordcount", &home);
        job.current_dir(folder.path());
        run(job.args(["in", "--chunk-size", "500B", "--partitions", "2", "--output", output, "--cluster", &url]))
    };
    job("out").ok();
    says("the begin of a job", &["INFO", "job submitted", "name=\"wordcount\""]);
    says("its end", &["INFO", "job ended", "state=\"done\"", "attempts="]);
    // On a busy machine the first worker may run all tasks of a job before the second one has begun.
    let exclusion = ["WARN", &second_id, "state=\"excluded\"", "failed there that succeeded on other workers"];
    let is_excluded = || text(&log).lines().any(|line| exclusion.iter().all(|word| line.contains(word)));
    let mut jobs = 1;
    eventually("an exclusion with its reason", || {
        if !is_excluded() {
            jobs += 1;
            job(&format!("out-{jobs}")).ok();
        }
        is_excluded()
    });

    first.kill();
    says("a loss with its reason", &["WARN", &first_id, "state=\"lost\"", "reason="]);
    second.kill();
    assert_eq!(coordinator.stop(), Some(0));
    let log = text(&log);
    assert!(!log.contains('\x1b'), "no colours in a file: {log}");
}
