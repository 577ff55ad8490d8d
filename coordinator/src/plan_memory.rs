//! The memory that plans of jobs may take: bounds that hold on large machines, and shares of a smaller one.

use windrow_format::machine_memory::machine_memory_bytes;

/// Most bytes of each kind.
const BYTES_MAX: u64 = 4 << 30;

/// Bytes for the tasks of all jobs that have not ended: half of the memory at most.
pub(crate) fn for_tasks() -> u64 {
    share(machine_memory_bytes(), 2)
}

/// Bytes for the lists of inputs of the jobs that are planned: a quarter of the memory at most.
pub(crate) fn for_lists() -> u64 {
    share(machine_memory_bytes(), 4)
}

fn share(memory_bytes: Option<u64>, parts: u64) -> u64 {
    memory_bytes.map_or(BYTES_MAX, |bytes| BYTES_MAX.min(bytes / parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_machine_has_smaller_bounds_than_a_large_one() {
        assert_eq!((share(Some(2 << 30), 2), share(Some(2 << 30), 4)), (1 << 30, 512 << 20));
        assert_eq!((share(Some(1 << 40), 2), share(None, 2)), (BYTES_MAX, BYTES_MAX));
    }
}
