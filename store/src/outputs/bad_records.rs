//! The list of the records and keys that are missing from an output.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use windrow_model::{BadRecord, path_text};

/// One line of JSON for each bad record or key, with the message of the first stage that read it and all stages that left it out. A path
/// that is not UTF-8 is written in the form of `path_text`.
///
/// # Errors
/// A record cannot be written as JSON.
pub fn bad_record_lines(records: &[BadRecord]) -> io::Result<Vec<u8>> {
    let mut stages: BTreeMap<(&Path, u64), Vec<u32>> = BTreeMap::new();
    for bad in records.iter().filter(|bad| bad.key.is_none()) {
        let readers = stages.entry((&bad.place.file, bad.place.offset)).or_default();
        if !readers.contains(&bad.task.stage.0) {
            readers.push(bad.task.stage.0);
        }
    }
    let mut lines = Vec::new();
    for bad in records {
        if let Some(key) = &bad.key {
            let line = serde_json::json!({
                "file": null,
                "offset": null,
                "key": key.shown,
                "code": bad.code.as_str(),
                "message": bad.message,
                "stage": bad.task.stage.0,
                "stages": [bad.task.stage.0],
                "task": bad.task.index,
            });
            serde_json::to_writer(&mut lines, &line)?;
            lines.push(b'\n');
            continue;
        }
        let Some(stages) = stages.remove(&(bad.place.file.as_path(), bad.place.offset)) else { continue };
        let line = serde_json::json!({
            "file": path_text(&bad.place.file),
            "offset": bad.place.offset,
            "record": bad.place.excerpt,
            "code": bad.code.as_str(),
            "message": bad.message,
            "stage": bad.task.stage.0,
            "stages": stages,
            "task": bad.task.index,
        });
        serde_json::to_writer(&mut lines, &line)?;
        lines.push(b'\n');
    }
    Ok(lines)
}
