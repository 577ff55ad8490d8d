//! The mount that a path is on, from the text of the path and the system's list. Touches no mount.
//!
//! The list is kept, and read again when the system says that it has changed.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use windrow_format::regular_file;
use windrow_model::Location;

/// Most bytes of the list of mounts that are read.
const MOUNTS_BYTES_MAX: u64 = 64 << 20;

/// The mount point above a path, without resolving links; of a URL, its scheme and the first part of its name.
pub(crate) fn mount_of(path: &Path) -> PathBuf {
    if Location::of_name(path).path().is_none() {
        return path.components().take(2).collect();
    }
    static KNOWN: Mutex<Option<Mounts>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if known.as_ref().is_none_or(Mounts::have_changed) {
        *known = Mounts::read().ok();
    }
    let points = known.as_ref().map_or(&[][..], |mounts| &mounts.points);
    longest(points, path).unwrap_or_else(|| Path::new("/")).to_path_buf()
}

/// The list of mounts.
struct Mounts {
    /// Open as long as the list is kept, for news.
    list: File,
    points: Vec<PathBuf>,
}

impl Mounts {
    /// Reads the list. News are those since before it was read.
    fn read() -> io::Result<Mounts> {
        let list = regular_file::open(Path::new("/proc/self/mountinfo"))?;
        let mut text = Vec::new();
        (&list).take(MOUNTS_BYTES_MAX).read_to_end(&mut text)?;
        Ok(Mounts { list, points: points(&text) })
    }

    /// Whether anything was mounted or unmounted since the list was read or asked.
    fn have_changed(&self) -> bool {
        let mut news = [PollFd::new(&self.list, PollFlags::PRI)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        match poll(&mut news, Some(&at_once)) {
            Ok(_) => news[0].revents().intersects(PollFlags::PRI | PollFlags::ERR),
            Err(_) => true,
        }
    }
}

/// The mount points of a list. Format of a line: id parent device root MOUNT-POINT options…, with octal escapes for separators.
fn points(mounts: &[u8]) -> Vec<PathBuf> {
    let points = mounts.split(|b| *b == b'\n').filter_map(|line| line.split(|b| *b == b' ').nth(4));
    points.map(|point| PathBuf::from(OsString::from_vec(unescaped(point)))).collect()
}

/// The deepest mount point above a path.
fn longest<'m>(points: &'m [PathBuf], path: &Path) -> Option<&'m Path> {
    let above = points.iter().filter(|point| path.starts_with(point));
    above.max_by_key(|point| point.as_os_str().len()).map(PathBuf::as_path)
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
        let points = points(mounts);
        let of = |path: &str| longest(&points, Path::new(path)).unwrap();
        assert_eq!(of("/mnt/far away/in/a"), Path::new("/mnt/far away"));
        assert_eq!(of("/mnt/far"), Path::new("/mnt"));
        assert_eq!(of("/mntx"), Path::new("/"));
        assert_eq!(mount_of(Path::new("s3://bucket/out")), mount_of(Path::new("s3://bucket/other/out")));
        assert_ne!(mount_of(Path::new("s3://bucket/out")), mount_of(Path::new("s3://other/out")));
    }
}
