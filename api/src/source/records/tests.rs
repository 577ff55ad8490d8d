//! Tests of outputs of records, read by other jobs in one process.

use super::*;
use crate::combiner::{Max, Sum};
use crate::error::Result;
use crate::plan::flow::Flow;
use crate::plan::records::{Pairs, Records};
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
        // Of a whole output the plan finds missing bytes.
        let read = run(folder, &one, |flow| flow.read(records::<(String, i64)>("out/part-*")).collect("all"));
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

/// The plan that `make` adds to a flow in this folder, as `--explain` shows it.
fn explained(folder: &Path, make: impl FnOnce(&Flow)) -> String {
    let flow = Flow::new(folder.to_path_buf(), true, None);
    make(&flow);
    crate::plan::explain::explain(&flow.build().unwrap().plan)
}

/// Writes the sums of `in` by key to `sums`, and the same pairs sorted by key to `pairs`, each in this many partitions.
fn write_keyed(folder: &Path, way: &Way, partitions: u32) {
    run(folder, way, |flow| {
        let pairs = pairs(flow);
        pairs.partition_by(partitions).combine(Sum).write(records_sink("sums")).unwrap();
        pairs.partition_by(partitions).map_values(|n| n + 1).write(records_sink("pairs").lz4()).unwrap();
    })
    .unwrap();
}

/// The pairs of an output, whose path gets this end.
fn keyed(flow: &Flow, path: &str, end: &str) -> Pairs<String, i64> {
    let path = if end.is_empty() { path.to_string() } else { format!("{path}/part-{end}") };
    flow.read(records::<(String, i64)>(path))
}

type Text = Records<String>;

type Operation = fn(&Flow, &str) -> Text;

/// Operations by key on both outputs of [`write_keyed`].
const OPERATIONS: [(&str, Operation); 8] = [
    ("join", |flow, end| text(&keyed(flow, "pairs", end).join(&keyed(flow, "sums", end)).map_values(|(a, b)| a + b))),
    ("join of parts", |flow, end| {
        let pairs = keyed(flow, "pairs", end).filter(|(_, n)| n % 2 == 0).map_values(|n| n * 2);
        text(&pairs.share().left_join(&keyed(flow, "sums", end)).map_values(|(a, b)| a + b.unwrap_or(0)))
    }),
    ("cogroup", |flow, end| {
        keyed(flow, "pairs", end).cogroup(&keyed(flow, "sums", end), |key, some, others, out| {
            out.push(format!("{key} {} {}", some.sum::<i64>(), others.sum::<i64>()))
        })
    }),
    ("combine", |flow, end| text(&keyed(flow, "pairs", end).union(&keyed(flow, "sums", end)).combine(Sum))),
    ("reduce", |flow, end| {
        keyed(flow, "pairs", end).reduce(|key, values, out| out.push(format!("{key} {:?}", values.collect::<Vec<_>>())))
    }),
    ("reduce_values", |flow, end| {
        text(&keyed(flow, "pairs", end).reduce_values(|_, values| values.fold(7, |a, b| a * 3 + b)))
    }),
    ("sort_within", |flow, end| text(&keyed(flow, "pairs", end).sort_within().combine(Max))),
    ("copy", |flow, end| text(&keyed(flow, "pairs", end))),
];

fn text(pairs: &Pairs<String, i64>) -> Text {
    pairs.map(|(key, n), out| out.push(format!("{key} {n}")))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn kept_partitions_change_no_result(
        input in vec(("[a-c]{0,2}é?", -50i64..50), 0..80), partitions in 1u32..6, way in way(), other in way(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        write_lines(folder, &input);
        write_keyed(folder, &way, partitions);
        for (name, operation) in OPERATIONS {
            let result = |operation: &dyn Fn(&Flow) -> Text| {
                let done = run(folder, &other, |flow| operation(flow).collect("all")).unwrap();
                let mut lines = done.collected::<String>("all").unwrap();
                lines.sort();
                lines
            };
            let got = result(&|flow: &Flow| operation(flow, ""));
            // What a glob stands for is read without its layout.
            let shuffled = result(&|flow: &Flow| operation(flow, "*"));
            prop_assert_eq!(got, shuffled, "{}", name);
        }
    }
}

#[test]
fn operations_by_key_on_kept_partitions_do_not_shuffle() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_lines(folder, &[("a".into(), 1), ("b".into(), 2), ("a".into(), 3)]);
    write_keyed(folder, &usual(), 3);
    for (name, operation) in OPERATIONS {
        let plan = explained(folder, |flow| operation(flow, "").collect("all"));
        assert!(!plan.contains("shuffles by"), "{name}: {plan}");
        let reads = plan.matches("reads /").count();
        let expected = if name == "copy" { 0 } else { reads };
        let kept = plan.matches("keeps the partitions of its files (no shuffle), by").count();
        assert_eq!(kept, expected, "{name}: {plan}");
    }
    // A copy keeps the partitions, and so does what is made from them; another number of partitions does not fit.
    run(folder, &usual(), |flow| keyed(flow, "sums", "").write(records_sink("copy")).unwrap()).unwrap();
    run(folder, &usual(), |flow| {
        keyed(flow, "pairs", "")
            .map(|(key, n), out| out.emit(format!("{key}x"), n))
            .combine(Sum)
            .write(records_sink("next"))
            .unwrap()
    })
    .unwrap();
    run(folder, &usual(), |flow| pairs(flow).partition_by(2).write(records_sink("two")).unwrap()).unwrap();
    let join = |other: &'static str| {
        explained(folder, |flow| keyed(flow, "copy", "").join(&keyed(flow, other, "")).collect("all"))
    };
    assert_eq!((parts(&folder.join("copy")).len(), parts(&folder.join("next")).len()), (3, 3));
    assert_eq!(join("next").matches("no shuffle").count(), 2);
    assert_eq!(join("two").matches("shuffles by hash").count(), 1);
}

#[test]
fn sorted_records_are_not_sorted_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let input: Vec<(String, i64)> = (0..500i64).map(|n| (format!("k{}", n * 7 % 50), n)).collect();
    write_lines(folder, &input);
    let four = Way { options: JobOptions { partitions: Some(4), ..JobOptions::default() }, ..usual() };
    run(folder, &four, |flow| pairs(flow).sort().write(records_sink("sorted")).unwrap()).unwrap();
    let again = |flow: &Flow| keyed(flow, "sorted", "").sort().write(records_sink("again")).unwrap();
    assert!(!explained(folder, again).contains("key ranges"));
    run(folder, &usual(), again).unwrap();
    let mut want = input;
    want.sort_by(|a, b| a.0.cmp(&b.0));
    let done = run(folder, &usual(), |flow| keyed(flow, "again", "").sort().collect("all")).unwrap();
    assert_eq!(done.collected::<(String, i64)>("all").unwrap(), want);
    let bytes = |output: &str| parts(&folder.join(output)).into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>();
    assert_eq!(bytes("again"), bytes("sorted"));
    // Records that are made from sorted ones are not known to be sorted.
    let mapped =
        explained(folder, |flow| keyed(flow, "sorted", "").map(|(key, n), out| out.emit(n, key)).sort().collect("all"));
    assert!(mapped.contains("key ranges"), "{mapped}");
}

#[test]
fn output_that_changed_after_the_plan_fails() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_lines(folder, &(0..50).map(|n| (format!("k{n}"), n)).collect::<Vec<_>>());
    write_keyed(folder, &usual(), 3);
    let [one, other] = [0, 1].map(|n| folder.join(format!("sums/part-0000{n}")));
    // One thread: the task of the first changed part fails first.
    let way = Way { threads: 1, ..usual() };
    // In place of a run: the plan is made, then the files change.
    let failure = |change: &dyn Fn()| {
        let ran = run(folder, &way, |flow| {
            keyed(flow, "sums", "").combine(Sum).collect("all");
            change();
        });
        ran.err().unwrap().into_failure()
    };
    let swapped = failure(&|| {
        let [first, second] = [&one, &other].map(|path| fs::read(path).unwrap());
        fs::write(&one, second).unwrap();
        fs::write(&other, first).unwrap();
    });
    assert_eq!(swapped.code, Code::InputChanged);
    assert!(swapped.message.contains("is part 1 of 3, and the plan was made for part 0 of 3"), "{swapped}");
    // Before the plan it is found as well.
    write_keyed(folder, &usual(), 3);
    let gone = failure(&|| fs::remove_file(&other).unwrap());
    assert_eq!(gone.code, Code::InputChanged);
    assert!(gone.message.contains("the plan was made for 3 files, and there are 2 now"), "{gone}");
    let missing = failure(&|| {});
    assert!(missing.code == Code::InputCorrupt && missing.message.contains("part-00001"), "{missing}");
    write_keyed(folder, &usual(), 3);
    let empty = failure(&|| fs::write(&other, "").unwrap());
    assert!(empty.code == Code::InputCorrupt && empty.message.contains("part-00001: it is empty"), "{empty}");
}

#[test]
fn damaged_or_missing_manifest_hides_no_missing_part() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_lines(folder, &(0..50).map(|n| (format!("k{n}"), n)).collect::<Vec<_>>());
    write_keyed(folder, &usual(), 3);
    let (sums, manifest) = (folder.join("sums"), folder.join("sums/_SUCCESS"));
    let count = || {
        let done = run(folder, &usual(), |flow| keyed(flow, "sums", "").count().collect("n"))?;
        Ok::<u64, Error>(done.collected::<u64>("n")?.into_iter().sum())
    };
    let refused = |what: &str| {
        let failure = count().unwrap_err().into_failure();
        assert!(failure.code == Code::InputCorrupt && failure.message.contains(what), "{failure}");
    };
    let whole = fs::read(&manifest).unwrap();
    for damaged in [&[][..], &whole[..whole.len() / 2], &[0; 500]] {
        fs::write(&manifest, damaged).unwrap();
        refused("not a manifest");
    }
    // The parts say how many there are.
    fs::remove_file(&manifest).unwrap();
    assert_eq!(count().unwrap(), 50);
    fs::copy(sums.join("part-00001"), sums.join("part-00003")).unwrap();
    refused("the 4 files are not the 3 parts of one output");
    fs::remove_file(sums.join("part-00003")).unwrap();
    fs::remove_file(sums.join("part-00002")).unwrap();
    refused("the 2 files are not the 3 parts of one output");
}
