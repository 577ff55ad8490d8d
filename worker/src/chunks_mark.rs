//! The cluster's id on the folder of the chunks itself, as an extended attribute. Chunks may lie on a disk of their
//! own, which may later be mounted on another worker. Without such attributes in the file system there is no mark.

use rustix::fs::{XattrFlags, getxattr, setxattr};
use rustix::io::Errno;
use std::io;
use std::path::Path;
use windrow_model::ClusterId;

const NAME: &str = "user.windrow.cluster";
/// Longer than the text form of any id.
const LENGTH_MAX: usize = 128;

/// The cluster that a folder of chunks is marked with.
///
/// # Errors
/// A mark that is not an id; errors of the disk.
pub(crate) fn read(folder: &Path) -> io::Result<Option<ClusterId>> {
    let mut mark = [0; LENGTH_MAX];
    let length = match getxattr(folder, NAME, &mut mark) {
        Ok(length) => length,
        Err(Errno::NODATA | Errno::NOTSUP | Errno::NOSYS) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let id = std::str::from_utf8(&mark[..length]).ok().and_then(|text| text.parse().ok());
    id.map(Some).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("its attribute {NAME} is not an id")))
}

/// Marks a folder of chunks.
pub(crate) fn write(folder: &Path, cluster: ClusterId) -> io::Result<()> {
    match setxattr(folder, NAME, cluster.to_string().as_bytes(), XattrFlags::empty()) {
        Err(Errno::NOTSUP | Errno::NOSYS) => Ok(()),
        marked => Ok(marked?),
    }
}
