//! Runs a part of a plan on a few lines of input.

use crate::data::datum::Datum;
use crate::error::Result;
use crate::plan::flow::Flow;
use crate::plan::records::Records;
use crate::run::under_test::{Limits, run_built};
use crate::source::lines;
use crate::testing::folder::Folder;
use std::io::Write;
use std::path::Path;
use windrow_model::JobOptions;

/// Runs `make` on these lines, in this process, and returns every record of the result in order.
///
/// # Errors
/// The failure of the job.
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

/// Runs as [`run`] does, with the options of a job, a number of threads, and memory in bytes.
///
/// # Errors
/// The failure of the job.
pub fn run_with<R: Datum>(
    input: impl IntoIterator<Item = impl AsRef<str>>,
    job: JobOptions,
    threads: usize,
    memory_bytes: u64,
    make: impl FnOnce(Records<String>) -> Records<R>,
) -> Result<Vec<R>> {
    let folder = Folder::create()?;
    run_in(folder.path(), input, Limits { threads, memory_bytes, job }, make)
}

fn run_in<R: Datum>(
    folder: &Path,
    input: impl IntoIterator<Item = impl AsRef<str>>,
    limits: Limits,
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
    run_built(flow.build()?, folder, &limits)?.collected::<R>("result")
}
