//! A job's parts on a few lines of input, in a unit test.

use crate::datum::Datum;
use crate::error::Result;
use crate::flow::Flow;
use crate::local::{self, LocalOptions};
use crate::records::Records;
use crate::source::lines;
use crate::task_run::Program;
use std::io::Write;
use windrow_model::JobOptions;

/// Runs `make` on these lines, in this process, and gives every record of the result in order.
///
/// ```
/// use windrow::prelude::*;
/// let counted = windrow::testing::run(["a b", "b"], |lines| {
///     lines.map(|l, out| for w in l.split(' ') { out.emit(w, 1u64) }).combine(Sum)
/// });
/// assert_eq!(counted.unwrap(), [("a".to_string(), 1), ("b".to_string(), 2)]);
/// ```
pub fn run<R: Datum>(
    input: impl IntoIterator<Item = impl AsRef<str>>,
    make: impl FnOnce(Records<String>) -> Records<R>,
) -> Result<Vec<R>> {
    run_with(input, JobOptions::default(), 2, 64 << 20, make)
}

/// As [`run`], with the options of a job, a number of threads, and memory in bytes.
pub fn run_with<R: Datum>(
    input: impl IntoIterator<Item = impl AsRef<str>>,
    job: JobOptions,
    threads: usize,
    memory_bytes: u64,
    make: impl FnOnce(Records<String>) -> Records<R>,
) -> Result<Vec<R>> {
    let folder = std::env::temp_dir().join(format!("windrow-test-{}", uuid::Uuid::now_v7().simple()));
    std::fs::create_dir(&folder)?;
    let result = run_in(&folder, input, job, threads, memory_bytes, make);
    std::fs::remove_dir_all(&folder)?;
    result
}

fn run_in<R: Datum>(
    folder: &std::path::Path,
    input: impl IntoIterator<Item = impl AsRef<str>>,
    job: JobOptions,
    threads: usize,
    memory_bytes: u64,
    make: impl FnOnce(Records<String>) -> Records<R>,
) -> Result<Vec<R>> {
    let path = folder.join("input");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path)?);
    for line in input {
        writeln!(file, "{}", line.as_ref())?;
    }
    file.into_inner().map_err(|e| e.into_error())?;
    let flow = Flow::new(folder.to_path_buf(), false, None);
    make(flow.read(lines(path.to_string_lossy().into_owned()))).collect("result");
    let built = flow.build()?;
    let program = Program { plan: built.plan, functions: built.functions, counters: built.counters };
    let options = LocalOptions {
        name: "test".to_string(),
        threads,
        memory_bytes,
        scratch: Some(folder.to_path_buf()),
        durable: false,
        job,
    };
    local::run(program, options, &mut |_| {})?.collected::<R>("result")
}
