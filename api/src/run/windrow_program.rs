//! Finds the program `windrow` on this machine.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

const PROGRAM: &str = "windrow";

/// The program `windrow` in the folder of the program `own`, else in the first folder of `path` that has it. Never `own` itself,
/// which may have the same name.
#[cfg_attr(feature = "client", allow(dead_code, reason = "a program with a client submits its jobs itself"))]
pub(crate) fn find(own: &Path, path: &OsStr) -> Option<PathBuf> {
    find_in(own, own.parent().map(Path::to_path_buf), path)
}

/// The same for a test, which cargo builds into a folder below that of the binaries.
pub(crate) fn find_above(own: &Path, path: &OsStr) -> Option<PathBuf> {
    find_in(own, own.ancestors().skip(1).take(3).map(Path::to_path_buf), path)
}

fn find_in(own: &Path, folders: impl IntoIterator<Item = PathBuf>, path: &OsStr) -> Option<PathBuf> {
    let identity = |path: &Path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    let this = identity(own);
    let listed = std::env::split_paths(path).filter(|folder| folder.is_absolute());
    let mut candidates = folders.into_iter().chain(listed).map(|folder| folder.join(PROGRAM));
    candidates.find(|candidate| is_executable(candidate) && identity(candidate) != this)
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windrow_beside_the_binary_comes_before_path() {
        let folder = tempfile::tempdir().unwrap();
        let make = |name: &str, mode: u32| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let own = make("bin/job", 0o755);
        let path = std::env::join_paths([folder.path().join("a"), folder.path().join("b")]).unwrap();
        assert_eq!(find(&own, &path), None);
        make("a/windrow", 0o644);
        fs::create_dir_all(folder.path().join("bin/windrow")).unwrap();
        let on_path = make("b/windrow", 0o755);
        assert_eq!(find(&own, &path), Some(on_path.clone()), "neither a file without the right nor a folder");
        fs::remove_dir(folder.path().join("bin/windrow")).unwrap();
        let beside = make("bin/windrow", 0o755);
        assert_eq!(find(&own, &path), Some(beside.clone()));
        assert_eq!(find(&beside, &path), Some(on_path), "a job of that name does not start itself");
        assert_eq!(find(&own, OsStr::new("relative:")), Some(beside.clone()));
        let test = make("bin/deps/test", 0o755);
        assert_eq!(find(&test, OsStr::new("")), None);
        assert_eq!(find_above(&test, OsStr::new("")), Some(beside));
    }
}
