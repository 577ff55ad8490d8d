//! The memory of a job in one process stays within its `--memory`, for any data.

use std::process::Stdio;
use windrow_tests::group_memory::anonymous_bytes;
use windrow_tests::output::concatenated;
use windrow_tests::program::{Daemon, command};

/// Far less than the data of any case.
const MEMORY: u64 = 16 << 20;
/// Stacks, arenas of the allocator, a record of each thread, and blocks in use.
const SLACK: u64 = 8 << 20;
/// Lines of the input.
const LINES: u64 = 40;

/// Runs a shape over this many numbers. Returns the peak memory.
fn peak(shape: &str, numbers: u64) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let step = numbers / LINES;
    let lines: String = (0..LINES).map(|i| format!("{} {}\n", i * step, (i + 1) * step)).collect();
    std::fs::write(folder.path().join("in"), lines).unwrap();
    let mut job = command("extreme", folder.path());
    job.current_dir(folder.path()).stderr(Stdio::null());
    job.args([shape, "in", "--output", "out", "--threads", "2", "--partitions", "8", "--chunk-size", "50B"]);
    job.args(["--memory", &MEMORY.to_string()]);
    let mut job = Daemon::start(&mut job);
    let mut peak = 0;
    let code = loop {
        peak = peak.max(anonymous_bytes(job.pid()));
        if let Some(code) = job.has_ended() {
            break code;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    };
    assert_eq!(code, Some(0), "{shape}");
    let output = concatenated(&folder.path().join("out"));
    assert_eq!(String::from_utf8(output).unwrap(), format!("numbers\t{}\n", step * LINES), "{shape}");
    peak
}

fn stays_within(shape: &str, numbers: u64) {
    let idle = peak(shape, LINES);
    let peak = peak(shape, numbers);
    println!("{shape}: {} MiB, {} MiB with nearly nothing to do", peak >> 20, idle >> 20);
    assert!(peak <= idle + MEMORY + SLACK, "{shape}: {} MiB", peak >> 20);
}

#[test]
fn one_key_has_all_values() {
    stays_within("one-key", 1_500_000);
}

#[test]
fn no_key_comes_twice() {
    stays_within("distinct", 4_000_000);
}

#[test]
fn a_key_has_very_long_values() {
    stays_within("long-values", 160);
}

#[test]
fn accumulators_grow_with_their_input() {
    stays_within("growing", 8_000_000);
}

#[test]
fn a_sort_is_larger_than_memory() {
    stays_within("sorted", 2_000_000);
}

#[test]
fn a_join_is_larger_than_memory() {
    stays_within("matches", 1_000_000);
}

/// Bytes spilled by a sort of about 31 MB in one task of two slots.
fn spilled_alone(memory: &str) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("in"), "0 1000000\n").unwrap();
    let mut job = command("extreme", folder.path());
    job.current_dir(folder.path());
    job.args(["sorted", "in", "--output", "out", "--threads", "2", "--partitions", "8", "-o", "json"]);
    let output = job.args(["--memory", memory]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    status["counters"]["windrow.bytes_spilled"].as_u64().unwrap_or(0)
}

#[test]
fn one_task_uses_memory_no_other_uses() {
    assert_eq!(spilled_alone("64MiB"), 0, "half of it is enough");
    assert!(spilled_alone("16MiB") > 0);
}
