//! Checks whether a path may become a job's output.
//!
//! Called before the first task runs, so that a job fails early if its output cannot be written. Only reads; `commit`
//! creates and renames, and repeats the decisive checks.

use crate::error::{Result, StoreError};
use crate::list;
use crate::steps::Steps;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use windrow_format::{manifest, names};
use windrow_model::{Code, Escape};

/// Most links that are followed before a path counts as a loop, as in the kernel.
const LINKS_MAX: u32 = 40;

/// Refuses an output that is one of the `inputs` (as the user named them), lies in one of them, or contains one of them.
pub(super) fn check_apart(path: &Path, inputs: &[String], steps: &Steps) -> Result<()> {
    let output = canonical_output(path)?;
    for input in inputs {
        // Errors of the inputs themselves are reported when they are listed.
        for root in list::roots(input, steps, &mut |_, _, _| {})? {
            steps.step(&root)?;
            if let Ok(root) = fs::canonicalize(&root) {
                check_input(path, &output, &root)?;
            }
        }
    }
    Ok(())
}

fn check_input(path: &Path, output: &Path, input: &Path) -> Result<()> {
    let how = if output == input {
        "is also an input"
    } else if output.starts_with(input) {
        "lies inside an input"
    } else if input.starts_with(output) {
        "holds an input"
    } else {
        return Ok(());
    };
    let message = format!("{}: the output {how}: {}", path.escaped(), input.escaped());
    Err(StoreError::new(Code::OutputInsideInput, message))
}

/// Checks the existing state of the output's path, without regard to inputs.
pub(super) fn check_free(path: &Path, overwrite: bool) -> Result<()> {
    // Without a trailing slash, which would follow a link.
    let bare: PathBuf = path.components().collect();
    match bare.symlink_metadata() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(StoreError::output(path, "cannot read its metadata", &e)),
        Ok(_) if !overwrite => {
            return Err(StoreError::new(Code::OutputExists, format!("{}: the output exists", path.escaped())));
        }
        Ok(_) => {}
    }
    let not_ours = |what: &str| {
        Err(StoreError::new(Code::OutputNotOurs, format!("{}: {what}; it is left as it is", path.escaped())))
    };
    match fs::metadata(&bare) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return not_ours("a symbolic link that leads nowhere"),
        Err(e) => return Err(StoreError::output(path, "cannot read its metadata", &e)),
        Ok(meta) if !meta.is_dir() => return not_ours("not a folder"),
        Ok(_) => {}
    }
    let cannot_look = |e: io::Error| StoreError::output(path, "cannot list it", &e);
    let mut entries = fs::read_dir(&bare).map_err(cannot_look)?.peekable();
    if entries.peek().is_none() {
        return Ok(());
    }
    let manifest = match manifest::read(&bare) {
        Ok(manifest) => manifest,
        Err(e) => return not_ours(&format!("it contains something other than a Windrow output ({e})")),
    };
    // Entries that a user has added beside the parts would be deleted too.
    let mut ours: BTreeSet<&OsStr> = manifest.parts.iter().map(|part| OsStr::new(part.name.as_str())).collect();
    ours.extend([names::SUCCESS, names::BAD_RECORDS].map(OsStr::new));
    for entry in entries {
        let name = entry.map_err(cannot_look)?.file_name();
        if !ours.contains(&*name) && !names::is_temporary(&name) {
            return not_ours(&format!("`{}` in it does not belong to the Windrow output", name.escaped()));
        }
    }
    Ok(())
}

/// The canonical path of an output: absolute, with every symbolic link and `..` resolved, even where nothing exists
/// yet. Two jobs write to the same folder exactly if these paths are equal.
pub(super) fn canonical_output(path: &Path) -> Result<PathBuf> {
    if path.as_os_str().is_empty() {
        return Err(StoreError::new(Code::BadRequest, "an output path is empty: was a variable not set?"));
    }
    let fail = |e: io::Error| StoreError::output(path, "cannot resolve the path", &e);
    let mut resolved = match path.is_absolute() {
        true => PathBuf::from("/"),
        false => std::env::current_dir().and_then(fs::canonicalize).map_err(fail)?,
    };
    let mut links = 0;
    // Names still to resolve, the next one last.
    let mut rest: Vec<OsString> = names_backwards(path);
    while let Some(name) = rest.pop() {
        if name == ".." {
            // `resolved` contains no links, so its lexical parent is right.
            resolved.pop();
            continue;
        }
        let next = resolved.join(&name);
        match next.symlink_metadata() {
            Ok(meta) if meta.is_symlink() => {
                links += 1;
                if links > LINKS_MAX {
                    return Err(fail(io::Error::other("too many symbolic links")));
                }
                let target = fs::read_link(&next).map_err(fail)?;
                if target.is_absolute() {
                    resolved = PathBuf::from("/");
                }
                rest.extend(names_backwards(&target));
            }
            Ok(_) => resolved = next,
            Err(e) if e.kind() == io::ErrorKind::NotFound => resolved = next,
            Err(e) => return Err(fail(e)),
        }
    }
    Ok(resolved)
}

fn names_backwards(path: &Path) -> Vec<OsString> {
    let name = |c: Component| match c {
        Component::Normal(n) => Some(n.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().rev().filter_map(name).collect()
}
