//! The parts of a granted attempt into the output's staging folder, synced before it is reported.

use crate::job::StagingFolder;
use crate::scratch::AttemptFolder;
use windrow_model::{AttemptId, Code, Failure};
use windrow_store::{Durability, place_part};

/// Places each sink part (output number, sink number) of the attempt. May be repeated. Blocks.
pub fn publish(
    attempt: AttemptId,
    folder: &AttemptFolder,
    sinks: &[(u32, u32)],
    staging: &[StagingFolder],
) -> Result<(), Failure> {
    for (output, sink) in sinks {
        let target = staging.iter().find(|s| s.sink == *sink).ok_or_else(|| {
            Failure::new(
                Code::BadRequest,
                format!("the setup of {} has no staging folder for sink {sink}", attempt.task.job),
            )
        })?;
        let source = folder.sink(*output);
        place_part(&target.path, attempt.task.index, &target.suffix, &source, Durability::Sync)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use crate::testing::attempt;
    use std::fs;

    #[test]
    fn each_sink_part_appears_under_its_tasks_number_and_may_be_published_again() {
        let folder = tempfile::tempdir().unwrap();
        let scratch = Scratch::open(&folder.path().join("data")).unwrap();
        let staging: Vec<_> = ["a", "b"]
            .iter()
            .enumerate()
            .map(|(i, name)| {
                let path = folder.path().join(name);
                fs::create_dir(&path).unwrap();
                StagingFolder { sink: i as u32, path, suffix: ".tsv".into() }
            })
            .collect();
        let id = attempt(1, 7);
        let files = scratch.attempt(&id);
        fs::create_dir_all(files.outputs()).unwrap();
        fs::write(files.sink(0), "for b").unwrap();
        fs::write(files.sink(2), "for a").unwrap();
        for _ in 0..2 {
            publish(id, &files, &[(0, 1), (2, 0)], &staging).unwrap();
        }
        assert_eq!(fs::read_to_string(folder.path().join("a/part-00007.tsv")).unwrap(), "for a");
        assert_eq!(fs::read_to_string(folder.path().join("b/part-00007.tsv")).unwrap(), "for b");
        let missing = publish(id, &files, &[(0, 9)], &staging).unwrap_err();
        assert_eq!(missing.code, Code::BadRequest);
    }
}
