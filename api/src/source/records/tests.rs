//! Tests of outputs of records, read by other jobs in one process.

use super::*;
use crate::error::Result;
use crate::plan::flow::Flow;
use crate::plan::records::Records;
use crate::run::finished::Finished;
use crate::run::local::{self, LocalOptions};
use crate::run::task_run::StageTable;
use crate::sink::records_sink;
use crate::source::lines;
use proptest::collection::vec;
use proptest::prelude::*;
use std::fs;
use windrow_model::JobOptions;

/// How a job is run.
#[derive(Clone, Debug)]
struct Way {
    options: JobOptions,
    threads: usize,
    memory_bytes: u64,
}

fn usual() -> Way {
    Way { options: JobOptions::default(), threads: 2, memory_bytes: 64 << 20 }
}

fn way() -> impl Strategy<Value = Way> {
    let chunk_bytes = prop_oneof![Just(None), (1u64..40).prop_map(Some), (100u64..2000).prop_map(Some)];
    let memory_bytes = prop_oneof![Just(1 << 20), Just(64 << 20)];
    (chunk_bytes, proptest::option::of(1u32..=8), 1usize..=3, memory_bytes).prop_map(
        |(chunk_bytes, partitions, threads, memory_bytes)| Way {
            options: JobOptions { chunk_bytes, partitions, ..JobOptions::default() },
            threads,
            memory_bytes,
        },
    )
}

/// Runs the plan that `make` adds to a flow in this folder.
fn run(folder: &Path, way: &Way, make: impl FnOnce(&Flow)) -> Result<Finished> {
    let flow = Flow::new(folder.to_path_buf(), true, None);
    make(&flow);
    let built = flow.build()?;
    let program = StageTable { plan: built.plan, functions: built.functions, counters: built.counters };
    let options = LocalOptions {
        name: "test".to_string(),
        threads: way.threads,
        memory_bytes: way.memory_bytes,
        scratch: Some(folder.to_path_buf()),
        durable: false,
        job: way.options.clone(),
    };
    local::run(program, options, &mut |_| {})
}

/// The pairs of lines `KEY NUMBER` in the file `in`.
fn pairs(flow: &Flow) -> Records<(String, i64)> {
    flow.read(lines("in")).map(|line, out| {
        let (key, n) = line.split_once(' ').ok_or_else(|| Error::msg("no pair"))?;
        out.emit(key, n.parse::<i64>()?);
        Ok(())
    })
}

fn write_lines(folder: &Path, pairs: &[(String, i64)]) {
    let text: String = pairs.iter().map(|(key, n)| format!("{key} {n}\n")).collect();
    fs::write(folder.join("in"), text).unwrap();
}

/// The parts of an output, with their bytes.
fn parts(output: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let parts = crate::parts(output).unwrap();
    parts.into_iter().map(|path| (path.strip_prefix(output).unwrap().to_path_buf(), fs::read(&path).unwrap())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn records_read_back_in_order_in_any_way(
        input in vec(("[a-c]{0,2}é?", -50i64..50), 0..120), way in way(), other in way(), lz4 in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        write_lines(folder, &input);
        let sink = |path: &str| if lz4 { records_sink(path).lz4() } else { records_sink(path) };
        let partitions = way.options.partitions;
        let other = Way { options: JobOptions { partitions, ..other.options }, ..other };
        for (output, way) in [("first", &way), ("second", &other)] {
            run(folder, way, |flow| pairs(flow).write(sink(output)).unwrap()).unwrap();
        }
        let read = |way: &Way| {
            let done = run(folder, way, |flow| flow.read(records::<(String, i64)>("first")).collect("all")).unwrap();
            done.collected::<(String, i64)>("all").unwrap()
        };
        prop_assert_eq!(read(&way), input.clone());
        prop_assert_eq!(read(&other), input);
        prop_assert_eq!(parts(&folder.join("first")), parts(&folder.join("second")));
    }
}

#[test]
fn other_type_is_refused_before_and_while_a_job_runs() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_lines(folder, &[("a".into(), 1)]);
    run(folder, &usual(), |flow| pairs(flow).write(records_sink("out")).unwrap()).unwrap();
    let named = |e: Error| {
        assert_eq!(e.code(), Code::InputMalformed);
        let message = &e.failure().message;
        assert!(message.contains("out/part-00000 has records of type `(String, i64)`"), "{message}");
        assert!(
            message.contains("the job reads `(String, u64)` (in `read` at api/src/source/records/tests.rs"),
            "{message}"
        );
    };
    let flow = Flow::new(folder.to_path_buf(), true, None);
    flow.read(records::<(String, u64)>("out")).collect("all");
    named(flow.build().err().unwrap());
    // A plan cannot see what a glob stands for.
    named(
        run(folder, &usual(), |flow| flow.read(records::<(String, u64)>("out/part-*")).collect("all")).err().unwrap(),
    );
}

#[test]
fn damaged_part_fails_with_its_file_and_offset() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let input: Vec<(String, i64)> = (0..20_000).map(|n| (format!("key {}", n % 9).replace(' ', "-"), n)).collect();
    write_lines(folder, &input);
    let one = Way { options: JobOptions { partitions: Some(1), ..JobOptions::default() }, ..usual() };
    run(folder, &one, |flow| pairs(flow).write(records_sink("out")).unwrap()).unwrap();
    let path = folder.join("out/part-00000");
    let bytes = fs::read(&path).unwrap();
    let offset = {
        let mut file = RecordFile::open(&bytes).unwrap();
        file.next_block().unwrap();
        file.offset()
    };
    let refused = |bytes: &[u8], text: &str| {
        fs::write(&path, bytes).unwrap();
        let read = run(folder, &one, |flow| flow.read(records::<(String, i64)>("out")).collect("all"));
        let failure = read.err().unwrap().into_failure();
        assert!(failure.code == Code::InputCorrupt && failure.message.contains(text), "{failure}");
        failure
    };
    let mut flipped = bytes.clone();
    flipped[offset as usize + 100] ^= 1;
    let text = format!("out/part-00000: the file is damaged at byte {offset}: the checksum of a block does not match");
    let failure = refused(&flipped, &text);
    assert_eq!(failure.place.map(|place| (place.file, place.offset)), Some((path.clone(), offset)));
    refused(&bytes[..bytes.len() - 1], "it is cut off");
    refused(&bytes[..offset as usize + 10], "ends too early");
}

#[test]
fn record_that_is_no_value_of_its_type_can_be_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let write = |lz4| {
        let (types, mut part) = (schema_of::<(u64, u8)>(), Vec::new());
        let description = Description { types, part: 0, parts: 1, keyed: false, sorted: false, packed: lz4 };
        let mut file = windrow_format::record_file::RecordFileWriter::begin(&description, &mut part);
        for n in 0..2_000u64 {
            let length = if n == 1_234 { 7 } else { 9 };
            file.push(&[0u8; 9][..length], &mut part).unwrap();
        }
        file.end(&mut part);
        fs::write(folder.join("part"), part).unwrap();
    };
    for lz4 in [false, true] {
        write(lz4);
        let read = |flow: &Flow| flow.read(records::<(u64, u8)>("part")).count().collect("count");
        let failure = run(folder, &usual(), read).err().unwrap().into_failure();
        assert_eq!(failure.code, Code::RecordMalformed);
        assert!(failure.message.contains("the record is no `(u64, u8)`"), "{failure}");
        let skipping = Way { options: JobOptions { skip_bad_records: 1, ..JobOptions::default() }, ..usual() };
        let done = run(folder, &skipping, read).unwrap();
        assert_eq!(done.collected::<u64>("count").unwrap(), [1_999]);
    }
}
