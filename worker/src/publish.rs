//! Staged outputs: verifies that this worker sees the coordinator's storage, and places the parts of a granted attempt there.
//!
//! A part is durable before it is reported. The storage belongs to the user and may not answer: each access has a limit and a
//! thread of its own.

use crate::attempt_files::AttemptFiles;
use crate::chunks::Chunks;
use crate::error::disk_failure;
use crate::finished_part;
use crate::job::{JobSetup, StagingFolder};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;
use windrow_failpoint::failpoint;
use windrow_model::{AttemptId, Code, Escape, Failure, PartReport};
use windrow_proto::convert::path_from_bytes;
use windrow_proto::v1;
use windrow_store::{Durability, Outputs, PartFile, Progress, StorageCalls};

/// What the coordinator gets to know of the parts of a published attempt.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PublishedParts {
    /// Those that have become chunks of datasets.
    pub(crate) chunks: Vec<v1::PublishedChunk>,
    /// Those whose storage has given a receipt.
    pub(crate) placed: Vec<v1::PlacedPart>,
}

/// Checks that this node sees the coordinator's staging (none: an empty name) and the job's inputs.
pub(crate) async fn check_shared(question: v1::CheckStaging, storage: &StorageCalls) -> Result<(), Failure> {
    if !question.folder.is_empty() {
        let folder = path_from_bytes(question.folder, "check.folder")?;
        check_area(folder, question.nonce, storage).await?;
    }
    for input in question.inputs {
        let path = path_from_bytes(input, "check.inputs")?;
        let asked = path.clone();
        let is_there = move |_: &Progress| -> Result<bool, Failure> {
            Ok(failpoint!("input.probe").is_ok() && Path::exists(&asked))
        };
        if !storage.run(&path, is_there).await? {
            let message = format!("{} is not on this worker", path.escaped());
            return Err(Failure::new(Code::InputNotShared, message));
        }
    }
    Ok(())
}

/// Checks that the stagings of a job's setup are the coordinator's, where the setup has a nonce.
pub(crate) async fn check_setup(staging: &[StagingFolder], storage: &StorageCalls) -> Result<(), Failure> {
    for folder in staging.iter().filter(|s| !s.nonce.is_empty()) {
        check_area(folder.path.clone(), folder.nonce.clone(), storage).await?;
    }
    Ok(())
}

async fn check_area(area: PathBuf, nonce: String, storage: &StorageCalls) -> Result<(), Failure> {
    let own = area.clone();
    storage.run_output(&area, move |kind, _| Ok(kind.check_nonce(&own, &nonce)?)).await
}

/// Bound on moving a piece of a part to its storage, and on making the part durable there.
const PLACE_MAX: Duration = Duration::from_secs(600);

/// Like [`place_parts`], on storage that may not answer. After the limit a part may still appear, under its attempt's
/// own name: it counts only if this attempt is granted again.
pub(crate) async fn publish(
    attempt: AttemptId,
    files: AttemptFiles,
    parts: Vec<PartReport>,
    setup: &JobSetup,
    chunks: Chunks,
    storage: &StorageCalls,
) -> Result<PublishedParts, Failure> {
    let (staging, dataset_sinks) = (setup.staging.clone(), setup.dataset_sinks.clone());
    let outputs = storage.outputs().clone();
    let target = staging
        .iter()
        .find(|s| parts.iter().any(|p| p.sink == s.sink))
        .map_or(files.folder(), |s| &s.path)
        .to_path_buf();
    let place = move |progress: &Progress| {
        let to = Targets { staging: &staging, dataset_sinks: &dataset_sinks, outputs: &outputs, chunks: &chunks };
        place_parts(attempt, &files, &parts, to, progress)
    };
    storage.for_writes(PLACE_MAX).run(&target, place).await
}

/// Where the parts of a job go.
struct Targets<'a> {
    staging: &'a [StagingFolder],
    dataset_sinks: &'a [u32],
    outputs: &'a Outputs,
    chunks: &'a Chunks,
}

/// Places these parts of the attempt, which must be as its task has written them: into the staging, or among the chunks of
/// datasets. Idempotent. Blocks.
fn place_parts(
    attempt: AttemptId,
    files: &AttemptFiles,
    parts: &[PartReport],
    to: Targets<'_>,
    progress: &Progress,
) -> Result<PublishedParts, Failure> {
    let mut published = PublishedParts::default();
    for part in parts {
        progress.tick();
        let (sink, source) = (part.sink, files.sink(part.sink));
        if to.dataset_sinks.contains(&sink) {
            let chunk = to.chunks.keep(&source, part)?;
            let chunk = chunk.map(|(digest, length)| v1::PublishedChunk { sink, digest: Some(digest.into()), length });
            published.chunks.extend(chunk);
            continue;
        }
        let target = to.staging.iter().find(|s| s.sink == sink).ok_or_else(|| {
            Failure::new(
                Code::BadRequest,
                format!("the setup of {} has no staging folder for sink {sink}", attempt.task.job),
            )
        })?;
        match finished_part::check_length(&source, part) {
            // Placed by an earlier call, or gone.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            checked => checked.map_err(|e| disk_failure("publish", &source, 0, &e))?,
        }
        let file = PartFile { attempt: &attempt, suffix: &target.suffix, file: &source };
        let kind = to.outputs.of_area(&target.path)?;
        let receipt = kind.place(&target.path, file, Durability::Sync, &|| progress.tick())?;
        if !receipt.is_empty() {
            published.placed.push(v1::PlacedPart { sink, receipt: receipt.bytes().to_vec() });
        }
    }
    Ok(published)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finished_part::tests::part;
    use crate::scratch::Scratch;
    use std::fs;
    use std::sync::Arc;
    use windrow_sim::samples::attempt;

    #[test]
    fn part_is_named_by_task_and_republish_is_idempotent() {
        let folder = tempfile::tempdir().unwrap();
        let scratch = Scratch::open(&folder.path().join("data")).unwrap();
        let staging: Vec<_> = ["a", "b"]
            .iter()
            .enumerate()
            .map(|(i, name)| {
                let path = folder.path().join(name);
                fs::create_dir_all(path.join("_parts")).unwrap();
                StagingFolder { sink: i as u32, path, suffix: ".tsv".into(), nonce: String::new() }
            })
            .collect();
        let id = attempt(1, 7);
        let files = scratch.attempt(&id);
        let chunks = Chunks::new(Arc::new(Scratch::open(&folder.path().join("other")).unwrap()));
        fs::create_dir_all(files.folder()).unwrap();
        fs::write(files.sink(1), "for b").unwrap();
        fs::write(files.sink(0), "for a").unwrap();
        let outputs = Outputs::default();
        let to = || Targets { staging: &staging, dataset_sinks: &[], outputs: &outputs, chunks: &chunks };
        let place =
            |id, files: &AttemptFiles, parts: &[PartReport]| place_parts(id, files, parts, to(), &Progress::default());
        let parts = [part(1, "for b"), part(0, "for a")];
        for _ in 0..2 {
            assert_eq!(place(id, &files, &parts).unwrap(), PublishedParts::default());
        }
        let name = windrow_format::names::attempt_part(&id, ".tsv");
        for (sink, text) in [("a", "for a"), ("b", "for b")] {
            assert_eq!(fs::read_to_string(folder.path().join(sink).join("_parts").join(&name)).unwrap(), text);
        }
        assert_eq!(place(id, &files, &[part(9, "")]).unwrap_err().code, Code::BadRequest);

        let id = attempt(1, 8);
        let files = scratch.attempt(&id);
        fs::create_dir_all(files.folder()).unwrap();
        fs::write(files.sink(0), "for").unwrap();
        let changed = place(id, &files, &[part(0, "for a")]).unwrap_err();
        assert!(changed.code == Code::IoError && changed.message.contains("3 bytes instead of 5"), "{changed}");
    }

    #[tokio::test]
    async fn machine_local_output_is_refused_before_any_task() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("nonce"), "here").unwrap();
        let storage = StorageCalls::default();
        let setup = async |nonce: &str| {
            let path = folder.path().to_path_buf();
            let staging = StagingFolder { sink: 0, path, suffix: String::new(), nonce: nonce.into() };
            check_setup(&[staging], &storage).await
        };
        assert_eq!(setup("").await, Ok(()));
        assert_eq!(setup("here").await, Ok(()));
        assert_eq!(setup("there").await.unwrap_err().code, Code::OutputNotShared);

        let bytes = windrow_proto::convert::path_to_bytes;
        let ask = async |inputs: &[&Path]| {
            let inputs = inputs.iter().map(|p| bytes(p)).collect();
            check_shared(v1::CheckStaging { inputs, ..Default::default() }, &storage).await
        };
        assert_eq!(ask(&[folder.path()]).await, Ok(()));
        assert_eq!(ask(&[folder.path(), &folder.path().join("gone")]).await.unwrap_err().code, Code::InputNotShared);
    }
}
