//! The shuffle between two workers over loopback: one process serves, one fetches into a file. Measures bytes per
//! second and the processor time of each side.
//!
//! `cargo bench -p windrow-bench --bench shuffle`

mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::cpu;
use windrow_model::WorkerId;
use windrow_worker::measured::{Offer, fetch};

/// Bytes of one transfer.
const BYTES: u64 = 1 << 30;
/// Sizes of the segments: as between many tasks, and as between few.
const SEGMENTS: [u32; 2] = [64 << 10, 16 << 20];
const RUNS: usize = 5;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("serve") => serve(Path::new(&std::env::args().nth(2).unwrap())),
        _ => measure(),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

fn serve(folder: &Path) {
    let offer = Offer::new(folder, BYTES, &SEGMENTS).unwrap();
    runtime().block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("{} {}", listener.local_addr().unwrap(), offer.worker());
        offer.serve(listener).await.unwrap();
    });
}

fn measure() {
    // Not in memory: fetched segments are written to a disk's file system, as in a worker.
    let folder = tempfile::Builder::new().tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut server = command.arg("serve").arg(folder.path()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let (address, worker) = line.trim().split_once(' ').unwrap();
    let (address, worker): (String, WorkerId) = (format!("http://{address}"), worker.parse().unwrap());
    let to = folder.path().join("fetched");
    let runtime = runtime();
    println!("{:>12} {:>8} {:>14} {:>14} {:>16}", "segment KiB", "GB/s", "server s/GB", "client s/GB", "GB/s per core");
    for segment in SEGMENTS {
        let mut all = Vec::new();
        for run in 0..=RUNS {
            let before = (Instant::now(), cpu(server.id()), cpu(std::process::id()));
            runtime.block_on(fetch(&address, worker, BYTES, segment, &to)).unwrap();
            let took = before.0.elapsed().as_secs_f64();
            // Seconds of processor time per GB.
            let per_gb = |from: Duration, to: Duration| (to - from).as_secs_f64() / (BYTES as f64 / 1e9);
            let row = [
                BYTES as f64 / 1e9 / took,
                per_gb(before.1, cpu(server.id())),
                per_gb(before.2, cpu(std::process::id())),
            ];
            assert_eq!(to.metadata().unwrap().len(), BYTES);
            if run > 0 {
                all.push(row);
            }
            std::fs::remove_file(&to).unwrap();
        }
        let median = |i: usize| {
            let mut of: Vec<f64> = all.iter().map(|row| row[i]).collect();
            of.sort_by(f64::total_cmp);
            of[of.len() / 2]
        };
        let (speed, there, here) = (median(0), median(1), median(2));
        println!("{:>12} {speed:>8.2} {there:>14.2} {here:>14.2} {:>16.2}", segment >> 10, 1.0 / (there + here));
    }
    server.kill().unwrap();
    server.wait().unwrap();
}
