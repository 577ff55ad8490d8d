//! Classifies the end of an executor: its own exit or signal, a kill by this worker, lack of memory, a foreign kill.

use super::place::Seen;
use rustix::process::Pid;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use windrow_attempts::Exit;
use windrow_format::regular_file;
use windrow_model::{AttemptId, ByteSize, Code, Escape, Failure, signal_name};

const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;
/// Exit codes of a dynamic loader that misses a library, and of shells that cannot start a program.
const CANNOT_START: [i32; 2] = [126, 127];

/// Counts of the kernel's out-of-memory kills, and the peak memory of one executor.
#[derive(Debug)]
pub(crate) struct MemoryWatch {
    group: Option<PathBuf>,
    kills_before: u64,
    peak_bytes: u64,
    /// Limit of the executor alone.
    own_limit_bytes: Option<u64>,
}

impl MemoryWatch {
    /// Takes the current counts.
    pub(crate) fn start(own_limit_bytes: Option<u64>) -> Self {
        let group = own_cgroup();
        let kills_before = kills(group.as_ref());
        MemoryWatch { group, kills_before, peak_bytes: 0, own_limit_bytes }
    }

    /// Samples the peak memory of the process.
    pub(crate) fn sample(&mut self, pid: Pid) {
        let Ok(status) = regular_file::read_note(format!("/proc/{}/status", pid.as_raw_nonzero())) else { return };
        if let Some(kib) = field(&status, "VmHWM:") {
            self.peak_bytes = self.peak_bytes.max(kib * 1024);
        }
    }

    /// Limit and peak, if the kernel has killed for lack of memory since the start.
    fn verdict(&self) -> Option<String> {
        let limit = self.limit_bytes()?;
        let near = self.peak_bytes >= limit - limit / 20;
        if kills(self.group.as_ref()) <= self.kills_before && !near {
            return None;
        }
        Some(self.numbers(limit))
    }

    fn numbers(&self, limit: u64) -> String {
        let peak = match self.peak_bytes {
            0 => "not measured".to_string(),
            bytes => ByteSize(bytes).to_string(),
        };
        format!("limit {}, peak of the job's process {peak}", ByteSize(limit))
    }

    /// The limit that an allocation ran into, and the peak.
    fn own_limit(&self) -> String {
        match self.own_limit_bytes.or_else(|| self.limit_bytes()) {
            Some(limit) => self.numbers(limit),
            None => "no limit is known".to_string(),
        }
    }

    fn limit_bytes(&self) -> Option<u64> {
        let read = |name| regular_file::read_note(self.group.as_ref()?.join(name)).ok()?.trim().parse().ok();
        let machine = || Some(field(&regular_file::read_note("/proc/meminfo").ok()?, "MemTotal:")? * 1024);
        match (read("memory.max"), machine()) {
            (Some(group), Some(machine)) => Some(u64::min(group, machine)),
            (group, machine) => group.or(machine),
        }
    }
}

/// The number behind a name at the start of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|l| l.strip_prefix(name))?.split_ascii_whitespace().next()?.parse().ok()
}

/// The control group (version 2) that counts the memory of this process and its executors: its own, or the nearest
/// ancestor that does.
fn own_cgroup() -> Option<PathBuf> {
    const ROOT: &str = "/sys/fs/cgroup";
    let text = regular_file::read_note("/proc/self/cgroup").ok()?;
    let path = text.lines().find_map(|l| l.strip_prefix("0::"))?;
    let own = PathBuf::from(ROOT).join(path.trim_start_matches('/'));
    let groups = own.ancestors().take_while(|group| group.starts_with(ROOT));
    groups.into_iter().find(|group| group.join("memory.events").exists()).map(PathBuf::from)
}

/// Kills in this group, or on the whole machine where groups have no counts.
fn kills(group: Option<&PathBuf>) -> u64 {
    let of_group = group.and_then(|g| field(&regular_file::read_note(g.join("memory.events")).ok()?, "oom_kill "));
    let of_machine = || field(&regular_file::read_note("/proc/vmstat").ok()?, "oom_kill ");
    of_group.or_else(of_machine).unwrap_or(0)
}

/// Classifies the end of an executor. `killed_by_worker`: this worker killed it or asked it to end.
pub(crate) fn explain(
    status: ExitStatus,
    was_ready: bool,
    killed_by_worker: bool,
    memory: &MemoryWatch,
    stderr_tail: String,
) -> Exit {
    let (code, message, self_inflicted) = match (status.code(), status.signal()) {
        _ if killed_by_worker => (Code::Cancelled, "the worker ended the job's process".to_string(), false),
        (Some(n), _) if CANNOT_START.contains(&n) && !was_ready => {
            (Code::ExecFailed, "the job's binary does not start; `ldd` shows what is missing".to_string(), true)
        }
        (Some(0), _) => {
            let when = if was_ready { "before its task was done" } else { "before it was ready for tasks" };
            (Code::ExecutorCrashed, format!("the job's process exited with code 0 {when}"), true)
        }
        (Some(n), _) => (Code::ExecutorCrashed, format!("the job's process exited with code {n}"), true),
        (_, Some(SIGABRT)) if stderr_tail.contains("memory allocation of") => {
            (Code::OutOfMemory, format!("the job's process could not allocate memory ({})", memory.own_limit()), true)
        }
        (_, Some(SIGKILL)) => match memory.verdict() {
            Some(numbers) => (Code::OutOfMemory, format!("the job's process ran out of memory ({numbers})"), false),
            None => {
                let message = "the job's process was killed by SIGKILL, which this worker did not send";
                (Code::ExecutorCrashed, message.to_string(), false)
            }
        },
        (_, Some(n)) => (Code::ExecutorCrashed, format!("the job's process was killed by {}", signal_name(n)), true),
        _ => (Code::ExecutorCrashed, format!("the job's process ended: {status}"), true),
    };
    Exit {
        failure: Failure { stderr_tail: stderr_tail.into(), ..Failure::new(code, message) },
        self_inflicted,
        killed_by_worker,
        guilty: None,
        stuck: false,
    }
}

/// Adds the process's last crumb: which attempt's thread got the signal or called `exit`, and at which record. A
/// process that lacked memory or processes, or was killed from outside, blames no attempt: the last one to ask is not
/// at fault.
pub(crate) fn blame(mut exit: Exit, attempt: AttemptId, seen: Option<Seen>) -> Exit {
    if exit.killed_by_worker
        || !exit.self_inflicted
        || [Code::OutOfMemory, Code::TooManyProcesses].contains(&exit.failure.code)
    {
        return exit;
    }
    exit.guilty = Some(attempt);
    if let Some(Seen { record, shrunk_from }) = seen {
        if let Some(file_bytes) = shrunk_from {
            exit.failure.code = Code::InputChanged;
            exit.failure.message = format!(
                "{} has become shorter than the {file_bytes} B that it had at first: {}",
                record.file.escaped(),
                exit.failure.message
            );
        }
        exit.failure.place = Some(record);
    }
    exit
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(wait_status: i32, stderr: &str) -> Exit {
        let memory = MemoryWatch { group: None, kills_before: u64::MAX, peak_bytes: 0, own_limit_bytes: None };
        explain(ExitStatus::from_raw(wait_status), true, false, &memory, stderr.to_string())
    }

    #[test]
    fn exit_reasons_are_distinguished() {
        assert!(end(11, "").failure.message.contains("SIGSEGV"));
        assert!(end(3 << 8, "").failure.message.contains("code 3"));
        assert!(end(0, "").failure.message.contains("before its task was done"));
        assert!(end(11, "").self_inflicted && !end(9, "").self_inflicted);
        assert_eq!(end(6, "memory allocation of 10 bytes failed").failure.code, Code::OutOfMemory);
        assert_eq!(end(127 << 8, "").failure.code, Code::ExecutorCrashed, "once ready, it had been started");
        assert_eq!(&*end(1 << 8, "last words").failure.stderr_tail, "last words");
    }

    #[test]
    fn a_kill_for_want_of_memory_names_limit_and_peak() {
        let memory = MemoryWatch { group: None, kills_before: 0, peak_bytes: u64::MAX / 2, own_limit_bytes: None };
        let exit = explain(ExitStatus::from_raw(9), true, false, &memory, String::new());
        assert_eq!(exit.failure.code, Code::OutOfMemory);
        assert!(exit.failure.message.contains("limit") && exit.failure.message.contains("peak"));
        assert!(!exit.self_inflicted, "no attempt can be named");
    }
}
