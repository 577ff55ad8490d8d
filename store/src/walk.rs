//! Walks from a named path to the files in and below it, depth first and without recursion.
//!
//! Symbolic links are followed: a folder to which several paths lead is listed once for each. A link to a folder that
//! contains it, and a folder to which very many paths lead, are errors: the listing would not terminate, or be
//! exponential in the depth of the tree.

use crate::bad_inputs::{Bad, describe};
use crate::error::{Result, StoreError};
use crate::glob;
use crate::identity;
use crate::input_file::InputFile;
use crate::steps::Steps;
use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, accessat};
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::vec::IntoIter;
use windrow_format::names::SUCCESS;
use windrow_model::{Code, Escape};

/// Most paths that may lead to one folder.
const PATHS_PER_FOLDER_MAX: u32 = 64;

/// Device and inode of a folder.
type FolderId = (u64, u64);

/// An open folder of the walk with the names that are still to visit.
struct Frame {
    id: FolderId,
    path: PathBuf,
    names: IntoIter<OsString>,
}

/// Entries of folders that were skipped because of their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Skipped {
    None,
    Some,
    /// The manifest of a finished output, and possibly others.
    Manifest,
}

/// The walk of one input argument.
pub(crate) struct Walk<'a> {
    pub argument: usize,
    pub files: &'a mut Vec<InputFile>,
    pub bad: &'a mut Bad,
    pub steps: &'a Steps,
    pub skipped: Skipped,
    frames: Vec<Frame>,
    /// Number of visits of each folder.
    entered: HashMap<FolderId, u32>,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(argument: usize, files: &'a mut Vec<InputFile>, bad: &'a mut Bad, steps: &'a Steps) -> Self {
        Walk { argument, files, bad, steps, skipped: Skipped::None, frames: Vec::new(), entered: HashMap::new() }
    }

    /// Adds every file in and below `root`. Records a problem of one path in `bad`; an error ends the whole work.
    pub(crate) fn run(&mut self, root: PathBuf) -> Result<()> {
        self.visit(root)?;
        while let Some(frame) = self.frames.last_mut() {
            match frame.names.next() {
                Some(name) => {
                    let path = frame.path.join(name);
                    self.visit(path)?;
                }
                None => drop(self.frames.pop()),
            }
        }
        Ok(())
    }

    fn visit(&mut self, path: PathBuf) -> Result<()> {
        self.steps.step(&path)?;
        let meta = match fs::metadata(&path) {
            Ok(meta) => meta,
            Err(e) => {
                let (code, what) = match path.symlink_metadata() {
                    Ok(link) if link.is_symlink() => (Code::InputUnreadable, format!("a symbolic link: {e}")),
                    _ => describe(&e),
                };
                self.bad.add(&path, code, what);
                return Ok(());
            }
        };
        if meta.is_dir() {
            return self.enter(path, (meta.dev(), meta.ino()));
        }
        if let Some(kind) = unfit(&meta) {
            self.bad.add(&path, Code::InputUnreadable, format!("{kind}, not a regular file"));
        } else if let Err(e) = accessat(CWD, &path, Access::READ_OK, AtFlags::EACCESS) {
            self.bad.add(&path, Code::InputUnreadable, io::Error::from(e).to_string());
        } else if meta.len() == 0 && has_bytes_without_size(&path) {
            let what = "its size is 0, but it has content, as in /proc: copy it to a disk first";
            self.bad.add(&path, Code::InputUnreadable, what.into());
        } else {
            self.steps.listed(&path)?;
            let identity = identity::of_metadata(&meta);
            self.files.push(InputFile { path, identity, argument_index: self.argument, as_is: false, content: None });
        }
        Ok(())
    }

    fn enter(&mut self, path: PathBuf, id: FolderId) -> Result<()> {
        if self.frames.iter().any(|frame| frame.id == id) {
            let what = "a symbolic link to a folder that it lies in".into();
            self.bad.add(&path, Code::InputUnreadable, what);
            return Ok(());
        }
        let entered = self.entered.entry(id).or_default();
        *entered += 1;
        if *entered > PATHS_PER_FOLDER_MAX {
            let what = format!(
                "{}: more than {PATHS_PER_FOLDER_MAX} paths lead to this folder, through symbolic links",
                path.escaped()
            );
            return Err(StoreError::new(Code::InputUnreadable, what));
        }
        // Read all names before following any: at most one folder is open, at any depth of the tree.
        let mut names = Vec::new();
        let mut entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(e) => {
                self.bad.add(&path, Code::InputUnreadable, e.to_string());
                return Ok(());
            }
        };
        loop {
            match entries.next() {
                None => break,
                Some(Err(e)) => {
                    self.bad.add(&path, Code::InputUnreadable, e.to_string());
                    return Ok(());
                }
                Some(Ok(entry)) => {
                    self.steps.step(&path)?;
                    let name = entry.file_name();
                    match glob::is_hidden(&name) {
                        false => names.push(name),
                        true if name == SUCCESS => self.skipped = Skipped::Manifest,
                        true if self.skipped == Skipped::None => self.skipped = Skipped::Some,
                        true => {}
                    }
                }
            }
        }
        self.frames.push(Frame { id, path, names: names.into_iter() });
        Ok(())
    }
}

/// Returns whether a file of size 0 has content nevertheless, as files of procfs and some network file systems do.
/// Chunks are cut by size, so such a file would be read as empty.
fn has_bytes_without_size(path: &Path) -> bool {
    // Some files of procfs block a read until an event.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let Ok(mut file) = rustix::fs::open(path, flags, Mode::empty()).map(File::from) else { return false };
    let has_bytes = file.read_exact(&mut [0]).is_ok();
    // A file that has just been written to has a size now.
    has_bytes && file.metadata().is_ok_and(|meta| meta.len() == 0)
}

fn unfit(meta: &Metadata) -> Option<&'static str> {
    let kind = meta.file_type();
    if kind.is_file() {
        None
    } else if kind.is_fifo() {
        Some("a FIFO")
    } else if kind.is_socket() {
        Some("a socket")
    } else {
        Some("a device")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::list::list_inputs;
    use std::os::unix::fs::symlink;

    fn text(path: &Path) -> String {
        path.to_str().unwrap().to_string()
    }

    #[test]
    fn folder_behind_two_links_is_listed_twice() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("in/real")).unwrap();
        fs::write(at("in/real/f"), "x").unwrap();
        symlink("real", at("in/link")).unwrap();
        let files = list_inputs(&[text(&at("in"))], &Steps::default()).unwrap();
        let names: Vec<_> = files.iter().map(|f| f.path.strip_prefix(at("in")).unwrap().to_path_buf()).collect();
        assert_eq!(names, [Path::new("link/f"), Path::new("real/f")]);
    }

    /// Each folder has two links to the next one: 2^30 paths lead to the last.
    #[test]
    fn diamond_of_links_is_refused_after_few_steps() {
        let dir = tempfile::tempdir().unwrap();
        for level in 0..30 {
            let folder = dir.path().join(format!("d{level}"));
            fs::create_dir(&folder).unwrap();
            for side in ["a", "b"] {
                symlink(format!("../d{}", level + 1), folder.join(side)).unwrap();
            }
        }
        fs::create_dir(dir.path().join("d30")).unwrap();
        let steps = Steps::default();
        let e = list_inputs(&[text(&dir.path().join("d0"))], &steps).unwrap_err();
        assert!(e.code == Code::InputUnreadable && e.message.contains("/d0/"), "{e}");
        assert!(steps.taken() < 40 * 64 * 8, "{} steps", steps.taken());
    }

    #[test]
    fn cancelled_walk_ends_at_its_next_step() {
        let dir = tempfile::tempdir().unwrap();
        (0..10).for_each(|n| fs::write(dir.path().join(n.to_string()), "x").unwrap());
        let steps = Steps::default();
        steps.cancel();
        assert_eq!(list_inputs(&[text(dir.path())], &steps).unwrap_err().code, Code::Cancelled);
        assert_eq!(steps.taken(), 1);
        let pattern = format!("{}/*", text(dir.path()));
        assert_eq!(list_inputs(&[pattern], &steps).unwrap_err().code, Code::Cancelled);
    }

    #[test]
    fn content_without_a_size_is_refused() {
        let e = list_inputs(&["/proc/self/status".to_string()], &Steps::default()).unwrap_err();
        assert!(e.code == Code::InputUnreadable && e.message.contains("size is 0"), "{e}");
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("empty"), "").unwrap();
        assert_eq!(list_inputs(&[text(dir.path())], &Steps::default()).unwrap().len(), 1);
    }

    #[test]
    fn tree_as_deep_as_paths_can_be_is_listed() {
        let dir = tempfile::tempdir().unwrap();
        let mut deep = dir.path().to_path_buf();
        while deep.as_os_str().len() < 3_900 {
            deep.push("d");
        }
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("f"), "x").unwrap();
        assert_eq!(list_inputs(&[text(dir.path())], &Steps::default()).unwrap().len(), 1);
    }
}
