//! A job with thousands of partitions in one process: right, in little memory, and with few open files.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use windrow_tests::group_memory::anonymous_bytes;
use windrow_tests::output::parts;
use windrow_tests::program::{Daemon, binary, isolated};

/// An open block for each partition would take more than all of the memory with two threads.
const PARTITIONS: u32 = 10_000;
const MEMORY: u64 = 16 << 20;
/// What the two processes of a run take without records: 16 MiB of tasks and reports of the scheduler, what the allocator has
/// not returned, stacks, and relocated data of an unoptimized binary.
const SLACK: u64 = 36 << 20;

#[test]
fn job_with_10_000_partitions_fits_into_16_mib_and_64_files() {
    let folder = tempfile::tempdir().unwrap();
    let words: Vec<String> = (0..60_000u64).map(|n| format!("w{}", n.wrapping_mul(0x9E37_79B9) % 20_011)).collect();
    let lines: Vec<String> = words.chunks(10).map(|line| line.join(" ")).collect();
    std::fs::write(folder.path().join("in"), lines.join("\n")).unwrap();

    let mut job = isolated(Command::new("sh"), folder.path());
    job.current_dir(folder.path()).stderr(Stdio::null());
    job.args(["-c", "ulimit -n 64; exec \"$0\" \"$@\""]).arg(binary("wordcount"));
    job.args(["in", "--output", "out", "--threads", "2", "--chunk-size", "100kB"]);
    job.args(["--memory", &MEMORY.to_string(), "--partitions", &PARTITIONS.to_string()]);
    let mut job = Daemon::start(&mut job);
    let mut peak = 0;
    let code = loop {
        peak = peak.max(anonymous_bytes(job.pid()));
        if let Some(code) = job.has_ended() {
            break code;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    };
    assert_eq!(code, Some(0));
    assert!(peak <= MEMORY + SLACK, "{} MiB", peak >> 20);

    println!("{} MiB", peak >> 20);
    let parts = parts(&folder.path().join("out"));
    assert_eq!(parts.len(), PARTITIONS as usize);
    let text = String::from_utf8(parts.into_values().flatten().collect()).unwrap();
    let counts: BTreeMap<&str, u64> =
        text.lines().map(|line| line.split_once('\t').unwrap()).fold(BTreeMap::new(), |mut counts, (word, count)| {
            assert!(counts.insert(word, count.parse().unwrap()).is_none(), "{word} is in one part, once");
            counts
        });
    let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
    words.iter().for_each(|word| *expected.entry(word).or_default() += 1);
    assert!(counts == expected);
}
