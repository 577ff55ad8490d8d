//! A control group for each executor, where this worker may make them (`hierarchy.rs`): it bounds the number of
//! processes, and kills all of them at once.
//!
//! An executor enters its group before it executes the job's binary, so that all descendants are born in the group.
//! Threads count as processes. There is no memory limit: the pages of mapped files count for the group that touches
//! them first, and a job's inputs and shuffle data are mapped, so a limit would measure memory that the kernel may drop
//! at any time.

use super::descendants::kill_member;
use super::hierarchy;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;
use windrow_format::durable::{self, Durability};
use windrow_format::regular_file;
use windrow_model::{Escape, WorkerId};

/// Bound on the wait for killed processes to leave their group.
const ROUNDS_MAX: u32 = 2_000;
const ROUND: Duration = Duration::from_millis(2);

/// Prefix of the groups of all workers.
const ANYBODYS: &str = "windrow-";
/// An executor enters its group right after it was made; an older empty group is abandoned.
const ENTERED_WITHIN: Duration = Duration::from_secs(60);

/// Makes groups for the executors of one worker.
#[derive(Debug)]
pub(crate) struct Groups {
    base: PathBuf,
    /// Prefix of this worker's group names.
    prefix: String,
    processes_max: u32,
}

impl Groups {
    /// Groups of at most `processes_max` processes each, and the groups that earlier incarnations of the worker left:
    /// dropping one kills its processes. No other incarnation may run. Returns the reason where groups cannot be made.
    ///
    /// `note` is a file with the base of the groups that were made last: a worker that was started elsewhere then
    /// (another session, another service) had its groups below another base.
    pub(crate) fn find(worker: WorkerId, processes_max: u32, note: &Path) -> (Result<Groups, String>, Vec<Group>) {
        let before = regular_file::read(note, regular_file::NOTE_BYTES_MAX)
            .map(|bytes| PathBuf::from(OsString::from_vec(bytes)));
        let base = hierarchy::base();
        let bases: BTreeSet<PathBuf> = base.iter().cloned().chain(before).collect();
        let left = bases.iter().flat_map(|base| own_in(base, &prefix(worker))).collect();
        let groups = base.and_then(|base| Groups::below(base, worker, processes_max));
        if let Ok(groups) = &groups
            && let Err(e) = durable::write_private(note, groups.base.as_os_str().as_bytes(), Durability::NoSync)
        {
            tracing::warn!("cannot note in {} where control groups are made: {e}", note.escaped());
        }
        (groups, left)
    }

    fn below(base: PathBuf, worker: WorkerId, processes_max: u32) -> Result<Groups, String> {
        let wrong = |e: io::Error| format!("cannot make control groups in {}: {e}", base.escaped());
        let prefix = prefix(worker);
        for entry in fs::read_dir(&base).map_err(wrong)? {
            let entry = entry.map_err(wrong)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(ANYBODYS) && !name.starts_with(&prefix) && is_old(&entry) {
                // Left by a worker that was killed and did not return. A group with processes cannot be removed.
                let _ = fs::remove_dir(entry.path());
            }
        }
        let groups = Groups { base: base.clone(), prefix, processes_max };
        // Only a trial shows whether it works.
        drop(groups.make().map_err(wrong)?);
        Ok(groups)
    }

    /// A group without processes.
    pub(crate) fn make(&self) -> io::Result<Group> {
        let folder = self.base.join(format!("{}{}", self.prefix, uuid::Uuid::new_v4().simple()));
        fs::create_dir(&folder)?;
        let group = Group { folder, processes_max: self.processes_max, removed: false };
        fs::write(group.folder.join("pids.max"), self.processes_max.to_string())?;
        Ok(group)
    }
}

fn prefix(worker: WorkerId) -> String {
    format!("{ANYBODYS}{worker}.")
}

/// The groups in a folder whose names begin with this worker's prefix.
fn own_in(base: &Path, prefix: &str) -> Vec<Group> {
    let entries = fs::read_dir(base).into_iter().flatten().flatten();
    let own = entries.filter(|e| e.file_name().as_bytes().starts_with(prefix.as_bytes()));
    own.map(|e| Group { folder: e.path(), processes_max: 0, removed: false }).collect()
}

fn is_old(entry: &fs::DirEntry) -> bool {
    let made = entry.metadata().and_then(|m| m.modified());
    made.is_ok_and(|made| made.elapsed().is_ok_and(|age| age > ENTERED_WITHIN))
}

/// A group; dropping it kills every process in it.
#[derive(Debug)]
pub(crate) struct Group {
    folder: PathBuf,
    processes_max: u32,
    removed: bool,
}

impl Group {
    /// A single-threaded process that writes `0` here is in the group from then on.
    pub(crate) fn entrance(&self) -> io::Result<File> {
        let open = |name| regular_file::open_with(File::options().write(true), &self.folder.join(name));
        // Version 1 lets a single thread enter, which saves a grace period of the kernel: 3 to 15 ms.
        open("tasks").or_else(|_| open("cgroup.procs"))
    }

    /// The limit, if a process could not be started because the group was full.
    pub(crate) fn was_full(&self) -> Option<u32> {
        let events = regular_file::read_note(self.folder.join("pids.events")).ok()?;
        let refused = events.lines().find_map(|line| line.strip_prefix("max "))?.trim();
        (refused != "0").then_some(self.processes_max)
    }

    /// Kills every process in the group; none can be started there from then on.
    pub(crate) fn kill(&self) {
        // Atomic in version 2 from Linux 5.14 on.
        let at_once = fs::write(self.folder.join("cgroup.kill"), "1").is_ok();
        // Otherwise one by one, while the limit prevents new ones.
        let _ = fs::write(self.folder.join("pids.max"), "0");
        for _ in 0..ROUNDS_MAX {
            let living = self.members().filter(|pid| kill_member(*pid, &self.folder)).count();
            if living == 0 {
                return;
            }
            if at_once {
                thread::sleep(ROUND);
            }
        }
        tracing::warn!("processes in {} were killed and do not go", self.folder.escaped());
    }

    fn members(&self) -> impl Iterator<Item = i32> {
        let procs = regular_file::read_note(self.folder.join("cgroup.procs")).unwrap_or_default();
        procs.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>().into_iter()
    }

    /// Kills the group's processes and removes the group.
    pub(crate) fn remove(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if std::mem::replace(&mut self.removed, true) {
            return;
        }
        self.kill();
        for _ in 0..ROUNDS_MAX {
            match fs::remove_dir(&self.folder) {
                // The last process is still exiting.
                Err(e) if e.kind() == io::ErrorKind::ResourceBusy => thread::sleep(ROUND),
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return tracing::warn!("cannot remove the control group {}: {e}", self.folder.escaped());
                }
                _ => return,
            }
        }
        tracing::warn!("the control group {} stays: something in it does not go", self.folder.escaped());
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Read};
    use std::process::{Child, Command, Stdio};

    /// Groups with this limit; prints a note and returns none where this process may not make them.
    fn groups(worker: WorkerId, processes_max: u32) -> Option<(Groups, Vec<Group>)> {
        let folder = tempfile::tempdir().unwrap();
        let (groups, left) = Groups::find(worker, processes_max, &folder.path().join("note"));
        groups.map(|groups| (groups, left)).inspect_err(|reason| eprintln!("skipped: {reason}")).ok()
    }

    fn worker() -> WorkerId {
        WorkerId(uuid::Uuid::now_v7())
    }

    /// A shell in this group that runs a script.
    fn shell(group: &Group, script: &str) -> Child {
        let enter = format!("echo 0 > {}/cgroup.procs; {script}", group.folder.escaped());
        let mut command = Command::new("sh");
        command.args(["-c", &enter]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    fn line(child: &mut Child) -> String {
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        line
    }

    #[test]
    fn pids_limit_holds_and_the_group_ends_as_a_whole() {
        let Some((groups, left)) = groups(worker(), 20) else { return };
        assert!(left.is_empty());
        let group = groups.make().unwrap();
        let folder = group.folder.clone();
        assert_eq!(group.was_full(), None);
        // Each starts two of its kind, in sessions of their own and without an environment.
        let bomb = "f() { setsid env -i sleep 1000 & f & f & wait; }; echo started; f";
        let mut child = shell(&group, bomb);
        assert_eq!(line(&mut child), "started\n");
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while group.was_full().is_none() {
            assert!(std::time::Instant::now() < deadline, "a bomb fills any group");
            thread::sleep(ROUND);
        }
        assert_eq!(group.was_full(), Some(20));
        assert!(group.members().count() <= 20);
        group.kill();
        assert_eq!(group.members().filter(|pid| kill_member(*pid, &folder)).count(), 0);
        child.wait().unwrap();
        group.remove();
        assert!(!folder.exists());
        // Every other holder of its output is gone.
        child.stdout.unwrap().read_to_end(&mut Vec::new()).unwrap();
    }

    /// Uses whichever hierarchy limits processes here.
    #[test]
    fn a_group_of_the_second_version_ends_at_once() {
        let Some(own) = hierarchy::own_group_of_second_version() else {
            return eprintln!("skipped: there are no groups of the second version");
        };
        let group = Group {
            folder: own.join(format!("windrow-test-{}", uuid::Uuid::new_v4())),
            processes_max: 0,
            removed: false,
        };
        if let Err(e) = fs::create_dir(&group.folder) {
            return eprintln!("skipped: {e}");
        }
        let mut child = shell(&group, "setsid env -i sleep 1000 & echo started; wait");
        assert_eq!(line(&mut child), "started\n");
        let folder = group.folder.clone();
        drop(group);
        assert!(!folder.exists());
        assert!(!child.wait().unwrap().success());
        child.stdout.unwrap().read_to_end(&mut Vec::new()).unwrap();
    }

    #[test]
    fn groups_of_an_earlier_incarnation_are_killed() {
        let ours = worker();
        let Some((groups, _)) = groups(ours, 20) else { return };
        let (group, others) = (groups.make().unwrap(), self::groups(worker(), 20).unwrap().0.make().unwrap());
        let folder = group.folder.clone();
        let mut children = [&group, &others].map(|group| shell(group, "echo started; read nothing"));
        children.iter_mut().for_each(|child| assert_eq!(line(child), "started\n"));
        // As if this process had been killed.
        std::mem::forget(group);
        let (_, left) = self::groups(ours, 20).unwrap();
        assert_eq!(left.iter().map(|group| &group.folder).collect::<Vec<_>>(), [&folder]);
        drop(left);
        assert!(!folder.exists());
        assert!(!children[0].wait().unwrap().success());
        assert!(children[1].try_wait().unwrap().is_none(), "it is another worker's");
        drop(others);
        children[1].wait().unwrap();
    }

    #[test]
    fn groups_below_an_earlier_base_are_found_by_the_note() {
        let ours = worker();
        let Some((groups, _)) = self::groups(ours, 20) else { return };
        // As if the worker had been started in another group then.
        let before = groups.base.join(format!("windrow-test-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&before).unwrap();
        let left = before.join(format!("{}earlier", groups.prefix));
        let foreign = before.join("windrow-other.group");
        [&left, &foreign].into_iter().for_each(|folder| fs::create_dir(folder).unwrap());
        let folder = tempfile::tempdir().unwrap();
        let note = folder.path().join("note");
        fs::write(&note, before.as_os_str().as_bytes()).unwrap();
        let (_, found) = Groups::find(ours, 20, &note);
        assert_eq!(found.iter().map(|group| &group.folder).collect::<Vec<_>>(), [&left]);
        drop(found);
        assert!(!left.exists() && foreign.exists());
        assert_eq!(fs::read(&note).unwrap(), groups.base.as_os_str().as_bytes());
        [foreign, before].into_iter().for_each(|folder| fs::remove_dir(folder).unwrap());
    }
}
