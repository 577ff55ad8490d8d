//! A coordinator and three workers on four simulated machines: cables are pulled, one direction between two machines is
//! lost, and everything is restored. Skipped, with the reason, where network namespaces cannot be made.

use std::process::Command;
use std::time::Duration;
use windrow_tests::gated::Gated;
use windrow_tests::namespaces::Namespaces;
use windrow_tests::program::{Daemon, binary, command, eventually, run};

#[test]
fn job_survives_pulled_cables_and_one_way_loss() {
    let net = match Namespaces::new(4) {
        Ok(net) => net,
        Err(reason) => return println!("skipped: no network namespaces here: {reason}"),
    };
    let job = Gated::new();
    let home = job.path().join("home");
    let on = |n: usize, command: &Command| net.on(n, command);
    let mut coordinator = command("windrow", &home);
    coordinator.args(["coordinator", "--insecure", "--lease", "1s", "--listen", &format!("{}:8470", net.address(0))]);
    coordinator.arg("--data-dir").arg(job.path().join("coordinator"));
    let mut coordinator = Daemon::start(&mut on(0, &coordinator));
    let url = coordinator.read_line("coordinator ");
    let mut ids = Vec::new();
    let mut workers = Vec::new();
    for n in 1..=3 {
        let mut worker = command("windrow", &home);
        worker.args(["worker", "--insecure", "--slots", "1", "--memory", "128MiB", "--fetch-timeout", "1s"]);
        worker.args(["--coordinator", &url, "--listen", &format!("{}:8471", net.address(n)), "--data-dir"]);
        worker.arg(job.path().join(format!("worker-{n}"))).env("WINDROW_LOG", "error");
        let mut worker = Daemon::start(&mut on(n, &worker));
        ids.push(worker.read_line("worker "));
        workers.push(worker);
    }
    let state = |worker: usize| {
        let mut list = command("windrow", &home);
        list.args(["worker", "list", "-o", "json", "--coordinator", &url]);
        let all = run(&mut on(0, &list)).ok().json();
        let found = all.as_array().unwrap().iter().find(|w| w["id"] == ids[worker - 1]);
        found.map_or_else(String::new, |w| w["state"].as_str().unwrap().to_string())
    };

    let mut submit = command("windrow", &home);
    submit.args(["submit", "--coordinator", &url]).arg(binary("hostile")).arg("--").args(job.args("out"));
    let mut submit = on(0, submit.current_dir(job.path()));
    let attached = std::thread::spawn(move || run(&mut submit));
    job.wait_for(3);
    net.link(1, false);
    eventually("the first worker is lost", || state(1) == "lost");
    // Beyond three leases, in which its tasks run elsewhere.
    std::thread::sleep(Duration::from_secs(2));
    net.lose(2, 3, true);
    job.open();
    std::thread::sleep(Duration::from_secs(1));
    net.link(1, true);
    attached.join().unwrap().ok();
    eventually("the first worker is back", || state(1) == "live" || state(1) == "excluded");
    net.lose(2, 3, false);
    job.check("out");
    for worker in workers {
        assert_eq!(worker.stop(), Some(0), "a worker's exit code");
    }
    assert_eq!(coordinator.stop(), Some(0), "the coordinator's exit code");
}
