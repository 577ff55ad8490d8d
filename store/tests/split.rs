//! Chunks hold every byte once; parts follow from the input alone.

use proptest::prelude::*;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use windrow_model::{Chunk, Code, Digest, FileIdentity, Framing, PartitionCounts, Partitions, Plan, SourceSpec};
use windrow_store::{InputFile, PartsOf, SplitOptions, Steps, list_inputs, split};

fn source(framing: Framing) -> SourceSpec {
    SourceSpec { inputs: Vec::new(), framing, header: false, sample: false, as_is: false }
}

/// A plan without stages.
fn plan() -> Plan {
    Plan { stages: vec![], sinks: vec![], collects: vec![], sides: vec![], fingerprint: Digest([0; 32]) }
}

const LINES: Framing = Framing::Delimiter(b'\n');

fn exact(chunk_bytes: u64) -> SplitOptions {
    SplitOptions { chunk_bytes: Some(chunk_bytes), slots: 2, ..SplitOptions::default() }
}

/// Files `0`, `1`, … with these contents; marked ones get the suffix `.gz`.
fn files(contents: &[(&[u8], bool)]) -> (tempfile::TempDir, Vec<InputFile>) {
    let dir = tempfile::tempdir().unwrap();
    for (i, (bytes, gz)) in contents.iter().enumerate() {
        fs::write(dir.path().join(format!("{i:04}{}", if *gz { ".gz" } else { "" })), bytes).unwrap();
    }
    let files = list_inputs(&[dir.path().to_str().unwrap().to_string()], &Steps::default()).unwrap();
    (dir, files)
}

fn bytes_of(chunk: &Chunk) -> Vec<u8> {
    let mut all = Vec::new();
    for r in &chunk.ranges {
        let mut bytes = vec![0; r.length as usize];
        File::open(&r.path).unwrap().read_exact_at(&mut bytes, r.offset).unwrap();
        all.extend(bytes);
    }
    all
}

fn lengths(chunks: &[Chunk]) -> Vec<Vec<u64>> {
    chunks.iter().map(|c| c.ranges.iter().map(|r| r.length).collect()).collect()
}

#[test]
fn small_files_share_a_chunk_and_large_ones_stand_alone() {
    let (_dir, files) = files(&[
        (b"a\n", false),
        (b"b\n", false),
        (b"", false),
        (b"cc\ncc\ncc\n", false),
        (b"d\n", false),
        (b"eee\n", false),
    ]);
    assert_eq!(
        lengths(&split(&source(LINES), &files, exact(4), &Steps::default()).unwrap()),
        [vec![2, 2], vec![6], vec![3], vec![2], vec![4]]
    );
    assert_eq!(lengths(&split(&source(LINES), &files, exact(100), &Steps::default()).unwrap()), [vec![2, 2, 9, 2, 4]]);
    let one_byte = split(&source(LINES), &files, exact(1), &Steps::default()).unwrap();
    assert_eq!(one_byte.len(), 7, "one record each");
    assert!(one_byte.iter().all(|c| c.ranges.len() == 1));
}

#[test]
fn no_bytes_give_no_chunks() {
    let (_dir, none) = files(&[]);
    assert!(split(&source(LINES), &none, exact(1), &Steps::default()).unwrap().is_empty());
    let (_dir, empty) = files(&[(b"", false), (b"", true)]);
    let parts = SplitOptions { parts: Some(PartsOf::Bytes(7)), ..exact(1) };
    assert!(split(&source(LINES), &empty, parts, &Steps::default()).unwrap().is_empty());
    assert!(split(&source(Framing::Fixed(100)), &empty, parts, &Steps::default()).unwrap().is_empty());
}

#[test]
fn compressed_files_are_never_cut() {
    let (_dir, files) = files(&[(b"x\ny\nz\n", true)]);
    let chunks =
        split(&source(LINES), &files, SplitOptions { parts: Some(PartsOf::Bytes(3)), ..exact(1) }, &Steps::default())
            .unwrap();
    assert_eq!(lengths(&chunks), [vec![6]]);
    assert_eq!(chunks[0].part, 0);
}

#[test]
fn magic_bytes_make_a_file_compressed_only_for_text() {
    let (_dir, files) = files(&[(b"\x1f\x8b\x08\ny\nz\n", false)]);
    let cuts = |source: &SourceSpec, options| lengths(&split(source, &files, options, &Steps::default()).unwrap());
    assert_eq!(cuts(&source(LINES), exact(1)), [vec![8]]);
    let cut = [vec![4], vec![2], vec![2]];
    assert_eq!(cuts(&source(LINES), SplitOptions { as_is: true, ..exact(1) }), cut);
    assert_eq!(cuts(&SourceSpec { as_is: true, ..source(LINES) }, exact(1)), cut);
    assert_eq!(cuts(&source(Framing::Fixed(4)), exact(4)), [vec![4], vec![4]]);
}

#[test]
fn unsupported_formats_are_refused_as_text_when_they_are_cut() {
    let (_dir, files) = files(&[(b"\xfd7zXZ\0\n\n\n", false)]);
    let e = split(&source(LINES), &files, exact(1), &Steps::default()).unwrap_err();
    assert!(e.code == Code::InputUnsupported && e.message.contains("0000: xz is not supported"), "{e}");
    split(&source(LINES), &files, SplitOptions { as_is: true, ..exact(1) }, &Steps::default()).unwrap();
    split(&source(Framing::Fixed(1)), &files, exact(1), &Steps::default()).unwrap();
}

#[test]
fn file_of_partial_records_is_refused_with_its_length() {
    let (_dir, files) = files(&[(&[0; 100], false), (&[0; 150], false)]);
    let e = split(&source(Framing::Fixed(100)), &files, exact(1), &Steps::default()).unwrap_err();
    assert_eq!(e.code, Code::InputMalformed);
    assert!(e.message.contains("0001") && e.message.contains("150"), "{e}");
}

#[test]
fn file_changed_since_listing_is_refused() {
    let (dir, files) = files(&[(b"aaaa\nbbbb\n", false)]);
    fs::write(dir.path().join("0000"), "aaaa\n").unwrap();
    assert_eq!(split(&source(LINES), &files, exact(2), &Steps::default()).unwrap_err().code, Code::InputChanged);
    fs::remove_file(dir.path().join("0000")).unwrap();
    assert_eq!(split(&source(LINES), &files, exact(2), &Steps::default()).unwrap_err().code, Code::InputChanged);
}

#[test]
fn chunk_sizes_are_chosen_from_input_and_slots() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sparse");
    let listed = |length: u64| {
        File::create(&path).unwrap().set_len(length).ok()?;
        Some(list_inputs(&[path.to_str().unwrap().to_string()], &Steps::default()).unwrap())
    };
    let options = |slots| SplitOptions { slots, ..SplitOptions::default() };
    let count = |length, slots| {
        listed(length).map(|f| split(&source(Framing::Fixed(1)), &f, options(slots), &Steps::default()).unwrap().len())
    };
    assert_eq!(count(1 << 20, 8), Some(1));
    assert_eq!(count(24 << 20, 2), Some(6));
    assert_eq!(count(24 << 20, 1000), Some(24));
    assert!(count(10 << 40, 2).is_none_or(|n| n == 40_960));
}

/// A file, or a chunk of a dataset, that is only listed.
fn listed(length: u64, is_of_dataset: bool) -> InputFile {
    InputFile {
        path: "/in".into(),
        identity: FileIdentity { length, ..FileIdentity::default() },
        argument_index: 0,
        as_is: true,
        content: is_of_dataset.then(|| Digest::of(b"chunk")),
    }
}

#[test]
fn input_of_100_tb_makes_100_000_chunks() {
    let options = SplitOptions { slots: 6_400, ..SplitOptions::default() };
    let chunks = |files: &[InputFile], options| split(&source(Framing::Fixed(100)), files, options, &Steps::default());
    let file = [listed(100_000_000_000_000, false)];
    assert_eq!(chunks(&file, options).unwrap().len(), 100_000);
    // Parts of a map-only job end chunks, too: there are still fewer than a source may have.
    let parts = PartitionCounts::new(&plan(), None, 100_000_000_000_000).of(Partitions::Auto);
    let of_parts = chunks(&file, SplitOptions { parts: Some(PartsOf::Bytes(parts)), ..options }).unwrap().len();
    assert!((414_187..520_000).contains(&of_parts), "{of_parts}");
}

#[test]
fn chunks_of_datasets_share_tasks_up_to_256_mib() {
    let options = SplitOptions { slots: 2, ..SplitOptions::default() };
    let tasks = |count, length| {
        let files = vec![listed(length, true); count];
        let chunks = split(&source(LINES), &files, options, &Steps::default()).unwrap();
        (chunks.len(), chunks[0].ranges.len())
    };
    assert_eq!(tasks(1_000, 32 << 20), (125, 8));
    // Large parts of a job: a task that reads two of them would find one elsewhere, and a file of as many bytes has
    // chunks of twice their size.
    assert_eq!(tasks(200_000, 480_000_000), (200_000, 1));
}

#[test]
fn huge_sparse_file_of_lines_is_split_quickly() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sparse");
    let file = File::create(&path).unwrap();
    if file.set_len(10 << 40).is_err() {
        return; // a file system without such files
    }
    for tib in 1..10u64 {
        file.write_all_at(b"\n", tib << 40).unwrap();
    }
    let files = list_inputs(&[path.to_str().unwrap().to_string()], &Steps::default()).unwrap();
    let options = SplitOptions { slots: 8, parts: Some(PartsOf::Bytes(2000)), ..SplitOptions::default() };
    let chunks = split(&source(LINES), &files, options, &Steps::default()).unwrap();
    assert_eq!(chunks.len(), 10);
    assert_eq!(chunks.iter().map(Chunk::length).sum::<u64>(), 10 << 40);
}

#[test]
fn chunk_of_tiny_files_has_a_bounded_description() {
    let contents = vec![(&b"x"[..], false); 5000];
    let (_dir, files) = files(&contents);
    let chunks = split(&source(LINES), &files, exact(1 << 20), &Steps::default()).unwrap();
    assert_eq!(chunks.iter().map(|c| c.ranges.len()).collect::<Vec<_>>(), [4096, 904]);
}

fn content() -> impl Strategy<Value = (Vec<u8>, bool)> {
    let line = prop::collection::vec(prop_oneof![Just(b'a'), Just(b'\r'), any::<u8>()], 0..12);
    (prop::collection::vec(line, 0..12), any::<bool>(), prop::bool::weighted(0.2)).prop_map(|(lines, last, gz)| {
        let mut bytes = lines.join(&b'\n');
        if last {
            bytes.push(b'\n');
        }
        (bytes, gz)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn parts_do_not_depend_on_the_chunk_size(
        contents in prop::collection::vec(content(), 0..8),
        parts in 1u32..12,
        sizes in prop::collection::vec(prop_oneof![1u64..10, 1u64..400, Just(u64::MAX)], 3),
        whole in prop::bool::weighted(0.2),
    ) {
        let borrowed: Vec<(&[u8], bool)> = contents.iter().map(|(b, gz)| (&b[..], *gz)).collect();
        let (_dir, files) = files(&borrowed);
        let all: Vec<u8> = contents.iter().flat_map(|(b, _)| b.clone()).collect();
        let total = all.len() as u64;
        let source = source(if whole { Framing::Whole } else { LINES });
        let mut expected: Option<Vec<Vec<u8>>> = None;
        for size in sizes.into_iter().map(Some).chain([None]) {
            let options = SplitOptions { chunk_bytes: size, slots: 3, parts: Some(PartsOf::Bytes(parts)), as_is: false };
            let chunks = split(&source, &files, options, &Steps::default()).unwrap();
            let mut by_part = vec![Vec::new(); parts as usize];
            let mut at = 0u64;
            for chunk in &chunks {
                prop_assert!(chunk.ranges.iter().all(|r| r.length > 0));
                prop_assert!(chunk.ranges.len() == 1 || size.is_none_or(|s| chunk.length() <= s));
                // Each part begins at the first possible cut at or after its nominal start.
                if by_part[chunk.part as usize].is_empty() {
                    prop_assert!(at >= chunk.part as u64 * total / parts as u64);
                }
                prop_assert!(by_part[chunk.part as usize + 1..].iter().all(Vec::is_empty), "parts in order");
                by_part[chunk.part as usize].extend(bytes_of(chunk));
                at += chunk.length();
            }
            prop_assert_eq!(by_part.concat(), all.clone());
            match &expected {
                None => expected = Some(by_part),
                Some(expected) => prop_assert_eq!(&by_part, expected),
            }
        }
    }
}

#[test]
fn input_of_too_many_chunks_is_refused_with_their_size() {
    // One and a half million records of one byte, each a chunk.
    let (_dir, files) = files(&[(&[0; 1_500_000], false)]);
    let refused = split(&source(Framing::Fixed(1)), &files, exact(1), &Steps::default()).unwrap_err();
    assert_eq!(refused.code, Code::BadRequest);
    assert!(refused.message.contains("chunks of 1 B") && refused.message.contains("--chunk-size"), "{refused}");
}

#[test]
fn folder_of_200_000_files_costs_three_steps_a_file() {
    const FILES: u64 = 200_000;
    // Links of a few files, in memory if that is possible: the files themselves are not what is tried here.
    let memory = std::path::Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let folder = dir.path().join("in");
    fs::create_dir(&folder).unwrap();
    for n in 0..FILES {
        let original = dir.path().join(format!("original-{}", n / 50_000));
        if n % 50_000 == 0 {
            fs::write(&original, "a\n").unwrap();
        }
        fs::hard_link(&original, folder.join(format!("{n:06}"))).unwrap();
    }
    let steps = Steps::default();
    let files = list_inputs(&[folder.to_str().unwrap().to_string()], &steps).unwrap();
    let chunks = split(&source(LINES), &files, SplitOptions { slots: 2, ..SplitOptions::default() }, &steps).unwrap();
    let ranges = || chunks.iter().flat_map(|chunk| &chunk.ranges);
    assert_eq!((files.len() as u64, ranges().count() as u64), (FILES, FILES));
    assert!(ranges().map(|range| &range.path).is_sorted());
    assert!(steps.taken() <= 3 * FILES + 10, "{}", steps.taken());
    // Small files share chunks, as many as a chunk may have.
    assert!(chunks.len() as u64 <= FILES / 1_000, "{}", chunks.len());
}

#[test]
fn parts_by_file_hold_one_file_each() {
    let (_dir, files) = files(&[(b"a\n", false), (b"b\nc\n", false), (b"d\n", false)]);
    let by_file = |count| SplitOptions { parts: Some(PartsOf::Files(count)), ..exact(100) };
    let split = |files: &[InputFile], count| split(&source(LINES), files, by_file(count), &Steps::default());
    let chunks = split(&files, 3).unwrap();
    assert_eq!(chunks.iter().map(|c| (c.part, c.ranges.len())).collect::<Vec<_>>(), [(0, 1), (1, 1), (2, 1)]);
    assert_eq!(split(&files, 2).unwrap_err().code, Code::InputChanged);
    let mut cut_off = files.clone();
    cut_off[1].identity.length = 0;
    assert_eq!(split(&cut_off, 3).unwrap_err().code, Code::InputCorrupt);
}
