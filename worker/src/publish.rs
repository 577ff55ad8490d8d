//! Staging folders of outputs: are they the coordinator's, and the parts of a granted attempt into them.
//!
//! A part is synced, file and folder, before it is reported. Everything here blocks.

use crate::chunks::Chunks;
use crate::job::StagingFolder;
use crate::scratch::AttemptFolder;
use std::path::Path;
use windrow_model::{AttemptId, Code, Escape, Failure};
use windrow_proto::convert::path_from_bytes;
use windrow_proto::v1;
use windrow_store::{Durability, check_nonce, place_part};

/// Whether this node sees the coordinator's staging folder (none: an empty path) and the job's inputs.
pub fn check_shared(question: v1::CheckStaging) -> Result<(), Failure> {
    if !question.folder.is_empty() {
        check_nonce(&path_from_bytes(question.folder, "check.folder")?, &question.nonce)?;
    }
    for input in question.inputs {
        let path = path_from_bytes(input, "check.inputs")?;
        if !Path::exists(&path) {
            let message = format!("{} is not on this worker", path.escaped());
            return Err(Failure::new(Code::InputNotShared, message));
        }
    }
    Ok(())
}

/// Whether the folders of a job's setup are the coordinator's, as far as it says how to tell.
pub fn check_setup(staging: &[StagingFolder]) -> Result<(), Failure> {
    let asked = staging.iter().filter(|s| !s.nonce.is_empty());
    asked.into_iter().try_for_each(|s| Ok(check_nonce(&s.path, &s.nonce)?))
}

/// Places the attempt's part for each of these sinks: into a staging folder, or among the chunks of datasets, which are the
/// answer. May be repeated.
pub fn publish(
    attempt: AttemptId,
    folder: &AttemptFolder,
    sinks: &[u32],
    staging: &[StagingFolder],
    dataset_sinks: &[u32],
    chunks: &Chunks,
) -> Result<Vec<v1::PublishedChunk>, Failure> {
    let mut kept = Vec::new();
    for sink in sinks {
        if dataset_sinks.contains(sink) {
            let chunk = chunks.keep(&folder.sink(*sink))?;
            kept.extend(chunk.map(|(digest, length)| v1::PublishedChunk {
                sink: *sink,
                digest: Some(digest.into()),
                length,
            }));
            continue;
        }
        let target = staging.iter().find(|s| s.sink == *sink).ok_or_else(|| {
            Failure::new(
                Code::BadRequest,
                format!("the setup of {} has no staging folder for sink {sink}", attempt.task.job),
            )
        })?;
        let source = folder.sink(*sink);
        place_part(&target.path, &attempt, &target.suffix, &source, Durability::Sync)?;
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use crate::testing::attempt;
    use std::fs;
    use std::sync::Arc;

    #[test]
    fn each_sink_part_appears_under_its_tasks_number_and_may_be_published_again() {
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
        fs::create_dir_all(files.outputs()).unwrap();
        fs::write(files.sink(1), "for b").unwrap();
        fs::write(files.sink(0), "for a").unwrap();
        for _ in 0..2 {
            publish(id, &files, &[1, 0], &staging, &[], &chunks).unwrap();
        }
        let part = windrow_format::names::attempt_part(&id, ".tsv");
        for (sink, text) in [("a", "for a"), ("b", "for b")] {
            assert_eq!(fs::read_to_string(folder.path().join(sink).join("_parts").join(&part)).unwrap(), text);
        }
        let missing = publish(id, &files, &[9], &staging, &[], &chunks).unwrap_err();
        assert_eq!(missing.code, Code::BadRequest);
    }

    #[test]
    fn a_folder_of_this_machine_only_is_told_before_anything_runs() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("nonce"), "here").unwrap();
        let setup = |nonce: &str| {
            let path = folder.path().to_path_buf();
            check_setup(&[StagingFolder { sink: 0, path, suffix: String::new(), nonce: nonce.into() }])
        };
        assert_eq!(setup(""), Ok(()));
        assert_eq!(setup("here"), Ok(()));
        assert_eq!(setup("there").unwrap_err().code, Code::OutputNotShared);

        let bytes = windrow_proto::convert::path_to_bytes;
        let ask = |inputs: &[&Path]| {
            let inputs = inputs.iter().map(|p| bytes(p)).collect();
            check_shared(v1::CheckStaging { inputs, ..Default::default() })
        };
        assert_eq!(ask(&[folder.path()]), Ok(()));
        assert_eq!(ask(&[folder.path(), &folder.path().join("gone")]).unwrap_err().code, Code::InputNotShared);
    }
}
