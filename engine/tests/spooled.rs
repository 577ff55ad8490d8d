//! Small outputs share one file: a spool has the bytes of the files that it replaces, and what does not belong into it has
//! a file of its own.

mod support;

use proptest::prelude::*;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use support::Sum;
use windrow_engine::{
    Codec, CombinedEdge, EdgeResult, EdgeSpec, EngineError, Identity, LocalSegment, Pairs, Partitioning, PlainEdge,
    Share, open_concat,
};
use windrow_format::spool::Spool;

type Pair = (Vec<u8>, Vec<u8>);

fn spec(folder: &Path, task: u32, codec: Codec, spool: Option<Arc<Spool>>) -> EdgeSpec {
    let usual = support::spec(folder, Partitioning::Hash(5), codec, 8 << 20);
    EdgeSpec {
        folder: folder.join(format!("task-{task}")),
        file: folder.join(format!("task-{task}/out")),
        identity: Identity { task, ..usual.identity },
        spool,
        ..usual
    }
}

fn plain(spec: &EdgeSpec, pairs: &[Pair]) -> Result<EdgeResult, EngineError> {
    let mut edge = PlainEdge::new(spec.clone());
    pairs.iter().try_for_each(|(key, value)| edge.push(key, value))?;
    edge.finish()
}

fn combined(spec: &EdgeSpec, pairs: &[Pair]) -> Result<EdgeResult, EngineError> {
    let mut edge = CombinedEdge::new(spec.clone(), Sum)?;
    pairs.iter().try_for_each(|(key, value)| edge.push(key, value.len() as u64))?;
    edge.finish()
}

/// The segments as a reader opens them.
fn local(spec: &EdgeSpec, result: &EdgeResult) -> Vec<LocalSegment> {
    let (path, base) = match (result.place, &spec.spool) {
        (Some(place), Some(spool)) => (spool.path().clone(), place.offset),
        _ => (spec.file.clone().into(), 0),
    };
    result.segments.iter().map(|s| LocalSegment::in_image(path.clone(), base, s, spec.identity)).collect()
}

fn read(spec: &EdgeSpec, result: &EdgeResult) -> Vec<Pair> {
    let mut pairs = open_concat(local(spec, result)).unwrap();
    let mut all = Vec::new();
    while let Some((key, value)) = pairs.peek() {
        all.push((key.to_vec(), value.to_vec()));
        pairs.advance().unwrap();
    }
    all
}

fn pairs(count: u32, value: usize) -> Vec<Pair> {
    (0..count).map(|n| (format!("key {}", n % 700).into_bytes(), vec![n as u8; value])).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn spool_has_the_bytes_of_the_files_that_it_replaces(
        tasks in prop::collection::vec((0u32..400, 0usize..40, any::<bool>()), 1..6),
        compressed: bool,
    ) {
        let [own, spooled] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let codec = if compressed { Codec::Lz4 } else { Codec::None };
        let spool = Arc::new(Spool::new(spooled.path().join("spool")));
        let mut results = Vec::new();
        for (task, (count, value, combines)) in (0u32..).zip(&tasks) {
            let pairs = pairs(*count, *value);
            let write = |spec: &EdgeSpec| if *combines { combined(spec, &pairs) } else { plain(spec, &pairs) };
            let [in_file, in_spool] =
                [spec(own.path(), task, codec, None), spec(spooled.path(), task, codec, Some(spool.clone()))];
            let [from_file, from_spool] = [&in_file, &in_spool].map(|spec| write(spec).unwrap());
            prop_assert_eq!(&from_file.segments, &from_spool.segments);
            prop_assert_eq!((from_file.has_file, from_file.place), (*count > 0, None));
            prop_assert_eq!((from_spool.has_file, from_spool.place.is_some()), (false, *count > 0));
            results.push((in_file, from_file, in_spool, from_spool));
        }
        for (in_file, from_file, in_spool, from_spool) in results {
            prop_assert!(!in_spool.folder.exists());
            let Some(place) = from_spool.place else {
                prop_assert!(!in_file.folder.exists());
                continue;
            };
            let bytes = fs::read(spool.path()).unwrap();
            let image = &bytes[place.offset as usize..(place.offset + place.length) as usize];
            prop_assert!(image == fs::read(&in_file.file).unwrap());
            prop_assert!(read(&in_file, &from_file) == read(&in_spool, &from_spool));
        }
    }
}

#[test]
fn large_and_spilled_outputs_have_files_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Arc::new(Spool::new(folder.path().join("spool")));
    let large = spec(folder.path(), 0, Codec::None, Some(spool.clone()));
    let pairs = pairs(1_000, 1_100);
    let result = plain(&large, &pairs).unwrap();
    assert_eq!((result.place, read(&large, &result).len(), result.runs), (None, 1_000, 0));
    let little_memory =
        EdgeSpec { share: Share::alone(64 << 10, 2), ..spec(folder.path(), 1, Codec::None, Some(spool.clone())) };
    let result = plain(&little_memory, &pairs[..500]).unwrap();
    assert!(result.runs > 0 && result.place.is_none());
    assert_eq!(read(&little_memory, &result).len(), 500);
    assert!(!spool.path().exists());
}

#[test]
fn edge_without_pairs_makes_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Arc::new(Spool::new(folder.path().join("job/spool")));
    for spool in [None, Some(spool)] {
        let spec = spec(folder.path(), 0, Codec::Lz4, spool);
        for result in [plain(&spec, &[]).unwrap(), combined(&spec, &[]).unwrap()] {
            assert_eq!((result.segments.len(), result.place, result.has_file), (0, None, false));
        }
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn output_after_the_spool_was_deleted_has_its_own_file() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Arc::new(Spool::new(folder.path().join("spool")));
    let [first, second] = [0, 1].map(|task| spec(folder.path(), task, Codec::None, Some(spool.clone())));
    assert!(plain(&first, &pairs(10, 10)).unwrap().place.is_some());
    fs::remove_file(spool.path()).unwrap();
    let result = plain(&second, &pairs(10, 10)).unwrap();
    assert_eq!((result.place, read(&second, &result).len()), (None, 10));
}

// Failpoints exist only with debug assertions.
#[cfg(debug_assertions)]
#[test]
fn failed_append_fails_its_edge_alone() {
    use windrow_model::{Code, Failure};
    let folder = tempfile::tempdir().unwrap();
    let spool = Arc::new(Spool::new(folder.path().join("spool")));
    let spec = spec(folder.path(), 0, Codec::None, Some(spool.clone()));
    let armed = windrow_failpoint::arm("shuffle.write=enospc");
    let failure = Failure::from(plain(&spec, &pairs(10, 10)).unwrap_err());
    drop(armed);
    assert_eq!(failure.code, Code::NoSpace);
    let path = spool.path().to_str().unwrap();
    assert!(failure.message.contains(path) && failure.message.contains(" free"), "{failure}");
    let result = plain(&spec, &pairs(10, 10)).unwrap();
    assert_eq!((result.place.map(|place| place.offset), read(&spec, &result).len()), (Some(0), 10));
    assert!(!spec.folder.exists());
}
