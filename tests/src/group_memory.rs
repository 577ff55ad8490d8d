//! The memory of a process group.

use std::path::Path;

/// Anonymous memory of all processes of a group, in bytes.
pub fn anonymous_bytes(group: u32) -> u64 {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let of_process = |path: &Path| {
        let stat = std::fs::read_to_string(path.join("stat")).ok()?;
        // After the name, which may hold any bytes: state, parent, group.
        let its_group = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(2)?.parse::<u32>().ok()?;
        let status = std::fs::read_to_string(path.join("status")).ok().filter(|_| its_group == group)?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok()
    };
    processes.filter_map(|entry| of_process(&entry.path())).sum::<u64>() << 10
}
