//! `windrow up`: a cluster on this machine. The coordinator runs in this process, each worker in one of its own, which
//! the kernel kills when this one dies.
//!
//! Workers are started from the main thread, because the kernel's death signal follows the *thread* that forked.

use super::coordinator::{Plan, Ready, serve};
use super::worker::{cores, half_of_memory};
use crate::args::Up;
use crate::exit::Exit;
use crate::output;
use crate::settings::Settings;
use crate::signals::Stop;
use rustix::process::{Pid, Signal, kill_process};
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use windrow_model::{Code, Failure};

/// Where the coordinator listens by default: several clusters fit on one machine.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// A worker that has not registered by then will not.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(30);
/// A worker that was asked to stop is killed after so long.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// What each worker gets.
struct Share {
    slots: u32,
    memory_bytes: u64,
}

/// Runs the cluster until SIGINT or SIGTERM.
pub async fn run(args: Up, settings: Settings) -> Result<Exit, Failure> {
    let section = settings.up;
    let workers = args.workers.or(section.workers.map(|n| n.0)).unwrap_or(1);
    let share = Share {
        slots: args.slots.or(section.slots.map(|n| n.0)).unwrap_or((cores() / workers).max(1)),
        memory_bytes: args
            .memory
            .or(section.memory.map(|m| m.0))
            .map_or_else(|| half_of_memory() / u64::from(workers), |m| m.0),
    };
    let given = args.data_dir.or(section.data_dir);
    let (folder, temporary) = match given {
        Some(folder) => (std::path::absolute(&folder).unwrap_or(folder), None),
        None => {
            let made = tempfile::Builder::new()
                .prefix("windrow-up-")
                .tempdir()
                .map_err(|e| Failure::new(Code::IoError, format!("cannot make a temporary folder: {e}")))?;
            (made.path().to_path_buf(), Some(made))
        }
    };
    let plan = Plan {
        listen: args.listen.or(section.listen).unwrap_or(LISTEN),
        data_dir: folder.join("coordinator"),
        token_file: None,
        tls: None,
        insecure: false,
        lease_ms: windrow_coordinator::Config::LEASE_MS,
        unschedulable_after_ms: windrow_coordinator::Config::UNSCHEDULABLE_AFTER_MS,
        storage_timeout: windrow_coordinator::Config::STORAGE_TIMEOUT,
        orphans: windrow_coordinator::OrphanRule::default(),
        temporary: temporary.is_some(),
    };
    let mut stop = Stop::catch()?;
    let (ready, started) = oneshot::channel();
    let (end, ended) = oneshot::channel::<()>();
    let mut serving = pin!(serve(plan, ready, async {
        // A dropped sender is an end, too.
        let _ = ended.await;
    }));
    let mut children = Vec::new();
    let result = {
        let mut cluster = pin!(cluster(started, &folder, workers, &share, &mut children));
        tokio::select! {
            ended = &mut serving => return ended.map(|()| Exit::Done),
            failed = &mut cluster => failed,
            () = stop.asked() => Ok(()),
        }
    };
    // Workers first: a coordinator that is gone would make them try again.
    tokio::select! {
        ended = &mut serving => ended?,
        () = stop_all(children) => {}
    }
    let _ = end.send(());
    let served = serving.await;
    result?;
    served.map(|()| Exit::Done)
}

/// Starts the workers, waits until all have registered, says so, and then only tells of workers that end.
async fn cluster(
    started: oneshot::Receiver<Ready>,
    folder: &Path,
    workers: u32,
    share: &Share,
    children: &mut Vec<Child>,
) -> Result<(), Failure> {
    let Ok(ready) = started.await else {
        // The coordinator has ended; its own result says why.
        return std::future::pending().await;
    };
    let mut lines = Vec::new();
    for i in 0..workers {
        let (child, stdout) = start(&ready, &folder.join(format!("worker-{i}")), share)?;
        children.push(child);
        lines.push(stdout);
    }
    let registered = async {
        for (i, stdout) in lines.iter_mut().enumerate() {
            registration(i, stdout).await?;
        }
        Ok::<_, Failure>(())
    };
    match tokio::time::timeout(REGISTER_TIMEOUT, registered).await {
        Ok(result) => result?,
        Err(_) => return Err(Failure::new(Code::WorkerLost, "the workers do not register")),
    }
    output::put(&format!("coordinator {}", ready.url))?;
    watch(children, lines).await
}

fn start(ready: &Ready, data_dir: &PathBuf, share: &Share) -> Result<(Child, Lines<BufReader<ChildStdout>>), Failure> {
    let failed = |why: String| Failure::new(Code::IoError, format!("cannot start a worker: {why}"));
    let mut command = Command::new("/proc/self/exe");
    command
        .args(["--no-config", "worker", "--listen", "127.0.0.1:0", "--coordinator", &ready.url])
        .args(["--slots", &share.slots.to_string(), "--memory", &share.memory_bytes.to_string()])
        .args(["--die-with", &std::process::id().to_string()])
        .arg("--token-file")
        .arg(&ready.token_file)
        .arg("--data-dir")
        .arg(data_dir)
        // These would stand in for flags that are not given.
        .env_remove("WINDROW_CONFIG")
        .env_remove("WINDROW_ADVERTISE")
        .env_remove("WINDROW_TLS_CERT")
        .env_remove("WINDROW_TLS_KEY")
        .env_remove("WINDROW_TLS_CA")
        // Ctrl-C is for this process, which stops them in order.
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    if std::env::var_os("WINDROW_LOG").is_none() {
        command.env("WINDROW_LOG", "warn");
    }
    let mut child = command.spawn().map_err(|e| failed(e.to_string()))?;
    let stdout = child.stdout.take().ok_or_else(|| failed("it has no stdout".into()))?;
    Ok((child, BufReader::new(stdout).lines()))
}

/// Waits for the line that names the worker.
async fn registration(i: usize, stdout: &mut Lines<BufReader<ChildStdout>>) -> Result<(), Failure> {
    while let Ok(Some(line)) = stdout.next_line().await {
        if line.starts_with("worker ") {
            return Ok(());
        }
    }
    Err(Failure::new(Code::WorkerLost, format!("worker {i} ended before it registered; see above")))
}

/// Tells of each worker that ends. The others go on: that is what a cluster is for.
async fn watch(children: &mut [Child], mut lines: Vec<Lines<BufReader<ChildStdout>>>) -> Result<(), Failure> {
    let mut ends = children.iter_mut().enumerate().map(|(i, child)| {
        let stdout = lines.remove(0);
        Box::pin(async move {
            // Held open, so that the worker can write to it.
            let _stdout = stdout;
            (i, child.wait().await)
        })
    });
    let mut waiting: Vec<_> = ends.by_ref().collect();
    while !waiting.is_empty() {
        let (i, ended, at) = first(&mut waiting).await;
        drop(waiting.swap_remove(at));
        match ended {
            Ok(status) => output::say(&format!("worker {i} has ended: {status}")),
            Err(e) => output::say(&format!("worker {i} cannot be watched: {e}")),
        }
    }
    std::future::pending().await
}

type Ended = std::io::Result<std::process::ExitStatus>;

/// The first of these that completes, and its position.
async fn first<F: Future<Output = (usize, Ended)> + Unpin>(waiting: &mut [F]) -> (usize, Ended, usize) {
    std::future::poll_fn(|cx| {
        for (at, future) in waiting.iter_mut().enumerate() {
            if let std::task::Poll::Ready((i, ended)) = std::pin::Pin::new(future).poll(cx) {
                return std::task::Poll::Ready((i, ended, at));
            }
        }
        std::task::Poll::Pending
    })
    .await
}

/// Asks every worker to stop, and kills those that do not.
async fn stop_all(children: Vec<Child>) {
    let mut stopping = JoinSet::new();
    for mut child in children {
        let pid = child.id().and_then(|pid| Pid::from_raw(pid as i32));
        if let Some(pid) = pid {
            // It may be gone already.
            let _ = kill_process(pid, Signal::TERM);
        }
        stopping.spawn(async move {
            if tokio::time::timeout(STOP_TIMEOUT, child.wait()).await.is_err() {
                let _ = child.kill().await;
            }
        });
    }
    while stopping.join_next().await.is_some() {}
}
