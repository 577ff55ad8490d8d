//! The memory that a process of this machine may use.

use crate::regular_file::read_note;

/// Limits of control groups, as a process in a container sees its own: of the second and of the first version.
const GROUP_LIMITS: [&str; 2] = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];

/// Bytes of the machine's memory, or of the container's if that is less; `None` if the kernel does not say.
pub fn machine_memory_bytes() -> Option<u64> {
    let machine = read_note("/proc/meminfo").ok().as_deref().and_then(of_meminfo);
    let groups = GROUP_LIMITS.iter().filter_map(|path| read_note(path).ok()?.trim().parse::<u64>().ok());
    machine.into_iter().chain(groups).min()
}

fn of_meminfo(text: &str) -> Option<u64> {
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    total.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_a_machine_is_read_from_the_kernel() {
        assert_eq!(of_meminfo("MemFree: 1 kB\nMemTotal:       16 kB\n"), Some(16 << 10));
        assert_eq!(of_meminfo("MemTotal: many kB\n"), None);
        let bytes = machine_memory_bytes().unwrap();
        assert!(bytes > 16 << 20, "{bytes}");
    }
}
