//! From what a user names to files in input order.
//!
//! A file is taken whatever its name; a folder recursively, without names that begin with `_` or `.`; a glob as what
//! it matches. Order: argument, then the bytes of the path. Looks at every file once and opens none, so a FIFO does
//! not block and a million small files cost two system calls each.

use crate::error::{Result, StoreError};
use crate::glob;
use crate::steps::Steps;
use crate::walk::{Skipped, Walk};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use windrow_model::{Code, Digest, Escape, FileIdentity};

/// A file to read, at its place in the input order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputFile {
    pub path: PathBuf,
    pub identity: FileIdentity,
    /// Which of the named inputs it came from.
    pub argument_index: usize,
    /// Its bytes are records as they are: it was cut when it was put, and has no beginning that could say how it is stored.
    pub as_is: bool,
    /// It is a chunk of a dataset, and `path` only its name.
    pub content: Option<Digest>,
}

/// So many bad inputs are told by name.
const TOLD_MAX: usize = 20;

/// What is wrong with a folder of which nothing is read.
const ALL_SKIPPED: &str =
    "every file in it is skipped: names that begin with `_` or `.` are only read where they are named";

/// All files of all inputs, in input order. If any input is bad the error names the first twenty of them.
///
/// An empty path is bad, and so is an input of which every file is skipped. An empty folder is not, nor is the finished
/// output of a job that wrote nothing.
/// A path that exists is taken literally even if it has wildcards in it. A file that is named twice is read twice.
/// Every entry that it looks at is a step.
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
            // A glob may match both a folder and what is in it; one argument never gives a path twice.
            let mut rest = files.split_off(first);
            rest.dedup_by(|a, b| a.path == b.path);
            files.append(&mut rest);
        }
    }
    bad.into_result(files)
}

/// What an input stands for before folders are opened: the path itself, or what a glob matches.
pub(crate) fn roots(input: &str, steps: &Steps, bad: &mut dyn FnMut(&Path, Code, String)) -> Result<Vec<PathBuf>> {
    let path = Path::new(input);
    if input.is_empty() {
        bad(path, Code::BadRequest, "an input path is empty: was a variable not set?".into());
        return Ok(Vec::new());
    }
    if input.starts_with("windrow://") {
        bad(path, Code::DatasetNotFound, "datasets live in a cluster; here are files only".into());
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

pub(crate) fn describe(e: &io::Error) -> (Code, String) {
    match e.kind() {
        io::ErrorKind::NotFound => (Code::InputNotFound, "no such file or folder".into()),
        io::ErrorKind::NotADirectory => (Code::InputNotFound, e.to_string()),
        _ => (Code::InputUnreadable, e.to_string()),
    }
}

/// Bad inputs: the first ones by name, the others counted.
#[derive(Default)]
pub(crate) struct Bad {
    code: Option<Code>,
    told: Vec<String>,
    count: usize,
}

impl Bad {
    pub fn add(&mut self, path: &Path, code: Code, what: String) {
        self.code.get_or_insert(code);
        self.count += 1;
        if self.told.len() < TOLD_MAX {
            self.told.push(match path.as_os_str().is_empty() {
                true => what,
                false => format!("{}: {what}", path.escaped()),
            });
        }
    }

    /// The code is that of the first bad input.
    fn into_result<T>(self, good: T) -> Result<T> {
        let Some(code) = self.code else { return Ok(good) };
        let message = match &self.told[..] {
            [only] => only.clone(),
            told if self.count > told.len() => {
                format!("{} bad inputs, the first {}:\n  {}", self.count, told.len(), told.join("\n  "))
            }
            told => format!("{} bad inputs:\n  {}", self.count, told.join("\n  ")),
        };
        Err(StoreError::new(code, message))
    }
}
