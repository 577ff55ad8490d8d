//! Resolves the inputs that a user names to files in input order.
//!
//! A named file is read whatever its name; a folder is read recursively, without names that begin with `_` or `.`; a
//! glob stands for its matches. Files are ordered by argument, then by the bytes of the path. Calls `stat` once for
//! every file and opens none, so a FIFO does not block and a million small files cost two system calls each.

use crate::bad_inputs::{Bad, describe};
use crate::error::Result;
use crate::glob;
use crate::input_file::InputFile;
use crate::steps::Steps;
use crate::walk::{Skipped, Walk};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use windrow_model::{Code, Location};

/// The error about a folder of which no file is read.
const ALL_SKIPPED: &str =
    "every file in it is skipped: names that begin with `_` or `.` are only read where they are named";

/// All files of all inputs, in input order. If any input is bad, the error names the first twenty of them.
///
/// An empty path is bad, and so is an input of which every file is skipped. An empty folder is not bad, nor is the
/// output of a job that wrote nothing. An existing path is taken literally even if it contains wildcards. A file that
/// is named twice is read twice. Every entry takes a step.
pub fn list_inputs(inputs: &[String], steps: &Steps) -> Result<Vec<InputFile>> {
    let mut bad = Bad::default();
    let mut files = Vec::new();
    for (argument, input) in inputs.iter().enumerate() {
        let first = files.len();
        let roots = roots(input, steps, &mut |path, code, what| bad.add(path, code, what))?;
        let bad_before = bad.count;
        let mut walk = Walk::new(argument, &mut files, &mut bad, steps);
        for root in &roots {
            walk.run(root.clone())?;
        }
        if walk.skipped == Skipped::Some && walk.files.len() == first && walk.bad.count == bad_before {
            bad.add(Path::new(input), Code::InputNotFound, ALL_SKIPPED.into());
        }
        files[first..].sort_by(|a, b| a.path.as_os_str().as_bytes().cmp(b.path.as_os_str().as_bytes()));
        if roots.len() > 1 {
            // A glob may match both a folder and its contents; one argument never lists a path twice.
            let mut rest = files.split_off(first);
            rest.dedup_by(|a, b| a.path == b.path);
            files.append(&mut rest);
        }
    }
    bad.into_result(files)
}

/// The roots of an input before folders are listed: the path itself, or the matches of a glob.
pub(crate) fn roots(input: &str, steps: &Steps, bad: &mut dyn FnMut(&Path, Code, String)) -> Result<Vec<PathBuf>> {
    let path = Path::new(input);
    if input.is_empty() {
        bad(path, Code::BadRequest, "an input path is empty: was a variable not set?".into());
        return Ok(Vec::new());
    }
    if Location::of(input).dataset().is_some() {
        bad(path, Code::DatasetNotFound, "datasets exist only in a cluster; this run reads files".into());
        return Ok(Vec::new());
    }
    steps.step(path)?;
    let missing = match path.symlink_metadata() {
        Ok(_) => return Ok(vec![path.to_path_buf()]),
        Err(e) => e,
    };
    if !glob::is_pattern(input) {
        let (code, what) = describe(&missing);
        bad(path, code, what);
        return Ok(Vec::new());
    }
    let mut unreadable = false;
    let found = glob::expand(input, steps, &mut |folder, e| {
        unreadable = true;
        bad(folder, Code::InputUnreadable, e.to_string());
    })?;
    if found.is_empty() && !unreadable {
        bad(path, Code::InputNotFound, "matches nothing".into());
    }
    Ok(found)
}
