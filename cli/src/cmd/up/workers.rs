//! The worker processes of `windrow up`: started, restarted when they end, stopped.
//!
//! Everything runs on the thread that polls these futures, which must be the main thread: the kernel's death signal
//! follows the *thread* that forked.

use super::restarts::Restarts;
use crate::cmd::coordinator::Ready;
use crate::output;
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinSet;
use windrow_model::{Code, Failure};

/// Bound on the time until a worker has registered.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(30);
/// A worker that has not stopped by then is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// The share of each worker.
pub(super) struct Share {
    pub slots: u32,
    pub memory_bytes: u64,
}

/// One worker and its settings.
pub(super) struct Worker<'a> {
    pub ready: &'a Ready,
    pub share: &'a Share,
    pub data_dir: PathBuf,
}

type Stdout = Lines<BufReader<ChildStdout>>;

/// Starts this many workers below `folder`, and waits until all have registered. `children` holds the started ones,
/// also after an error.
pub(super) async fn start_all(
    ready: &Ready,
    folder: &Path,
    workers: u32,
    share: &Share,
    children: &mut Vec<Child>,
) -> Result<Vec<Stdout>, Failure> {
    let mut lines = Vec::new();
    for i in 0..workers {
        let (child, stdout) = Worker { ready, share, data_dir: data_dir(folder, i as usize) }.start()?;
        children.push(child);
        lines.push(stdout);
    }
    let registered = async {
        for (i, stdout) in lines.iter_mut().enumerate() {
            if !registration(stdout).await {
                let message = format!("worker {i} ended before it registered; see above");
                return Err(Failure::new(Code::WorkerLost, message));
            }
        }
        Ok(())
    };
    match tokio::time::timeout(REGISTER_TIMEOUT, registered).await {
        Ok(result) => result.map(|()| lines),
        Err(_) => Err(Failure::new(Code::WorkerLost, "the workers do not register")),
    }
}

/// The data folder of a worker.
pub(super) fn data_dir(folder: &Path, i: usize) -> PathBuf {
    folder.join(format!("worker-{i}"))
}

/// Restarts each worker that ends, as long as this is polled.
pub(super) async fn keep_all(ready: &Ready, folder: &Path, share: &Share, children: &mut [Child], lines: Vec<Stdout>) {
    let each = children.iter_mut().zip(lines).enumerate().map(|(i, (child, stdout))| {
        let worker = Worker { ready, share, data_dir: data_dir(folder, i) };
        Box::pin(async move { worker.keep(i, child, stdout).await })
    });
    let mut kept: Vec<Pin<Box<_>>> = each.collect();
    std::future::poll_fn(|cx| {
        // Few futures, each woken rarely.
        kept.retain_mut(|worker| worker.as_mut().poll(cx).is_pending());
        Poll::<()>::Pending
    })
    .await
}

impl Worker<'_> {
    fn start(&self) -> Result<(Child, Stdout), Failure> {
        let failed = |why: String| Failure::new(Code::IoError, format!("cannot start a worker: {why}"));
        let mut command = Command::new("/proc/self/exe");
        command
            .args(["--no-config", "worker", "--listen", "127.0.0.1:0", "--coordinator", &self.ready.url])
            .args(["--slots", &self.share.slots.to_string(), "--memory", &self.share.memory_bytes.to_string()])
            .args(["--die-with", &std::process::id().to_string()])
            .arg("--token-file")
            .arg(&self.ready.token_file)
            .arg("--data-dir")
            .arg(&self.data_dir)
            // These would replace flags that are not given.
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

    /// Runs until the worker has ended by request.
    async fn keep(&self, i: usize, child: &mut Child, mut stdout: Stdout) {
        let beginning = Instant::now();
        let mut restarts = Restarts::new(beginning.elapsed());
        let mut ended = end(child, stdout).await;
        loop {
            let why = match &ended {
                Ok(status) if status.success() => return output::say(&format!("worker {i} has stopped")),
                Ok(status) => status.to_string(),
                Err(e) => e.to_string(),
            };
            let delay = restarts.delay(beginning.elapsed());
            let seconds = delay.as_secs_f64();
            output::say(&format!("worker {i} has ended ({why}): it is started again in {seconds:.1} s"));
            tokio::time::sleep(delay).await;
            restarts.started(beginning.elapsed());
            ended = match self.start() {
                Ok((again, lines)) => {
                    *child = again;
                    stdout = lines;
                    if registration(&mut stdout).await {
                        output::say(&format!("worker {i} is back"));
                    }
                    end(child, stdout).await
                }
                Err(e) => Err(std::io::Error::other(e.message)),
            };
        }
    }
}

/// Waits for the line that names the worker; false if it ends instead.
async fn registration(stdout: &mut Stdout) -> bool {
    while let Ok(Some(line)) = stdout.next_line().await {
        if line.starts_with("worker ") {
            return true;
        }
    }
    false
}

/// Waits for the end of a process.
async fn end(child: &mut Child, stdout: Stdout) -> std::io::Result<ExitStatus> {
    // Held open, so that the worker can write to it.
    let _stdout = stdout;
    child.wait().await
}

/// Asks every worker to stop, and kills those that do not.
pub(super) async fn stop_all(children: Vec<Child>) {
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
