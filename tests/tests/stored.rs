//! How text is stored: compressed text is known by its bytes, whatever its name; unreadable formats are refused by
//! name; and decompression stays within the memory.

use flate2::write::GzEncoder;
use std::io::Write;
use std::path::Path;
use tempfile::TempDir;
use windrow_tests::cluster::Cluster;
use windrow_tests::output::{concatenated, lines, sorted};
use windrow_tests::program::{Ended, local};

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) {
    std::fs::write(folder.join(name), bytes).unwrap();
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn wordcount(folder: &Path, args: &str) -> Ended {
    local(folder, "wordcount", args.split(' '))
}

const TEXT: &[u8] = b"one two\ntwo\nthree two\n";
const COUNTS: [&str; 3] = ["one\t1", "three\t1", "two\t3"];

/// Files of the same text, stored in every readable format.
fn stored_in_every_way(folder: &Path) -> Vec<&'static str> {
    let padded = [&gzip(TEXT)[..], &[0; 5000]].concat();
    let members = [gzip(b"one two\nt"), gzip(b"wo\nthree two\n")].concat();
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(TEXT).unwrap();
    let all: [(&str, Vec<u8>); 10] = [
        ("plain", TEXT.to_vec()),
        ("UP.GZ", gzip(TEXT)),
        ("a.gzip", gzip(TEXT)),
        ("nosuffix", gzip(TEXT)),
        ("wrong.txt", gzip(TEXT)),
        ("padded.gz", padded),
        ("members", members),
        ("B.ZSTD", zstd::encode_all(TEXT, 1).unwrap()),
        ("wrong.gz", zstd::encode_all(TEXT, 1).unwrap()),
        ("c", bzip2.finish().unwrap()),
    ];
    all.map(|(name, bytes)| {
        write(folder, name, bytes);
        name
    })
    .to_vec()
}

#[test]
fn compressed_text_is_known_by_its_bytes() {
    let folder = folder();
    let names = stored_in_every_way(folder.path());
    for name in &names {
        // Uncut, and where every byte would begin a new piece.
        for size in ["1MiB", "1B"] {
            wordcount(folder.path(), &format!("{name} --chunk-size {size} --output out --overwrite")).ok();
            assert_eq!(sorted(&folder.path().join("out")), COUNTS, "{name} in chunks of {size}");
        }
    }
    let cluster = Cluster::start(1, 2);
    let all = names.iter().copied().chain(["--chunk-size", "1B", "--output", "there"]);
    cluster.job(folder.path(), "wordcount", all).ok();
    let times = names.len();
    assert_eq!(
        sorted(&folder.path().join("there")),
        [format!("one\t{times}"), format!("three\t{times}"), format!("two\t{}", 3 * times)]
    );
    cluster.stop();
}

#[test]
fn unread_formats_are_refused_by_name() {
    let folder = folder();
    write(folder.path(), "in", "a b\n");
    write(folder.path(), "a.xz", b"\xfd7zXZ\0\0\x04words\nof compressed\nbytes\n");
    write(folder.path(), "nosuffix", b"PK\x03\x04words\nof an archive\n");
    write(folder.path(), "program", b"\x7fELF\x02\x01words\nof code\n");
    let mut tar = vec![0; 1024];
    tar[..2].copy_from_slice(b"in");
    tar[257..263].copy_from_slice(b"ustar\0");
    write(folder.path(), "in.tar.gz", gzip(&tar));
    for (name, format) in
        [("a.xz", "xz"), ("nosuffix", "a zip archive"), ("program", "an ELF"), ("in.tar.gz", "a tar archive")]
    {
        for size in ["1MiB", "1B"] {
            let ended = wordcount(folder.path(), &format!("in {name} --chunk-size {size} --output out"));
            ended.with(1).shows_error("INPUT_UNSUPPORTED", &[name, format, "not supported"]);
        }
    }
    let counts = |output: &str, count: &str| {
        let all = concatenated(&folder.path().join(output));
        assert!(all.split(|b| *b == b'\n').any(|line| line == count.as_bytes()), "{count}: {}", all.escape_ascii());
    };
    wordcount(folder.path(), "a.xz nosuffix --compression none --chunk-size 1B --output raw").ok();
    counts("raw", "of\t2");
    let cluster = Cluster::start(1, 1);
    cluster
        .job(folder.path(), "wordcount", ["a.xz", "--output", "out"])
        .with(1)
        .shows_error("INPUT_UNSUPPORTED", &["a.xz"]);
    cluster.job(folder.path(), "wordcount", ["a.xz", "--compression", "none", "--output", "there"]).ok();
    counts("there", "of\t1");
    cluster.stop();
}

#[test]
fn records_of_fixed_size_are_read_as_they_are_stored() {
    let folder = folder();
    // A hundred bytes that begin like a gzip.
    let record = [&[0x1f, 0x8b, 8][..], &[7; 97]].concat();
    write(folder.path(), "records.gz", &record);
    local(folder.path(), "terasort", ["sort", "records.gz", "--output", "out"]).ok();
    assert_eq!(concatenated(&folder.path().join("out")), record);
}

/// A frame with a window of 2^`log` bytes, whose content is stored uncompressed.
fn frame_with_window(log: u8, text: &[u8]) -> Vec<u8> {
    let block = (text.len() as u32) << 3 | 1;
    [&[0x28, 0xb5, 0x2f, 0xfd, 0, (log - 10) << 3][..], &block.to_le_bytes()[..3], text].concat()
}

#[test]
fn window_beyond_memory_is_refused_with_the_memory_needed() {
    let folder = folder();
    write(folder.path(), "long.zst", frame_with_window(28, TEXT));
    let small = "long.zst --threads 2 --memory 64MiB --output out";
    let refused = wordcount(folder.path(), small).with(1);
    let (_, needed) = refused.stderr.split_once("--memory ").unwrap();
    let needed = needed.split([',', ' ']).next().unwrap().to_string();
    refused.shows_error("DECOMPRESSION_LIMIT", &["long.zst", "258 MiB"]);
    wordcount(folder.path(), &format!("long.zst --threads 2 --memory {needed} --output out")).ok();
    assert_eq!(sorted(&folder.path().join("out")), COUNTS);
}

#[test]
fn long_record_of_a_small_file_does_not_outgrow_memory() {
    let folder = folder();
    let bytes = 48 << 20;
    let line = std::io::Read::take(std::io::repeat(b'x'), bytes);
    write(folder.path(), "one-line.zst", zstd::encode_all(line, 1).unwrap());
    let args = "one-line.zst --threads 2 --memory 32MiB --output out";
    wordcount(folder.path(), args)
        .with(1)
        .shows_error("DECOMPRESSION_LIMIT", &["one-line.zst", "a record of this length"]);
    // The same bytes in short lines are streamed: the ratio does not count.
    let mut text = vec![b'x'; bytes as usize];
    text.iter_mut().step_by(1000).for_each(|b| *b = b'\n');
    write(folder.path(), "lines.zst", zstd::encode_all(&text[..], 1).unwrap());
    local(folder.path(), "grep", ["^y", "lines.zst", "--threads", "2", "--memory", "32MiB", "--output", "none"]).ok();
}

#[test]
fn byte_order_mark_is_no_part_of_the_first_record() {
    let folder = folder();
    write(folder.path(), "marked", b"\xef\xbb\xbffoo\nfoo\n\xef\xbb\xbffoo\n");
    write(folder.path(), "packed", gzip(b"\xef\xbb\xbffoo\nfoo\n"));
    for size in ["1B", "1MiB"] {
        let args = ["^foo", "marked", "packed", "--with-place", "--chunk-size", size, "--output", "out", "--overwrite"];
        local(folder.path(), "grep", args).ok();
        let found = lines(&folder.path().join("out"));
        let ends: Vec<&str> = found.iter().map(|line| line.rsplit_once('/').unwrap().1).collect();
        assert_eq!(ends, ["marked:3:foo", "marked:7:foo", "packed:3:foo", "packed:7:foo"]);
    }
    // A record that begins with one comes back also as the first one of a part.
    local(folder.path(), "grep", ["^\\x{feff}foo", "marked", "--output", "once"]).ok();
    local(folder.path(), "grep", ["^\\x{feff}foo", "once", "--output", "twice"]).ok();
    let twice = concatenated(&folder.path().join("twice"));
    assert_eq!(twice, b"\xef\xbb\xbf\xef\xbb\xbffoo\n");
}

#[test]
fn datasets_hold_text_decompressed_and_whole_files_as_stored() {
    let folder = folder();
    let names = stored_in_every_way(folder.path());
    write(folder.path(), "marked", [b"\xef\xbb\xbf", TEXT].concat());
    write(folder.path(), "a.xz", b"\xfd7zXZ\0\0\x04words\n");
    let cluster = Cluster::start(1, 1);
    let data = |args: &[&str]| cluster.data(folder.path(), args);
    let mut args = vec!["put"];
    args.extend(&names);
    data(&[&args[..], &["marked", "texts"]].concat()).ok();
    data(&["get", "texts", "back"]).ok();
    assert_eq!(std::fs::read(folder.path().join("back")).unwrap(), TEXT.repeat(names.len() + 1));
    data(&["put", "a.xz", "packed"]).with(1).shows_error("INPUT_UNSUPPORTED", &["a.xz"]);
    data(&["put", "a.xz", "packed", "--compression", "none"]).ok();
    // A whole file is stored unchanged, and decompressed when it is read as text.
    data(&["put", "UP.GZ", "whole", "--framing", "whole"]).ok();
    data(&["get", "whole", "files"]).ok();
    assert_eq!(std::fs::read(folder.path().join("files/00000")).unwrap(), gzip(TEXT));
    cluster.job(folder.path(), "wordcount", ["windrow://whole", "--output", "out"]).ok();
    assert_eq!(sorted(&folder.path().join("out")), COUNTS);
    cluster.stop();
}
