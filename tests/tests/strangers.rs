//! Programs without the token can neither block a cluster nor learn anything from it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use windrow_model::Escape;
use windrow_tests::cluster::Cluster;
use windrow_tests::program::{Daemon, binary, command, eventually, run};

/// A file of words in a folder of its own.
fn words() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("words"), "to be or not to be\n".repeat(1000)).unwrap();
    folder
}

/// A coordinator with a limit on descriptors, and its URL.
fn coordinator_with(descriptors: u32, folder: &Path) -> (Daemon, String) {
    let mut command = Command::new("sh");
    command
        .process_group(0)
        .args(["-c", &format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"")])
        .arg(binary("windrow"));
    command.args(["coordinator", "--listen", "127.0.0.1:0", "--data-dir"]).arg(folder.join("coordinator"));
    command.env("WINDROW_HOME", folder.join("home")).env("WINDROW_LOG", "error");
    let mut daemon = Daemon::start(&mut command);
    let url = daemon.read_line("coordinator ");
    (daemon, url)
}

fn job_list(folder: &Path, url: &str) {
    let mut list = command("windrow", &folder.join("home"));
    run(list.args(["job", "list", "--coordinator", url])).ok();
}

/// Whether the peer has closed it, or its answer is still to be read.
fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(e) => return e.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}

#[test]
fn coordinator_of_few_descriptors_serves_through_a_flood() {
    let folder = tempfile::tempdir().unwrap();
    let (coordinator, url) = coordinator_with(256, folder.path());
    let address = url.trim_start_matches("http://").to_string();
    let open = |begins: &[u8]| {
        let mut stream = TcpStream::connect(&address).unwrap();
        // It may be closed already.
        let _ = stream.write_all(begins);
        stream
    };
    // Idle ones, unfinished TLS handshakes, beginnings of HTTP/2, and random bytes.
    let beginnings: [&[u8]; 4] = [b"", &[0x16, 3, 1, 2, 0], b"PRI * HTTP/2.0\r\n", b"\xff\xff\xff\xff rubbish"];
    let mut flood: Vec<TcpStream> = (0..600).map(|n| open(beginnings[n % 4])).collect();
    for _ in 0..3 {
        job_list(folder.path(), &url);
    }
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", coordinator.pid())).unwrap().count();
    assert!(descriptors < 128, "{descriptors} descriptors");
    eventually("every connection that proves nothing is closed", || flood.iter_mut().all(is_closed));
    job_list(folder.path(), &url);
    assert_eq!(coordinator.stop(), Some(0));
}

#[test]
fn process_without_descriptors_still_answers() {
    // The flood takes the last descriptor: only unproven connections are closed for a new one.
    let folder = tempfile::tempdir().unwrap();
    let (coordinator, url) = coordinator_with(40, folder.path());
    let address = url.trim_start_matches("http://").to_string();
    let flood: Vec<TcpStream> = (0..200).map(|_| TcpStream::connect(&address).unwrap()).collect();
    job_list(folder.path(), &url);
    drop(flood);
    assert_eq!(coordinator.stop(), Some(0));
}

#[test]
fn program_on_the_port_of_a_dead_coordinator_learns_no_token() {
    let job = words();
    let mut cluster = Cluster::start(1, 1);
    let token = std::fs::read_to_string(cluster.token_file()).unwrap();
    cluster.kill_coordinator();
    let listener = TcpListener::bind(cluster.url.trim_start_matches("http://")).unwrap();
    listener.set_nonblocking(true).unwrap();
    let seen: Arc<Mutex<(usize, Vec<u8>)>> = Arc::default();
    let (keeps, over) = (seen.clone(), Arc::new(()));
    let goes_on = Arc::downgrade(&over);
    let squatter = std::thread::spawn(move || {
        while goes_on.upgrade().is_some() {
            let Ok((mut stream, _)) = listener.accept() else {
                std::thread::sleep(Duration::from_millis(5));
                continue;
            };
            stream.set_nonblocking(false).unwrap();
            stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            // As a server of HTTP/2 begins.
            let _ = stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = stream.read(&mut bytes) {
                keeps.lock().unwrap().1.extend_from_slice(&bytes[..n]);
            }
            keeps.lock().unwrap().0 += 1;
        }
    });
    let mut list = cluster.windrow(["job", "list", "--coordinator", &cluster.url]);
    run(&mut list).with(3).shows_error("UNREACHABLE", &["does not prove"]);
    eventually("the worker has tried again and again", || seen.lock().unwrap().0 > 4);
    let bytes = std::mem::take(&mut seen.lock().unwrap().1);
    for secret in [token.trim(), "Bearer", "windrow.v1"] {
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
    }
    drop(over);
    squatter.join().unwrap();
    // The worker has survived it.
    cluster.start_coordinator();
    cluster.job(job.path(), "wordcount", ["words", "--output", "out"]).ok();
    cluster.stop();
}

/// Names and modes of everything below a folder, including itself.
fn modes(folder: &Path) -> Vec<(PathBuf, u32, bool)> {
    let (mut found, mut waiting) = (Vec::new(), vec![folder.to_path_buf()]);
    while let Some(path) = waiting.pop() {
        // Temporary files come and go.
        let Ok(meta) = path.symlink_metadata() else { continue };
        if meta.is_dir() {
            waiting.extend(std::fs::read_dir(&path).into_iter().flatten().flatten().map(|e| e.path()));
        }
        found.push((path, meta.mode() & 0o7777, meta.is_dir()));
    }
    found
}

#[track_caller]
fn is_private(folder: &Path) -> usize {
    let found = modes(folder);
    for (path, mode, is_folder) in &found {
        let fine = match is_folder {
            true => *mode == 0o700,
            false => mode & 0o077 == 0,
        };
        assert!(fine, "{} has mode {mode:o}", path.escaped());
    }
    found.len()
}

#[test]
fn data_folders_are_closed_to_other_users() {
    let job = windrow_tests::gated::Gated::new();
    let mut cluster = Cluster::start(2, 2);
    let text = words();
    let put = ["data", "put", "words", "d", "--coordinator", &cluster.url];
    run(cluster.windrow(put).current_dir(text.path())).ok();
    // In the middle of a job there are shuffle files and parts.
    let id = cluster.detach(job.path(), "hostile", job.args("out"));
    eventually("three tasks wait", || job.there().len() == 3);
    let folders = [cluster.coordinator_folder(), cluster.worker_folder(0), cluster.worker_folder(1), cluster.home()];
    for folder in &folders {
        assert!(is_private(folder) > 1, "{}", folder.escaped());
    }
    job.open();
    run(&mut cluster.windrow(["job", "wait", &id, "--coordinator", &cluster.url])).ok();
    // Outputs belong to the user, and have the modes of the umask.
    let umask = run(Command::new("sh").args(["-c", "umask"])).ok().stdout;
    let umask = u32::from_str_radix(umask.trim(), 8).unwrap();
    for (path, mode, is_folder) in modes(&job.path().join("out")) {
        let all = if is_folder { 0o777 } else { 0o666 };
        assert_eq!(mode, all & !umask, "{}", path.escaped());
    }
    // A folder of an earlier release is closed when it is used again.
    cluster.kill_coordinator();
    let journal = cluster.coordinator_folder().join("journal.redb");
    for (path, mode) in [(cluster.coordinator_folder(), 0o755), (journal, 0o644)] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }
    cluster.start_coordinator();
    is_private(&cluster.coordinator_folder());
    cluster.stop();
}

#[test]
fn temporary_files_of_a_run_in_one_process_are_private() {
    let job = windrow_tests::gated::Gated::new();
    // An empty umask gives the widest modes.
    let mut command = Command::new("sh");
    command.process_group(0).args(["-c", "umask 000; exec \"$0\" \"$@\""]).arg(binary("hostile"));
    command.args(job.args("out")).args(["--threads", "3", "--memory", "8MiB"]).current_dir(job.path());
    let running = std::thread::spawn(move || run(&mut command));
    eventually("three tasks wait", || job.there().len() == 3);
    let names = || std::fs::read_dir(job.path()).unwrap().map(|entry| entry.unwrap());
    let scratch: Vec<_> = names().filter(|e| e.file_name().to_string_lossy().starts_with(".windrow-job")).collect();
    assert_eq!(scratch.len(), 1);
    is_private(&scratch[0].path());
    job.open();
    running.join().unwrap().ok();
    for (path, mode, is_folder) in modes(&job.path().join("out")) {
        assert_eq!(mode, if is_folder { 0o777 } else { 0o666 }, "{}", path.display());
    }
}

#[test]
fn program_without_a_token_trusts_nothing() {
    let folder = words();
    // A program that accepts everything, like a server of HTTP/2 on that port; the worker never connects to it.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut worker = command("windrow", folder.path());
    worker.args(["worker", "--data-dir"]).arg(folder.path().join("data")).args(["--coordinator", &url]);
    run(&mut worker).with(3).shows_error("UNAUTHORISED", &["no token"]);
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err(), "the worker has connected");
    // A real one is greeted, and gets no further call.
    let cluster = Cluster::start(0, 1);
    let mut list = command("windrow", folder.path());
    run(list.args(["job", "list", "--coordinator", &cluster.url])).with(3).shows_error("UNAUTHORISED", &["no token"]);
    cluster.stop();
}

#[test]
fn pipe_as_a_setting_is_an_error_of_every_program() {
    let folder = words();
    let pipe = folder.path().join("pipe");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let (pipe, data) = (pipe.to_str().unwrap(), folder.path().join("data"));
    let data = data.to_str().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "0123456789abcdef0123456789abcdef").unwrap();
    std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let token = token.to_str().unwrap();
    let at = ["--coordinator", "http://127.0.0.1:9"];
    let under_tls = ["--coordinator", "https://127.0.0.1:9"];
    let coordinator = ["coordinator", "--listen", "127.0.0.1:0", "--data-dir", data];
    let worker = ["worker", "--data-dir", data];
    let cases: Vec<(&str, Vec<&str>)> = vec![
        ("windrow", [&coordinator[..], &["--token-file", pipe]].concat()),
        ("windrow", [&coordinator[..], &["--tls-cert", pipe, "--tls-key", pipe]].concat()),
        ("windrow", [&worker[..], &at, &["--token-file", pipe]].concat()),
        ("windrow", [&worker[..], &under_tls, &["--token-file", token, "--tls-ca", pipe]].concat()),
        ("windrow", [&["job", "list"][..], &at, &["--token-file", pipe]].concat()),
        ("windrow", [&["job", "list"][..], &under_tls, &["--tls-ca", pipe]].concat()),
        ("windrow", vec!["--config", pipe, "job", "list"]),
        ("wordcount", vec!["words", "--output", "o", "--cluster", "http://127.0.0.1:9", "--token-file", pipe]),
        ("wordcount", vec!["words", "--output", "o", "--cluster", "https://127.0.0.1:9", "--tls-ca", pipe]),
    ];
    for (program, args) in cases {
        let ended = run(command(program, folder.path()).current_dir(folder.path()).args(&args));
        assert!(matches!(ended.code, Some(1..=3)), "{args:?}: {ended:?}");
        assert!(ended.stderr.contains("not a regular file"), "{args:?}: {}", ended.stderr);
    }
}

/// The root of a new tmpfs has the mode of `/tmp`.
#[test]
fn root_of_new_file_system_becomes_a_private_data_folder() {
    let mut cluster = Cluster::start(0, 1);
    cluster.kill_coordinator();
    std::fs::remove_dir_all(cluster.coordinator_folder()).unwrap();
    for folder in [cluster.coordinator_folder(), cluster.worker_folder(0)] {
        std::fs::create_dir(&folder).unwrap();
        std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o1777)).unwrap();
    }
    cluster.start_coordinator();
    cluster.add_worker(1);
    for folder in [cluster.coordinator_folder(), cluster.worker_folder(0)] {
        assert!(is_private(&folder) > 1, "{}", folder.escaped());
    }
    cluster.stop();
}
