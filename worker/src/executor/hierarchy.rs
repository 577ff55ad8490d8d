//! Finds where this worker may make control groups with a limit on processes.
//!
//! In the `pids` hierarchy of version 1 that is below its own group. In version 2 only the root and groups without
//! processes may have groups with limits below them: so below the root, if the worker is there, or below its own group
//! if no other process is in that; then the worker moves to a leaf group of its own. That holds in a service with
//! `Delegate=yes` and in many containers. Groups are never made beside the worker's own: executors would escape limits
//! that were meant for the worker and its descendants.

use rustix::process::Pid;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use windrow_format::regular_file;
use windrow_model::Escape;

/// Name of the leaf group that the worker moves to.
const WORKERS_OWN: &str = "windrow-worker";

/// The folder below which groups with a limit on processes can be made, or the reason why there is none.
pub(super) fn base() -> Result<PathBuf, String> {
    let read = |path: &str| regular_file::read_note(path).map_err(|e| format!("cannot read {path}: {e}"));
    let (mounts, groups) = (read("/proc/self/mountinfo")?, read("/proc/self/cgroup")?);
    if let Some(own) = own_group(&mounts, &groups, "cgroup", "pids") {
        return Ok(own);
    }
    let own = own_group(&mounts, &groups, "cgroup2", "").ok_or("this system has no control groups")?;
    make_room(&own, std::process::id())?;
    Ok(own)
}

/// The folder of this process's group in the hierarchy of this kind, with this controller.
fn own_group(mounts: &str, groups: &str, kind: &str, controller: &str) -> Option<PathBuf> {
    // hierarchy:controllers:path
    let path = groups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let controllers = fields.next()?;
        controllers.split(',').any(|c| c == controller).then(|| fields.next()).flatten()
    })?;
    // id parent device root mount-point options [optional…] - kind source super-options
    mounts.lines().find_map(|line| {
        let (mount, about) = line.split_once(" - ")?;
        let mut about = about.split(' ');
        let right = about.next() == Some(kind)
            && (controller.is_empty() || about.nth(1)?.split(',').any(|option| option == controller));
        let mut mount = mount.split(' ').skip(3);
        let (root, point) = (mount.next()?, mount.next()?);
        let below = path.strip_prefix(root.trim_end_matches('/'))?;
        right.then(|| Path::new(point).join(below.trim_start_matches('/')))
    })
}

/// Thaws the control group of a killed process: a frozen process does not end.
pub(super) fn thaw(process: Pid) {
    let read = |path: &str| regular_file::read_note(path).unwrap_or_default();
    let (mounts, groups) = (read("/proc/self/mountinfo"), read(&format!("/proc/{process}/cgroup")));
    let files = [
        own_group(&mounts, &groups, "cgroup", "freezer").map(|own| (own.join("freezer.state"), "THAWED")),
        own_group(&mounts, &groups, "cgroup2", "").map(|own| (own.join("cgroup.freeze"), "0")),
    ];
    for (file, word) in files.into_iter().flatten() {
        let frozen =
            regular_file::read_note(&file).is_ok_and(|state| ["FROZEN", "FREEZING", "1"].contains(&state.trim()));
        if frozen && let Err(e) = fs::write(&file, word) {
            tracing::warn!("cannot thaw {}: {e}", file.display());
        }
    }
}

/// Prepares `own`, of version 2, so that groups below it can limit processes.
fn make_room(own: &Path, process: u32) -> Result<(), String> {
    let wrong = |what: &'static str| move |e: io::Error| format!("cannot {what} {}: {e}", own.escaped());
    let names = |file: &str| regular_file::read_note(own.join(file)).map_err(wrong("read the control group"));
    let has_pids = |text: String| text.split_ascii_whitespace().any(|name| name == "pids");
    if !has_pids(names("cgroup.controllers")?) {
        return Err(format!("the control group {} has no controller of processes", own.escaped()));
    }
    if has_pids(names("cgroup.subtree_control")?) {
        return Ok(());
    }
    let limit = || fs::write(own.join("cgroup.subtree_control"), "+pids").map_err(wrong("have limits below"));
    // Only the root has no type.
    if !own.join("cgroup.type").exists() {
        return limit();
    }
    if names("cgroup.procs")?.split_ascii_whitespace().any(|other| other.parse() != Ok(process)) {
        return Err(format!("there are other processes in the control group {}", own.escaped()));
    }
    let leaf = own.join(WORKERS_OWN);
    match fs::create_dir(&leaf) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(wrong("make groups in")(e)),
        _ => {}
    }
    let enter = |group: &Path| fs::write(group.join("cgroup.procs"), process.to_string());
    enter(&leaf).map_err(wrong("make room in"))?;
    limit().inspect_err(|_| {
        // Restores the previous state; a failure to do so does no harm.
        let _ = enter(own).and_then(|()| fs::remove_dir(&leaf));
    })
}

/// The own group, whichever controllers it has.
#[cfg(test)]
pub(super) fn own_group_of_second_version() -> Option<PathBuf> {
    let read = |path: &str| fs::read_to_string(path).ok();
    own_group(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?, "cgroup2", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
";
    const UNIFIED: &str = "\
29 22 0:26 / /sys/fs/cgroup rw,nosuid shared:4 master:2 - cgroup2 cgroup2 rw,nsdelegate
";

    #[test]
    fn the_own_group_is_found_in_both_versions() {
        let pids = |groups| own_group(HYBRID, groups, "cgroup", "pids");
        assert_eq!(pids("8:pids:/\n4:memory:/a\n0::/\n").unwrap(), Path::new("/sys/fs/cgroup/pids"));
        assert_eq!(pids("4:memory:/a\n8:cpu,pids:/jobs/7\n").unwrap(), Path::new("/sys/fs/cgroup/pids/jobs/7"));
        assert_eq!(pids("0::/jobs\n"), None);
        let unified = |mounts, groups| own_group(mounts, groups, "cgroup2", "");
        assert_eq!(
            unified(UNIFIED, "0::/system.slice/windrow.service\n").unwrap(),
            Path::new("/sys/fs/cgroup/system.slice/windrow.service")
        );
        assert_eq!(own_group(UNIFIED, "0::/\n", "cgroup", "pids"), None);
        let bound = "29 22 0:26 /docker/7 /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        assert_eq!(unified(bound, "0::/docker/7/a\n").unwrap(), Path::new("/sys/fs/cgroup/a"));
        assert_eq!(unified(bound, "0::/elsewhere\n"), None);
    }

    /// A folder that looks like a group of version 2.
    fn group(kind: Option<&str>, controllers: &str, procs: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        kind.into_iter().for_each(|kind| write("cgroup.type", kind));
        write("cgroup.controllers", controllers);
        write("cgroup.procs", procs);
        write("cgroup.subtree_control", "");
        folder
    }

    #[test]
    fn space_is_taken_only_in_an_unused_range() {
        let read = |folder: &tempfile::TempDir, name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        let root = group(None, "cpu pids\n", "1\n7\n");
        make_room(root.path(), 7).unwrap();
        assert_eq!(read(&root, "cgroup.subtree_control"), "+pids");
        assert!(!root.path().join(WORKERS_OWN).exists());

        let alone = group(Some("domain\n"), "cpu pids\n", "7\n");
        make_room(alone.path(), 7).unwrap();
        assert_eq!(read(&alone, "windrow-worker/cgroup.procs"), "7");
        assert_eq!(read(&alone, "cgroup.subtree_control"), "+pids");

        let shared = group(Some("domain\n"), "cpu pids\n", "7\n8\n");
        assert!(make_room(shared.path(), 7).unwrap_err().contains("other processes"));
        let without = group(Some("domain\n"), "cpu\n", "7\n");
        assert!(make_room(without.path(), 7).unwrap_err().contains("no controller"));
        for untouched in [shared, without] {
            assert_eq!(read(&untouched, "cgroup.subtree_control"), "");
            assert!(!untouched.path().join(WORKERS_OWN).exists());
        }
    }
}
