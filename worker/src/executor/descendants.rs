//! Everything that an executor has started, directly or not: found and killed, also what left its process group.
//!
//! An executor leads a session of its own and has a mark in its environment, and its descendants inherit both. One that
//! starts a session keeps the mark; one that clears its environment is still in the session, or below a process that is
//! found. Only a process that does both and whose parent is gone is not found. Looks at `/proc`: without it, the process
//! group is all that is killed.

use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use windrow_model::WorkerId;

/// The variable that marks an executor and all that it starts.
pub const VARIABLE: &str = "WINDROW_EXECUTOR";
/// Killing is repeated until nothing is found: what is starting processes faster than that is met by its own kill.
const ROUNDS_MAX: u32 = 1_000;

/// What an executor of this worker has in its environment; no two have the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark(String);

impl Mark {
    /// A new one.
    pub fn new(worker: WorkerId) -> Mark {
        Mark(format!("{worker}/{}", uuid::Uuid::new_v4().simple()))
    }

    /// The variable's value.
    pub fn value(&self) -> &str {
        &self.0
    }
}

/// A process, as `/proc/PID/stat` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    pid: Pid,
    parent: i32,
    session: i32,
    zombie: bool,
    /// In ticks since the machine started: with the number, it names the process.
    started: u64,
}

/// Kills whatever the executor `pid` with this mark has started and still runs; the executor itself is the caller's.
pub fn kill(pid: Pid, mark: &Mark) {
    let own = pid.as_raw_nonzero().get();
    kill_all(|p, all| {
        p.pid != pid
            && (p.session == own || is_below(p, own, all) || has_mark(p.pid, &format!("{VARIABLE}={}", mark.0)))
    });
}

/// Kills what executors of this worker's earlier lives have left. Its data folder must be locked: no other life runs.
pub fn kill_leftovers(worker: WorkerId) {
    let beginning = format!("{VARIABLE}={worker}/");
    // A session of one of them was begun by an executor or something below it, so all of it is.
    let marked = processes().into_iter().filter(|p| has_mark(p.pid, &beginning));
    let own = stat(getpid()).map(|p| p.session);
    let sessions: BTreeSet<i32> = marked.map(|p| p.session).filter(|s| Some(*s) != own).collect();
    kill_all(|p, _| sessions.contains(&p.session) || has_mark(p.pid, &beginning));
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
        // The killed need a moment to go.
        std::thread::yield_now();
    }
    tracing::warn!("{} processes of a job were killed, and there are still more", killed.len());
}

/// The number may mean another process by now: the pidfd holds on to one, and then it is looked at again.
fn kill_one(process: &Stat) -> bool {
    let Ok(pidfd) = pidfd_open(process.pid, PidfdFlags::empty()) else { return false };
    let same = stat(process.pid).is_some_and(|now| now.started == process.started);
    same && pidfd_send_signal(&pidfd, Signal::KILL).is_ok()
}

/// Kills a process if it lives and is in the control group with this folder; says whether it was so.
pub(super) fn kill_member(pid: i32, group: &Path) -> bool {
    let Some(pid) = Pid::from_raw(pid) else { return false };
    let Some(name) = group.file_name().map(|name| format!("/{}", name.to_string_lossy())) else { return false };
    let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
    let is_there = stat(pid).is_some_and(|now| !now.zombie)
        && fs::read_to_string(format!("/proc/{pid}/cgroup"))
            .is_ok_and(|groups| groups.lines().any(|group| group.ends_with(&name)));
    is_there && pidfd_send_signal(&pidfd, Signal::KILL).is_ok()
}

/// Whether a chain of parents leads to `ancestor`.
fn is_below(process: &Stat, ancestor: i32, all: &[Stat]) -> bool {
    let mut parent = process.parent;
    // Parents may change while we look, so that there might be a loop.
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
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may hold anything, also blanks and brackets.
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

/// Whether its environment has a variable that begins so. Those of other users cannot be looked at, and are not ours.
fn has_mark(pid: Pid, beginning: &str) -> bool {
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|b| *b == 0).any(|variable| variable.starts_with(beginning.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::process::{Child, Command, Stdio};

    /// A shell that has started a process in a session of its own and one without environment, and says so.
    fn family(mark: &Mark) -> Child {
        let script = "setsid sleep 1000 & env -i sleep 1000 & echo started; read nothing";
        let mut command = Command::new("setsid");
        command
            .args(["--wait", "sh", "-c", script])
            .env(VARIABLE, mark.value())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        command.spawn().unwrap()
    }

    fn marked(worker: WorkerId) -> usize {
        let beginning = format!("{VARIABLE}={worker}/");
        processes().iter().filter(|p| !p.zombie && has_mark(p.pid, &beginning)).count()
    }

    /// The number once it stays: what was just forked still has the environment that it is about to clear.
    fn settled(worker: WorkerId) -> usize {
        let (mut last, mut same) = (marked(worker), 0);
        while same < 20 {
            std::thread::sleep(std::time::Duration::from_millis(10));
            let now = marked(worker);
            same = if now == last { same + 1 } else { 0 };
            last = now;
        }
        last
    }

    #[test]
    fn everything_that_carries_the_mark_is_killed_and_nothing_else() {
        let [ours, others] = [(); 2].map(|()| WorkerId(uuid::Uuid::now_v7()));
        let mut families = [ours, others].map(|worker| family(&Mark::new(worker)));
        for child in &mut families {
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        }
        assert!(settled(ours) >= 2);
        let before = settled(others);
        assert!(before >= 2);
        kill_leftovers(ours);
        assert_eq!((marked(ours), marked(others)), (0, before));
        let pid = Pid::from_child(&families[1]);
        kill(pid, &Mark(format!("{others}/no-such-mark")));
        assert_eq!(marked(others), 1, "all below it, and not itself: its mark is another");
        families.iter_mut().for_each(|child| {
            let _ = child.kill();
            let _ = child.wait();
        });
        kill_leftovers(others);
        assert_eq!(marked(others), 0);
    }

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let own = stat(getpid()).unwrap();
        assert_eq!(own.parent, rustix::process::getppid().unwrap().as_raw_nonzero().get());
        assert!(!own.zombie && own.started > 0);
    }
}
