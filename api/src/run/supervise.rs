//! Runs a local job under a guardian process, so that no end of the process with user code is silent.
//!
//! [`guarded`] forks before any thread is started. The child runs the job; the parent waits for it. If the child is
//! killed by a signal, or user code calls `exit`, the parent reports the cause with the record
//! (`windrow_engine::blame`), removes the run's staged files (`CLEANUP`), and ends with the exit code of a failed job.
//! Signals sent to the parent alone are passed on, and the child dies with its parent. Unless the run succeeds, the
//! parent also kills all processes that the run has started (`orphans.rs`).

mod orphans;

use crate::error::{Error, Result};
use crate::report::job_json;
use crate::report::warning::warn;
use crate::run::end::{self, print_failure};
use orphans::Family;
use rustix::process::Signal;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};
use windrow_format::crumbs;
use windrow_model::{Code, Failure, JobState, JobStatus, signal_name};
use windrow_store::Outputs;

/// Signals that ask the whole run to end.
const PASSED_ON: [i32; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT];

/// Process id of the child, for the parent's signal handler.
static CHILD: AtomicI32 = AtomicI32::new(0);
/// List of paths to remove if this process dies.
static CLEANUP: OnceLock<File> = OnceLock::new();
/// Latest statuses of the jobs, if the end is reported as JSON.
static STATUS: OnceLock<File> = OnceLock::new();

/// Adds a file or folder to the paths that are removed if this process dies.
pub(crate) fn remove_on_crash(path: &Path) {
    let Some(mut file) = CLEANUP.get() else { return };
    let mut line = path.as_os_str().as_bytes().to_vec();
    line.push(0);
    // If the write fails, the path is left behind after a crash, which is harmless.
    let _ = file.write_all(&line);
}

/// The JSON document that is printed for an end that the run cannot report itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JsonEnd {
    /// The job.
    Job,
    /// The driver, with its jobs.
    Driver,
}

/// Records the statuses of the jobs in case this process dies: the last one is running, or has ended last.
pub(crate) fn note_statuses(statuses: &[JobStatus]) {
    let Some(file) = STATUS.get() else { return };
    // A partial write does not parse; the report then lacks these statuses.
    if let Ok(text) = serde_json::to_vec(statuses) {
        let _ = file.set_len(0);
        let _ = file.write_all_at(&text, 0);
    }
}

/// Runs `run` in a child process and returns its exit code; in this process if other threads exist already, which a
/// fork would lose, or if the fork fails. With `json`, an end that the child cannot report is also printed to stdout.
pub(crate) fn guarded(json: Option<JsonEnd>, run: impl FnOnce() -> ExitCode) -> ExitCode {
    // First, because the limit applies to the memory files below. The child inherits the handler.
    if let Err(e) = windrow_engine::file_limit::survive() {
        warn(&format!("a limit on the size of files will end this process: {e}"));
    }
    let alone = std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1);
    let (Ok(region), Ok(cleanup), Ok(status)) = (crumbs::region(), memory_file(), memory_file()) else { return run() };
    if !alone {
        return run();
    }
    let parent = rustix::process::getpid();
    // SAFETY: this process has one thread, so the child's memory is as consistent as its parent's.
    match unsafe { libc::fork() } {
        -1 => run(),
        0 => {
            let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
            if rustix::process::getppid() != Some(parent) {
                std::process::exit(Code::Interrupted.exit_code().into());
            }
            if let Err(e) = windrow_engine::blame::install(&region) {
                warn(&format!("a crash will be reported without its record: {e}"));
            }
            // The first calls in this process.
            let _ = CLEANUP.set(cleanup);
            if json.is_some() {
                let _ = STATUS.set(status);
            }
            let code = run();
            windrow_engine::blame::ended();
            code
        }
        child => {
            let family = orphans::adopt(child);
            CHILD.store(child, Ordering::Relaxed);
            pass_signals_on();
            ended(child, &family, &region, &cleanup).unwrap_or_else(|e| {
                print_failure(e.failure());
                if let Some(json) = json {
                    // The run has failed anyway.
                    let _ = end::print_json(&end_json(json, e.failure(), &status));
                }
                ExitCode::from(e.code().exit_code())
            })
        }
    }
}

fn memory_file() -> io::Result<File> {
    Ok(File::from(rustix::fs::memfd_create(c"windrow-cleanup", rustix::fs::MemfdFlags::CLOEXEC)?))
}

/// The latest status of the job with this end; only the end if the job had not begun or had ended.
fn end_json(json: JsonEnd, failure: &Failure, noted: &File) -> serde_json::Value {
    let read = || {
        let mut text = vec![0; noted.metadata().ok()?.len() as usize];
        noted.read_exact_at(&mut text, 0).ok()?;
        serde_json::from_slice::<Vec<JobStatus>>(&text).ok()
    };
    let mut statuses = read().unwrap_or_default();
    let cut_off = statuses.last_mut().filter(|status| !status.state.is_final()).map(|status| {
        status.state = match failure.code {
            Code::Interrupted => JobState::Cancelled,
            _ => JobState::Failed,
        };
        status.error = Some(failure.clone());
        status.waiting = None;
        status.tasks.running = 0;
        status.stages.iter_mut().for_each(|stage| stage.tasks.running = 0);
        job_json(status)
    });
    match json {
        JsonEnd::Job => cut_off.unwrap_or_else(|| end::no_job_json(failure)),
        JsonEnd::Driver => end::driver_json(&statuses, Some(failure)),
    }
}

/// Passes signals on that the child does not get itself.
fn pass_signals_on() {
    extern "C" fn pass_on(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // SAFETY: `info` is valid in a handler that was set with SA_SIGINFO. `kill` may be called in a handler; the
        // process id is cleared right after the child has been waited for, so no other process has it. Signals from a
        // terminal (a positive code) go to the whole group anyway.
        unsafe {
            let child = CHILD.load(Ordering::Relaxed);
            if (*info).si_code <= 0 && child > 0 {
                libc::kill(child, signal);
            }
        }
    }
    let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = pass_on;
    for signal in PASSED_ON {
        // SAFETY: all fields are set or zero, which is valid; the handler is async-signal-safe and has the signature
        // that SA_SIGINFO requires. If the call fails, the signal has its default effect, and the child dies with its
        // parent.
        unsafe {
            let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
            action.sa_sigaction = handler as libc::sighandler_t;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
            libc::sigaction(signal, &action, ptr::null_mut());
        }
    }
}

/// Waits for the child; reports an end that was not intended.
fn ended(child: i32, family: &Family, region: &File, cleanup: &File) -> Result<ExitCode> {
    let status = wait_for(child)?;
    CHILD.store(0, Ordering::Relaxed);
    if !(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0) {
        family.kill();
    }
    let last = crumbs::read_region(region)?;
    let intended = last.as_ref().is_none_or(|last| last.ended);
    if libc::WIFEXITED(status) && intended {
        return Ok(ExitCode::from(libc::WEXITSTATUS(status) as u8));
    }
    clean(cleanup)?;
    let (mut code, message) = if libc::WIFEXITED(status) {
        (Code::ExecutorCrashed, format!("the job's own code called exit({})", libc::WEXITSTATUS(status)))
    } else {
        match libc::WTERMSIG(status) {
            signal if PASSED_ON.contains(&signal) => (Code::Interrupted, "interrupted".to_string()),
            libc::SIGKILL => (
                Code::OutOfMemory,
                "the process was killed by SIGKILL: it ran out of memory, or another process killed it".to_string(),
            ),
            signal => (Code::ExecutorCrashed, format!("the job's own code was killed by {}", signal_name(signal))),
        }
    };
    let place = last.and_then(|last| last.at).and_then(|(_, place)| place);
    if place.as_ref().is_some_and(|p| std::fs::metadata(&p.file).is_ok_and(|now| now.len() < p.file_bytes)) {
        code = Code::InputChanged;
    }
    let place = place.map(|p| windrow_store::record_place(p.file, p.offset));
    Err(Error::from_failure(Failure { place, ..Failure::new(code, message) }))
}

/// Waits for the child, and for adopted processes that end before it.
fn wait_for(child: i32) -> io::Result<i32> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is a valid place for the answer.
        match unsafe { libc::waitpid(-1, &mut status, 0) } {
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            -1 => return Err(io::Error::last_os_error()),
            ended if ended == child => return Ok(status),
            _ => {}
        }
    }
}

/// Removes the recorded paths that the child has not removed itself.
fn clean(cleanup: &File) -> io::Result<()> {
    let mut paths = vec![0; cleanup.metadata()?.len() as usize];
    cleanup.read_exact_at(&mut paths, 0)?;
    for path in paths.split(|b| *b == 0).filter(|path| !path.is_empty()) {
        let path = PathBuf::from(OsStr::from_bytes(path));
        let outputs = Outputs::default();
        if let Err(e) = outputs.of_area(&path).and_then(|kind| kind.remove(&path)) {
            warn(&format!("temporary files stay: {}", e.message));
        }
    }
    Ok(())
}
