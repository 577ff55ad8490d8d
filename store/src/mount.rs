//! The mount that a path is on, from the text of the path and the system's list. Touches no mount.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use windrow_format::regular_file;
use windrow_model::Location;

/// Most bytes of the list of mounts that are read.
const MOUNTS_BYTES_MAX: u64 = 64 << 20;

/// The mount point above a path, without resolving links; of a URL, its scheme and the first part of its name.
pub(crate) fn mount_of(path: &Path) -> PathBuf {
    if Location::of_name(path).path().is_none() {
        return path.components().take(2).collect();
    }
    let mounts = regular_file::read(Path::new("/proc/self/mountinfo"), MOUNTS_BYTES_MAX).unwrap_or_default();
    longest_mount(&mounts, path).unwrap_or_else(|| PathBuf::from("/"))
}

/// Format of a line: id parent device root MOUNT-POINT options…, with octal escapes for separators.
fn longest_mount(mounts: &[u8], path: &Path) -> Option<PathBuf> {
    let points = mounts.split(|b| *b == b'\n').filter_map(|line| line.split(|b| *b == b' ').nth(4));
    let points = points.map(|point| PathBuf::from(OsString::from_vec(unescaped(point))));
    points.filter(|point| path.starts_with(point)).max_by_key(|point| point.as_os_str().len())
}

fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| *first == b'\\');
        let byte = octal.and_then(|d| u8::from_str_radix(std::str::from_utf8(d).ok()?, 8).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[3..] } else { after };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_of_a_path_is_the_deepest_above_it() {
        let mounts = b"\
22 1 254:0 / / rw - ext4 /dev/vda rw
31 22 0:28 / /mnt rw - tmpfs tmpfs rw
35 31 0:32 / /mnt/far\\040away rw - nfs4 host:/ rw
";
        let of = |path: &str| longest_mount(mounts, Path::new(path)).unwrap();
        assert_eq!(of("/mnt/far away/in/a"), Path::new("/mnt/far away"));
        assert_eq!(of("/mnt/far"), Path::new("/mnt"));
        assert_eq!(of("/mntx"), Path::new("/"));
        assert_eq!(mount_of(Path::new("s3://bucket/out")), mount_of(Path::new("s3://bucket/other/out")));
        assert_ne!(mount_of(Path::new("s3://bucket/out")), mount_of(Path::new("s3://other/out")));
    }
}
