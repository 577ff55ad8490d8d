//! Finds and kills every descendant of an executor, including those outside its process group.
//!
//! An executor leads a session of its own and has a mark in its environment, and its descendants inherit both. A
//! descendant that starts a session keeps the mark; one that clears its environment stays in the session, or below a
//! process that is found. Only a process that does both and whose parent is gone escapes. The search reads `/proc`:
//! without it, only the process group is killed.

use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use windrow_format::regular_file;
use windrow_model::WorkerId;

/// The variable that marks an executor and all that it starts.
pub(crate) use windrow_model::environment::EXECUTOR_VARIABLE as VARIABLE;
/// Bound on rounds of killing; they stop as soon as nothing is found.
const ROUNDS_MAX: u32 = 1_000;

/// The value that marks one executor in its environment; unique.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark(String);

impl Mark {
    /// The variable's value.
    pub(crate) fn value(&self) -> &str {
        &self.0
    }
}

/// The marks of the executors of one worker process; those of its other incarnations differ.
#[derive(Clone, Debug)]
pub(crate) struct Marks {
    worker: WorkerId,
    process: uuid::Uuid,
}

impl Marks {
    /// Marks for a new process of this worker.
    pub(crate) fn new(worker: WorkerId) -> Marks {
        Marks { worker, process: uuid::Uuid::new_v4() }
    }

    /// A new unique mark.
    pub(crate) fn next(&self) -> Mark {
        Mark(format!("{}/{}/{}", self.worker, self.process.simple(), uuid::Uuid::new_v4().simple()))
    }

    /// Kills the descendants that executors of earlier incarnations left; executors of this one may run meanwhile. The
    /// worker's data folder must be locked, so that no other incarnation runs.
    pub(crate) fn kill_leftovers(&self) {
        let workers = format!("{VARIABLE}={}/", self.worker);
        let this_process = format!("{workers}{}/", self.process.simple());
        let is_left =
            |pid| has_variable(pid, |v| v.starts_with(workers.as_bytes()) && !v.starts_with(this_process.as_bytes()));
        // Such a session was begun by an executor or a descendant, so every process in it belongs to them.
        let left = processes().into_iter().filter(|p| is_left(p.pid));
        let own = stat(getpid()).map(|p| p.session);
        let sessions: BTreeSet<i32> = left.map(|p| p.session).filter(|s| Some(*s) != own).collect();
        // After a session is gone a new executor may get its number.
        kill_all(|p, _| {
            is_left(p.pid)
                || sessions.contains(&p.session) && !has_variable(p.pid, |v| v.starts_with(this_process.as_bytes()))
        });
    }
}

/// A process, from `/proc/PID/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    pid: Pid,
    parent: i32,
    session: i32,
    zombie: bool,
    /// In ticks since boot: identifies the process together with its number.
    started: u64,
}

/// Kills the running descendants of the executor `pid` with this mark, but not the executor itself.
pub(crate) fn kill(pid: Pid, mark: &Mark) {
    let own = pid.as_raw_nonzero().get();
    let marked = format!("{VARIABLE}={}", mark.0);
    kill_all(|p, all| {
        p.pid != pid && (p.session == own || is_below(p, own, all) || has_variable(p.pid, |v| v == marked.as_bytes()))
    });
}

fn kill_all(belongs: impl Fn(&Stat, &[Stat]) -> bool) {
    let mut killed: BTreeSet<(i32, u64)> = BTreeSet::new();
    for _ in 0..ROUNDS_MAX {
        let all = processes();
        let living = all.iter().filter(|p| !p.zombie && p.pid != getpid() && belongs(p, &all));
        let mut found = false;
        for process in living {
            found = true;
            if kill_one(process) {
                killed.insert((process.pid.as_raw_nonzero().get(), process.started));
            }
        }
        if !found {
            return;
        }
        // Killed processes need a moment to end.
        std::thread::yield_now();
    }
    tracing::warn!("{} processes of a job were killed, and there are still more", killed.len());
}

/// The number may have been reused: the pidfd pins one process, which is then checked again.
fn kill_one(process: &Stat) -> bool {
    let Ok(pidfd) = pidfd_open(process.pid, PidfdFlags::empty()) else { return false };
    let same = stat(process.pid).is_some_and(|now| now.started == process.started);
    same && pidfd_send_signal(&pidfd, Signal::KILL).is_ok()
}

/// Kills a process if it lives and is in the control group with this folder; returns whether it was.
pub(super) fn kill_member(pid: i32, group: &Path) -> bool {
    let Some(pid) = Pid::from_raw(pid) else { return false };
    let Some(name) = group.file_name().map(|name| format!("/{}", name.to_string_lossy())) else { return false };
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
    let is_there = stat(pid).is_some_and(|now| !now.zombie)
        && regular_file::read_note(format!("/proc/{pid}/cgroup"))
            .is_ok_and(|groups| groups.lines().any(|group| group.ends_with(&name)));
    is_there && pidfd_send_signal(&pidfd, Signal::KILL).is_ok()
}

/// Whether a chain of parents leads to `ancestor`.
fn is_below(process: &Stat, ancestor: i32, all: &[Stat]) -> bool {
    let mut parent = process.parent;
    // Parents may change during the search, so there might be a loop.
    for _ in 0..all.len() {
        if parent == ancestor {
            return true;
        }
        let at = all.binary_search_by_key(&parent, |p| p.pid.as_raw_nonzero().get());
        match at {
            Ok(at) => parent = all[at].parent,
            Err(_) => return false,
        }
    }
    false
}

/// By number.
fn processes() -> Vec<Stat> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|e| Pid::from_raw(e.file_name().to_str()?.parse().ok()?));
    let mut all: Vec<Stat> = pids.filter_map(stat).collect();
    all.sort_by_key(|p| p.pid.as_raw_nonzero().get());
    all
}

fn stat(pid: Pid) -> Option<Stat> {
    let text = regular_file::read_note(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold any bytes, including blanks and brackets.
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    Some(Stat {
        pid,
        zombie: matches!(*fields.first()?, "Z" | "X"),
        parent: fields.get(1)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

/// Whether its environment has such a variable. Environments of other users' processes are unreadable, and do not
/// match.
fn has_variable(pid: Pid, is_it: impl Fn(&[u8]) -> bool) -> bool {
    let environment = Path::new("/proc").join(pid.to_string()).join("environ");
    let environment = regular_file::read(&environment, ENVIRONMENT_BYTES_MAX).unwrap_or_default();
    environment.split(|b| *b == 0).any(is_it)
}

/// More than the system allows for the arguments and the environment of a process, so that none hides its mark.
const ENVIRONMENT_BYTES_MAX: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command, Stdio};

    /// A shell that has started a process in a session of its own and one without an environment. All end with this.
    struct Family {
        child: Child,
        worker: WorkerId,
    }

    impl Family {
        fn of(marks: &Marks) -> Family {
            let script = "setsid sleep 1000 & env -i sleep 1000 & echo started; read nothing";
            let mut command = Command::new("setsid");
            command
                .args(["--wait", "sh", "-c", script])
                .env(VARIABLE, marks.next().value())
                .stdin(Stdio::piped())
                .stdout(Stdio::piped());
            let mut family = Family { child: command.spawn().unwrap(), worker: marks.worker };
            let mut line = String::new();
            BufReader::new(family.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            family
        }
    }

    impl Drop for Family {
        fn drop(&mut self) {
            // Before the shell is killed: the one without an environment is found through it.
            Marks::new(self.worker).kill_leftovers();
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    /// Number of processes with a mark of this incarnation.
    fn marked(marks: &Marks) -> usize {
        let beginning = format!("{VARIABLE}={}/{}/", marks.worker, marks.process.simple());
        let is_it = |variable: &[u8]| variable.starts_with(beginning.as_bytes());
        processes().iter().filter(|p| !p.zombie && has_variable(p.pid, is_it)).count()
    }

    /// The number once it is stable: a process that was just forked still has the environment that it is about to
    /// clear.
    fn settled(marks: &Marks) -> usize {
        let (mut last, mut same) = (marked(marks), 0);
        while same < 20 {
            std::thread::sleep(std::time::Duration::from_millis(10));
            let now = marked(marks);
            same = if now == last { same + 1 } else { 0 };
            last = now;
        }
        last
    }

    #[test]
    fn only_processes_of_earlier_incarnations_are_killed() {
        let [ours, others] = [(); 2].map(|()| WorkerId(uuid::Uuid::now_v7()));
        let [earlier, this, other] = [ours, ours, others].map(Marks::new);
        let families = [&earlier, &this, &other].map(Family::of);
        let before = [&this, &other].map(settled);
        assert!(settled(&earlier) >= 2 && before.iter().all(|n| *n >= 2));
        this.kill_leftovers();
        assert_eq!((marked(&earlier), [&this, &other].map(marked)), (0, before));
        kill(Pid::from_child(&families[2].child), &Mark(format!("{others}/no-such-mark")));
        assert_eq!(marked(&other), 1, "all below it, and not itself: its mark is another");
        drop(families);
        assert_eq!([&this, &other].map(marked), [0, 0]);
    }

    #[test]
    fn process_name_does_not_break_parsing() {
        let own = stat(getpid()).unwrap();
        assert_eq!(own.parent, rustix::process::getppid().unwrap().as_raw_nonzero().get());
        assert!(!own.zombie && own.started > 0);
    }
}
