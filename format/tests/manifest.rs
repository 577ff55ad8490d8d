//! An output is verified against its manifest, and every difference is reported.

use std::fs;
use std::path::Path;
use windrow_format::checksum::crc32c;
use windrow_format::durable::Durability::NoSync;
use windrow_format::manifest::{self, ManifestError};
use windrow_model::{
    AttemptId, Epoch, Framing, Incarnation, JobId, Manifest, PartReport, SinkSpec, StageId, StagedPart, TaskId,
};

fn output(folder: &Path) -> Manifest {
    let contents: [&[u8]; 3] = [b"a\t1\n", b"", b"b\t2\nc\t3\n"];
    let mut parts = Vec::new();
    for (i, bytes) in contents.iter().enumerate() {
        let records = bytes.iter().filter(|b| **b == b'\n').count() as u64;
        let part = manifest::part(i as u32, "", bytes.len() as u64, records, crc32c(bytes));
        fs::write(folder.join(&part.name), bytes).unwrap();
        parts.push(part);
    }
    let manifest = manifest::build(JobId::from_bytes([1; 16]), "wordcount", "tsv", parts);
    manifest::write(folder, &manifest, NoSync).unwrap();
    manifest
}

#[test]
fn output_verifies_and_its_sums_match_its_parts() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = output(dir.path());
    assert_eq!((manifest.bytes, manifest.records), (12, 3));
    assert_eq!(manifest::verify(dir.path()).unwrap(), manifest);
}

#[test]
fn every_difference_is_reported() {
    type Damage = fn(&Path);
    type Expected = fn(&ManifestError) -> bool;
    let cases: [(Damage, Expected); 6] = [
        (|d| fs::remove_file(d.join("_SUCCESS")).unwrap(), |e| matches!(e, ManifestError::Missing { .. })),
        (|d| fs::write(d.join("_SUCCESS"), "").unwrap(), |e| matches!(e, ManifestError::Malformed { .. })),
        (|d| fs::remove_file(d.join("part-00001")).unwrap(), |e| matches!(e, ManifestError::PartMissing { .. })),
        (|d| fs::write(d.join("part-00002"), "b\t2\n").unwrap(), |e| matches!(e, ManifestError::PartSize { .. })),
        (|d| fs::write(d.join("part-00000"), "a\t2\n").unwrap(), |e| matches!(e, ManifestError::PartChecksum { .. })),
        (
            |d| {
                let text = fs::read_to_string(d.join("_SUCCESS")).unwrap();
                fs::write(d.join("_SUCCESS"), text.replace("\"version\": 1", "\"version\": 9")).unwrap();
            },
            |e| matches!(e, ManifestError::Newer { found: 9, .. }),
        ),
    ];
    for (i, (damage, expected)) in cases.iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        output(dir.path());
        damage(dir.path());
        let e = manifest::verify(dir.path()).unwrap_err();
        assert!(expected(&e), "case {i}: {e}");
    }
}

#[test]
fn part_name_cannot_leave_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    output(dir.path());
    let text = fs::read_to_string(dir.path().join("_SUCCESS")).unwrap();
    fs::write(dir.path().join("_SUCCESS"), text.replace("part-00000", "../part-00000")).unwrap();
    assert!(matches!(manifest::read(dir.path()), Err(ManifestError::Malformed { .. })));
}

#[test]
fn names_of_more_than_100_000_parts_sort_in_their_order() {
    let job = JobId::from_bytes([1; 16]);
    let sink = SinkSpec {
        path: "/out".into(),
        format: "tsv".into(),
        suffix: ".gz".into(),
        framing: Framing::Whole,
        overwrite: false,
    };
    let names = |count: u32| {
        let staged = (0..count).map(|n| {
            let task = TaskId { job, stage: StageId(1), index: n };
            let attempt = AttemptId { task, number: 0, epoch: Epoch(1), incarnation: Incarnation(1) };
            StagedPart { task: n, attempt, part: PartReport { sink: 0, bytes: 1, records: 1, checksum: 1 } }
        });
        let sealed = manifest::of_output(job, "job", 0, &sink, &staged.collect::<Vec<_>>()).unwrap();
        sealed.manifest.parts.into_iter().map(|part| part.name).collect::<Vec<_>>()
    };
    for count in [100_000, 100_001] {
        let names = names(count);
        assert!(names.len() == count as usize && names.is_sorted(), "{count}");
    }
    assert_eq!((&names(2)[1][..], &names(100_001)[1][..]), ("part-00001.gz", "part-000001.gz"));
}
