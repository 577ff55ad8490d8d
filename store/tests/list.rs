//! Named inputs are resolved to files in input order, and all bad inputs are reported at once.

use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use windrow_model::{Code, Escape, Location};
use windrow_store::{Steps, StoreError, list_inputs};

struct Tree(tempfile::TempDir);

impl Tree {
    fn new(files: &[&str]) -> Tree {
        let tree = Tree(tempfile::tempdir().unwrap());
        files.iter().for_each(|f| tree.file(f));
        tree
    }
    fn root(&self) -> &Path {
        self.0.path()
    }
    fn file(&self, name: &str) {
        let path = self.root().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    fn arguments(&self, inputs: &[&str]) -> Vec<String> {
        inputs.iter().map(|i| format!("{}/{i}", self.root().escaped())).collect()
    }
    fn list(&self, inputs: &[&str]) -> Vec<String> {
        let files = list_inputs(&self.arguments(inputs), &Steps::default()).unwrap();
        files.iter().map(|f| f.path.strip_prefix(self.root()).unwrap().to_string_lossy().into()).collect()
    }
    fn fail(&self, inputs: &[&str]) -> StoreError {
        list_inputs(&self.arguments(inputs), &Steps::default()).unwrap_err()
    }
    fn fifo(&self, name: &str) {
        mknodat(CWD, self.root().join(name), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    }
}

#[test]
fn files_are_ordered_by_argument_then_path_bytes() {
    let tree = Tree::new(&["d/a/x", "d/a-b", "d/a.c", "d/B", "d/ä", "e/z", "e/10", "e/9"]);
    assert_eq!(tree.list(&["e", "d"]), ["e/10", "e/9", "e/z", "d/B", "d/a-b", "d/a.c", "d/a/x", "d/ä"]);
    let files = list_inputs(&tree.arguments(&["e/z", "d/B", "e/z"]), &Steps::default()).unwrap();
    assert_eq!(files.iter().map(|f| f.argument_index).collect::<Vec<_>>(), [0, 1, 2], "named twice, read twice");
}

#[test]
fn hidden_names_are_skipped_in_folders_only() {
    let tree = Tree::new(&["d/part-00000", "d/_SUCCESS", "d/.x", "d/_logs/a", "d/.git/b", "d/s/_t", "_d/y"]);
    assert_eq!(tree.list(&["d"]), ["d/part-00000"]);
    assert_eq!(tree.list(&["_d", "d/_SUCCESS", "d/.x"]), ["_d/y", "d/_SUCCESS", "d/.x"]);
    assert_eq!(tree.list(&["d/*"]), ["d/part-00000"]);
    assert_eq!(tree.list(&["d/_*"]), ["d/_SUCCESS", "d/_logs/a"]);
}

#[test]
fn globs_match_names_folders_and_deep_trees() {
    let tree = Tree::new(&["l/1/a.log", "l/1/b.txt", "l/2/a.log", "l/2/deep/er/c.log", "l/x.log", "m/[1]", "m/1"]);
    assert_eq!(tree.list(&["l/*/*.log"]), ["l/1/a.log", "l/2/a.log"]);
    assert_eq!(tree.list(&["l/**/*.log"]), ["l/1/a.log", "l/2/a.log", "l/2/deep/er/c.log", "l/x.log"]);
    assert_eq!(tree.list(&["l/**"]), ["l/1/a.log", "l/1/b.txt", "l/2/a.log", "l/2/deep/er/c.log", "l/x.log"]);
    assert_eq!(tree.list(&["l/[13]"]), ["l/1/a.log", "l/1/b.txt"], "a folder that matches is read as a folder");
    assert_eq!(tree.list(&["l/?"]).len(), 4);
    assert_eq!(tree.list(&["l/**/1/.."]).len(), 5);
    assert_eq!(tree.list(&["m/[1]"]), ["m/[1]"], "a path that exists wins over the pattern");
    assert_eq!(tree.list(&["l/**/deep", "l/*"]).len(), 6);
}

#[test]
fn a_path_matched_twice_by_one_glob_is_read_once() {
    let tree = Tree::new(&["g/g/x"]);
    assert_eq!(tree.list(&["**/g"]), ["g/g/x"]);
}

#[test]
fn links_are_followed_and_loops_are_refused() {
    let tree = Tree::new(&["real/a", "d/b"]);
    symlink(tree.root().join("real"), tree.root().join("d/link")).unwrap();
    symlink(tree.root().join("real/a"), tree.root().join("d/c")).unwrap();
    assert_eq!(tree.list(&["d"]), ["d/b", "d/c", "d/link/a"]);
    symlink(tree.root().join("d"), tree.root().join("real/up")).unwrap();
    let e = tree.fail(&["d"]);
    assert_eq!(e.code, Code::InputUnreadable);
    assert!(e.message.contains("d/link/up"), "{e}");
}

#[test]
fn special_files_are_refused_without_blocking() {
    let tree = Tree::new(&["d/a"]);
    tree.fifo("fifo");
    let _socket = std::os::unix::net::UnixListener::bind(tree.root().join("socket")).unwrap();
    symlink("nowhere", tree.root().join("dangling")).unwrap();
    symlink("loop", tree.root().join("loop")).unwrap();
    for name in ["fifo", "socket", "dangling", "loop"] {
        let e = tree.fail(&[name]);
        assert_eq!(e.code, Code::InputUnreadable, "{e}");
        assert!(e.message.contains(name), "{e}");
    }
    assert_eq!(list_inputs(&["/dev/null".into()], &Steps::default()).unwrap_err().code, Code::InputUnreadable);
    tree.fifo("d/fifo");
    symlink("nowhere", tree.root().join("d/dangling")).unwrap();
    let e = tree.fail(&["d"]);
    assert!(e.message.starts_with("2 bad inputs:"), "{e}");
}

#[test]
fn missing_inputs_are_named() {
    let tree = Tree::new(&["a"]);
    for name in ["nothing", "a/b", "*.log", "nowhere/*", "**/x.log"] {
        let e = tree.fail(&["a", name]);
        assert_eq!(e.code, Code::InputNotFound, "{e}");
        assert!(e.message.contains(name), "{e}");
    }
    assert_eq!(list_inputs(&["windrow://x".into()], &Steps::default()).unwrap_err().code, Code::DatasetNotFound);
}

#[test]
fn a_file_without_permission_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let tree = Tree::new(&["a", "d/b"]);
    fs::set_permissions(tree.root().join("a"), fs::Permissions::from_mode(0o000)).unwrap();
    if fs::File::open(tree.root().join("a")).is_ok() {
        return; // root reads everything
    }
    assert_eq!(tree.fail(&["a"]).code, Code::InputUnreadable);
}

#[test]
fn first_twenty_bad_inputs_are_named_and_all_counted() {
    let tree = Tree::new(&[]);
    let names: Vec<String> = (0..30).map(|i| format!("missing-{i:02}")).collect();
    let e = tree.fail(&names.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(e.message.starts_with("30 bad inputs, the first 20:"), "{e}");
    assert!(e.message.contains("missing-19") && !e.message.contains("missing-20"), "{e}");
}

#[test]
fn empty_folder_is_not_an_error() {
    let tree = Tree::new(&["a.gz", "b.zst", "c.bz2", "d.txt", "gz"]);
    fs::create_dir(tree.root().join("empty")).unwrap();
    assert!(tree.list(&["empty"]).is_empty());
    let files = list_inputs(&tree.arguments(&["?.*", "gz"]), &Steps::default()).unwrap();
    assert_eq!(files[3].identity.length, 5);
    assert!(windrow_store::same(&files[3].path, &files[3].identity).unwrap());
    fs::write(&files[3].path, "longer than before").unwrap();
    assert!(!windrow_store::same(&files[3].path, &files[3].identity).unwrap());
    fs::remove_file(&files[3].path).unwrap();
    assert!(!windrow_store::same(&files[3].path, &files[3].identity).unwrap());
}

#[test]
fn names_that_are_not_utf8_are_sorted_by_bytes() {
    let tree = Tree::new(&["d/z", "d/a"]);
    fs::write(tree.root().join("d").join(OsStr::from_bytes(b"\xff")), "x").unwrap();
    for input in ["d", "d/*"] {
        let files = list_inputs(&tree.arguments(&[input]), &Steps::default()).unwrap();
        let last: Vec<_> = files.iter().map(|f| f.path.file_name().unwrap().as_bytes().to_vec()).collect();
        assert_eq!(last, [b"a".to_vec(), b"z".to_vec(), b"\xff".to_vec()]);
    }
}

#[test]
fn empty_path_is_refused() {
    let e = list_inputs(&[String::new()], &Steps::default()).unwrap_err();
    assert_eq!((e.code, e.message.as_str()), (Code::BadRequest, "an input path is empty: was a variable not set?"));
    let e = windrow_store::Outputs::default().check(Location::of(""), true, &[], &Steps::default()).unwrap_err();
    assert_eq!(e.code, Code::BadRequest);
}

#[test]
fn input_of_which_every_file_is_skipped_is_an_error() {
    let tree = Tree::new(&[]);
    for path in ["hidden/_x", "hidden/.y", "deep/a/_z", "below/_folder/f", "finished/_SUCCESS", "mixed/_x", "mixed/f"] {
        tree.file(path);
    }
    fs::create_dir(tree.root().join("empty")).unwrap();
    for input in ["hidden", "deep", "below", "hidden/", "d*"] {
        let e = tree.fail(&[input]);
        assert_eq!(e.code, Code::InputNotFound, "{input}");
        assert!(e.message.contains("every file in it is skipped") && e.message.contains(input), "{e}");
    }
    assert!(tree.list(&["empty", "finished"]).is_empty());
    assert_eq!(tree.list(&["mixed"]), ["mixed/f"]);
    assert_eq!(tree.list(&["hidden/_x"]), ["hidden/_x"], "a named file is read");
}

#[test]
fn names_in_messages_are_escaped_and_distinct() {
    let tree = Tree::new(&[]);
    let e = tree.fail(&["a\nFAKE\u{1b}[31m"]);
    assert!(e.message.contains(r"a\nFAKE\x1b[31m") && !e.message.contains('\n'), "{e}");
    let mut messages = std::collections::BTreeSet::new();
    for byte in [0xfe, 0xff] {
        let name = std::ffi::OsStr::from_bytes(&[b'x', byte]).to_owned();
        symlink("nowhere", tree.root().join(&name)).unwrap();
        messages.insert(tree.fail(&["*"]).message);
        fs::remove_file(tree.root().join(&name)).unwrap();
    }
    assert_eq!(messages.len(), 2, "{messages:?}");
}
