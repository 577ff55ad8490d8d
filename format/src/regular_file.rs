//! Opening a file whose path may name anything: a setting that a user named, a note in a data folder, an input.
//!
//! Opening a pipe waits for its writer, a socket cannot be opened, and reading a device may never end. So the open itself never
//! waits, what is no regular file is refused, and a file that is read into memory has a bound. Programs of the cluster open
//! existing files here alone; `clippy.toml` of the daemons' crates forbids the other ways.

use rustix::fs::OFlags;
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Bytes of the longest note that a program keeps for itself, and of the longest file of the kernel that it reads.
pub const NOTE_BYTES_MAX: u64 = 1 << 20;

/// Opens a regular file for reading, and nothing else; never waits for a writer.
///
/// # Errors
/// That of the system, or `InvalidInput` for what is no regular file.
pub fn open(path: &Path) -> io::Result<File> {
    open_with(File::options().read(true), path)
}

/// [`open`] with other options, which may create the file. Replaces their custom flags.
///
/// # Errors
/// As [`open`].
pub fn open_with(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = options.custom_flags(flags.bits() as i32).open(path);
    let refused = || io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
    let file = match opened {
        // A socket, a pipe without a reader, a device without a driver; a folder that is opened for writing.
        Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::NXIO | Errno::ISDIR)) => return Err(refused()),
        other => other?,
    };
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(refused()),
    }
}

/// The content of a regular file of at most `bytes_max` bytes.
///
/// # Errors
/// As [`open`]; `InvalidData` for a longer one (`FileTooLarge` is that of a write).
pub fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("it has more than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// [`read`] as text.
///
/// # Errors
/// As there; `InvalidData` if it is not UTF-8.
pub fn read_text(path: &Path, bytes_max: u64) -> io::Result<String> {
    String::from_utf8(read(path, bytes_max)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not text in UTF-8"))
}

/// A note of a program, or a file of the kernel: [`read_text`] of at most [`NOTE_BYTES_MAX`].
///
/// # Errors
/// As there.
pub fn read_note(path: impl AsRef<Path>) -> io::Result<String> {
    read_text(path.as_ref(), NOTE_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::fs;
    use windrow_model::Escape;

    #[test]
    fn pipes_devices_and_folders_are_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let [fifo, socket] = ["fifo", "socket"].map(|name| dir.path().join(name));
        mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for path in [fifo.as_path(), &socket, Path::new("/dev/zero"), Path::new("/dev/null"), dir.path()] {
            let error = read(path, 100).unwrap_err();
            assert_eq!(error.to_string(), "it is not a regular file", "{}", path.escaped());
        }
        for path in [fifo.as_path(), &socket, Path::new("/dev/null"), dir.path()] {
            let error = open_with(File::options().append(true).create(true), path).unwrap_err();
            assert_eq!(error.to_string(), "it is not a regular file", "{}", path.escaped());
        }
    }

    #[test]
    fn file_beyond_the_bound_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("setting");
        fs::write(&path, [b'x'; 100]).unwrap();
        assert_eq!(read(&path, 100).unwrap().len(), 100);
        assert_eq!(read(&path, 99).unwrap_err().kind(), io::ErrorKind::InvalidData);
        fs::write(&path, [0xff]).unwrap();
        assert_eq!(read_text(&path, 100).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn files_of_the_kernel_are_read() {
        assert!(read_note("/proc/self/status").unwrap().contains("Umask:"));
    }
}
