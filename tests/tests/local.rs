//! The example jobs in one process equal simple models, for any chunks, threads and memory.

use std::io::Write;
use std::path::Path;
use tempfile::TempDir;
use windrow_model::Escape;
use windrow_tests::output::{concatenated, keys_ascend, lines, parts, sorted};
use windrow_tests::program::local;
use windrow_tests::{corpus, oracle};

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Runs a job that succeeds, with arguments split at blanks. Returns its output folder.
#[track_caller]
fn job(folder: &Path, name: &str, args: &str, output: &str) -> std::path::PathBuf {
    local(folder, name, args.split(' ').filter(|a| !a.is_empty()).chain(["--output", output])).ok();
    folder.join(output)
}

#[test]
fn wordcount_equals_the_model_for_every_chunk_size() {
    let folder = folder();
    corpus::write_folder(&folder.path().join("in"), 1);
    let expected = oracle::wordcount(&oracle::text_of(&oracle::files(&folder.path().join("in"))));
    for (i, chunk) in ["--chunk-size 300B", "--chunk-size 1KiB", "--chunk-size 64KiB", ""].iter().enumerate() {
        let output = job(folder.path(), "wordcount", &format!("in {chunk}"), &format!("out{i}"));
        assert_eq!(sorted(&output), expected, "{chunk}");
        keys_ascend(&output);
    }
}

#[test]
fn a_small_file_may_be_cut_at_every_byte() {
    let folder = folder();
    std::fs::write(folder.path().join("in"), "one two\r\n\n\nthree  two\r\n\r\n \t\none\nlast").unwrap();
    for chunk in 1..=9 {
        let output = job(folder.path(), "wordcount", &format!("in --chunk-size {chunk}B"), &format!("out{chunk}"));
        assert_eq!(lines(&output), ["last\t1", "one\t2", "three\t1", "two\t2"], "{chunk}");
    }
}

#[test]
fn bytes_do_not_depend_on_threads_chunks_or_memory() {
    let folder = folder();
    std::fs::write(folder.path().join("in"), corpus::text(2, 300_000)).unwrap();
    let expected = oracle::wordcount(&corpus::text(2, 300_000));
    for partitions in [1, 2, 7, 64] {
        let run = |more: &str, output: &str| {
            job(folder.path(), "wordcount", &format!("in --partitions {partitions} {more}"), output)
        };
        let first = run("--threads 1", &format!("p{partitions}"));
        assert_eq!(sorted(&first), expected);
        let first = parts(&first);
        assert_eq!(first.len(), partitions);
        for (i, more) in
            ["--threads 2 --chunk-size 10kB", "--threads 1 --chunk-size 77777B --memory 8MB"].iter().enumerate()
        {
            assert!(parts(&run(more, &format!("p{partitions}-{i}"))) == first, "{partitions} {more}");
        }
    }
}

/// More pairs of tasks and partitions than bytes: with room in memory, and without.
#[test]
fn thousands_of_tiny_tasks_change_no_byte() {
    let folder = folder();
    std::fs::write(folder.path().join("in"), corpus::text(4, 60_000)).unwrap();
    let run = |more: &str, output: &str| {
        parts(&job(folder.path(), "wordcount", &format!("in --partitions 200 {more}"), output))
    };
    let expected = run("--threads 1", "expected");
    for (i, more) in ["--chunk-size 40B", "--chunk-size 100B --memory 4MB --threads 2"].iter().enumerate() {
        assert!(run(more, &format!("tiny{i}")) == expected, "{more}");
    }
    // Nothing is left beside the outputs.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4);
}

#[test]
fn little_memory_changes_no_byte() {
    let folder = folder();
    // More distinct words than fit.
    let mut text = String::new();
    let mut random = corpus::Random(3);
    while text.len() < 6_000_000 {
        text += &format!("{:016x} {}\n", random.number() >> 20, random.word());
    }
    std::fs::write(folder.path().join("in"), text).unwrap();
    let much = job(folder.path(), "wordcount", "in --partitions 3 --memory 1GiB", "much");
    let little = job(folder.path(), "wordcount", "in --partitions 3 --memory 8MB", "little");
    assert!(parts(&much) == parts(&little));
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

#[test]
fn compressed_inputs_of_many_members_are_read_whole() {
    let folder = folder();
    let text = corpus::text(4, 100_000);
    let expected = oracle::wordcount(&text);
    type Compress = fn(&[u8]) -> Vec<u8>;
    let compressors: [(&str, Compress); 3] = [("gz", gzip), ("zst", zstd), ("bz2", bzip2)];
    for (suffix, compress) in compressors {
        // Members may end in the middle of a line.
        let (a, b) = text.as_bytes().split_at(41_234);
        let members = [compress(a), compress(b"")].concat().into_iter().chain(compress(b)).collect::<Vec<u8>>();
        std::fs::write(folder.path().join(format!("one.{suffix}")), compress(text.as_bytes())).unwrap();
        std::fs::write(folder.path().join(format!("more.{suffix}")), members).unwrap();
        for name in ["one", "more"] {
            let args = format!("{name}.{suffix} --chunk-size 1KiB");
            let output = job(folder.path(), "wordcount", &args, &format!("out-{name}-{suffix}"));
            assert_eq!(sorted(&output), expected, "{name}.{suffix}");
        }
    }
}

#[test]
fn grep_gives_the_matching_lines_in_input_order() {
    let folder = folder();
    corpus::write_folder(&folder.path().join("in"), 5);
    let regex = regex::Regex::new("Rake[0-9]*1\\b").unwrap();
    let (mut plain, mut placed) = (Vec::new(), Vec::new());
    for file in oracle::files(&folder.path().join("in")) {
        let text = std::fs::read_to_string(&file).unwrap();
        let mut offset = 0;
        for line in text.split_inclusive('\n') {
            let bare = line.trim_end_matches('\n');
            let bare = bare.strip_suffix('\r').unwrap_or(bare);
            if regex.is_match(bare) {
                plain.push(bare.to_string());
                let path = std::path::absolute(&file).unwrap();
                placed.push(format!("{}:{offset}:{bare}", path.escaped()));
            }
            offset += line.len();
        }
    }
    assert!(plain.len() > 20);
    let options = ["", "--chunk-size 64B --threads 2", "--chunk-size 1KiB --partitions 5", "--chunk-size 64KiB"];
    for (i, options) in options.iter().enumerate() {
        let args = format!("{} in {options}", regex.as_str());
        assert_eq!(lines(&job(folder.path(), "grep", &args, &format!("o{i}"))), plain, "{options}");
        let args = format!("{args} --with-place");
        assert_eq!(lines(&job(folder.path(), "grep", &args, &format!("p{i}"))), placed, "{options}");
    }
}

#[test]
fn terasort_keeps_every_record_and_orders_them_over_all_parts() {
    let folder = folder();
    local(folder.path(), "terasort", ["gen", "20000", "in", "--seed", "7"]).ok();
    // The model: sorted by key, equal keys in input order.
    let bytes = std::fs::read(folder.path().join("in")).unwrap();
    let mut records: Vec<&[u8]> = bytes.chunks(100).collect();
    assert_eq!(records.len(), 20_000);
    records.sort_by_key(|record| &record[..10]);
    let expected = records.concat();
    for (i, options) in [
        "--partitions 1",
        "--partitions 4 --threads 2",
        "--partitions 4 --threads 1 --memory 8MB",
        "--partitions 4 --chunk-size 30kB",
        "--partitions 4 --chunk-size 123457B",
    ]
    .iter()
    .enumerate()
    {
        let output = format!("out{i}");
        local(
            folder.path(),
            "terasort",
            ["sort", "in", "--output", &output].into_iter().chain(options.split_whitespace()),
        )
        .ok();
        assert!(concatenated(&folder.path().join(&output)) == expected, "{options}");
        let valid = local(folder.path(), "terasort", ["validate", &output]).ok();
        assert!(valid.stdout.starts_with("20000 records in order"), "{}", valid.stdout);
    }
    // The bounds between parts follow from the input alone.
    for other in ["out2", "out3", "out4"] {
        assert!(parts(&folder.path().join("out1")) == parts(&folder.path().join(other)), "{other}");
    }
    // Records out of order are found.
    std::fs::write(folder.path().join("out0/part-00000"), &bytes).unwrap();
    let invalid = local(folder.path(), "terasort", ["validate", "out0"]).with(1);
    assert!(invalid.stderr.contains("out of order"), "{}", invalid.stderr);
}

#[test]
fn stations_equal_the_model() {
    let folder = folder();
    let text = corpus::readings(8, 5_000);
    std::fs::write(folder.path().join("in"), &text).unwrap();
    for (i, options) in ["", "--chunk-size 500B --threads 2 --partitions 3"].iter().enumerate() {
        let output = job(folder.path(), "stations", &format!("in {options}"), &format!("out{i}"));
        assert_eq!(sorted(&output), oracle::stations(&text), "{options}");
    }
}

#[test]
fn an_inverted_index_equals_the_model_and_answers_queries() {
    let folder = folder();
    let text = corpus::documents(9, 2_000);
    std::fs::write(folder.path().join("in"), &text).unwrap();
    let output = job(folder.path(), "inverted_index", "in --partitions 3 --chunk-size 3kB", "out");
    let expected = oracle::inverted_index(&text);
    assert_eq!(sorted(&output), expected);
    keys_ascend(&output);
    let docs = |word: &str| -> Vec<String> {
        let line = expected.iter().find_map(|line| line.strip_prefix(word)?.strip_prefix('\t'));
        line.map(|docs| docs.split(',').map(str::to_string).collect()).unwrap_or_default()
    };
    let frequent: Vec<&str> = {
        let mut words: Vec<&str> = expected.iter().map(|l| l.split('\t').next().unwrap()).collect();
        words.sort_by_key(|word| std::cmp::Reverse(docs(word).len()));
        words.into_iter().take(2).collect()
    };
    let both: Vec<String> = docs(frequent[0]).into_iter().filter(|d| docs(frequent[1]).contains(d)).collect();
    assert!(!both.is_empty());
    let asked = local(folder.path(), "inverted_index", ["query", "out", frequent[0], frequent[1]]).ok();
    assert_eq!(asked.stdout.lines().collect::<Vec<_>>(), both);
    assert_eq!(local(folder.path(), "inverted_index", ["query", "out", frequent[0], "no-such-word"]).ok().stdout, "");
}

#[test]
fn a_join_equals_loops_inside_of_loops() {
    let folder = folder();
    let (customers, orders) = corpus::shop(10, 300, 4_000);
    std::fs::write(folder.path().join("customers.csv"), &customers).unwrap();
    std::fs::write(folder.path().join("orders.csv"), &orders).unwrap();
    let expected = oracle::join(&customers, &orders);
    assert_eq!(expected.len(), 15);
    for (i, options) in ["", "--chunk-size 2kB --partitions 4 --threads 2"].iter().enumerate() {
        let args = format!("--customers customers.csv --orders orders.csv {options}");
        assert_eq!(sorted(&job(folder.path(), "join", &args, &format!("out{i}"))), expected, "{options}");
    }
}

#[test]
fn pagerank_equals_the_model() {
    let folder = folder();
    let edges = corpus::edges(11, 200, 1_500);
    std::fs::write(folder.path().join("edges"), &edges).unwrap();
    let mut first = None;
    for (i, options) in ["--chunk-size 1kB --partitions 3", "--threads 1 --partitions 3"].iter().enumerate() {
        let output = job(folder.path(), "pagerank", &format!("edges --rounds 6 {options}"), &format!("out{i}"));
        let expected = oracle::pagerank(&edges, 6);
        let ranks: Vec<(u64, f64)> = lines(&output)
            .iter()
            .map(|line| line.split_once('\t').unwrap())
            .map(|(node, rank)| (node.parse().unwrap(), rank.parse().unwrap()))
            .collect();
        assert_eq!(ranks.len(), expected.len());
        for (node, rank) in ranks {
            assert!((rank - expected[&node]).abs() < 1e-9, "{node}: {rank} and {}", expected[&node]);
        }
        let parts = parts(&output);
        assert!(*first.get_or_insert_with(|| parts.clone()) == parts, "the same bytes for {options}");
    }
}

#[test]
fn sessions_equal_the_model_and_bad_lines_are_counted() {
    let folder = folder();
    let text = corpus::hits(12, 3_000);
    std::fs::write(folder.path().join("in"), format!("{text}no hit\n")).unwrap();
    let args = ["in", "--output", "out", "--chunk-size", "2kB", "--partitions", "2", "-o", "json"];
    let status = local(folder.path(), "sessions", args).ok().json();
    assert_eq!(status["counters"]["lines that are not a hit"], 1, "{status}");
    let expected = oracle::sessions(&text, 1800);
    assert!(expected.len() > 100);
    assert_eq!(sorted(&folder.path().join("out")), expected);
    assert_eq!(sorted(&job(folder.path(), "sessions", "in --gap 60000", "long")), oracle::sessions(&text, 60_000));
}

#[test]
fn ngrams_equal_the_model_with_ties_in_the_order_of_their_bytes() {
    let folder = folder();
    let text = corpus::text(13, 60_000);
    std::fs::write(folder.path().join("in"), &text).unwrap();
    for (n, top) in [(1, 10), (2, 300), (3, 50)] {
        let args = format!("in --n {n} --top {top} --chunk-size 5kB --partitions 3");
        assert_eq!(
            lines(&job(folder.path(), "ngrams", &args, &format!("out{n}"))),
            oracle::ngrams(&text, n, top),
            "{n}"
        );
    }
}
