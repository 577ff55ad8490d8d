//! Reads a file that a user named: a token, a certificate, a key, settings.
//!
//! Such a path may lead to anything. Opening a pipe waits for its writer, and reading a device may never end, so only
//! regular files are read, only up to a limit, and the open itself never blocks.

use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Most bytes of a file of settings or certificates.
pub const SETTING_BYTES_MAX: u64 = 4 << 20;

/// Opens a regular file without ever waiting for a writer.
///
/// # Errors
/// The error of the system, or `InvalidInput` if it is not a regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    Ok(file)
}

/// Reads a regular file of at most `bytes_max` bytes.
///
/// # Errors
/// As [`open_regular`]; `FileTooLarge` for a longer file.
pub fn read_setting(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path)?.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// Reads a regular file as text.
///
/// # Errors
/// As [`read_setting`]; `InvalidData` if it is not UTF-8.
pub fn read_setting_text(path: &Path, bytes_max: u64) -> io::Result<String> {
    let bytes = read_setting(path, bytes_max)?;
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not text in UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use windrow_model::Escape;

    #[test]
    fn pipes_devices_and_folders_are_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        for path in [fifo.as_path(), Path::new("/dev/zero"), Path::new("/dev/null"), dir.path()] {
            let error = read_setting(path, 100).unwrap_err();
            assert_eq!(error.to_string(), "it is not a regular file", "{}", path.escaped());
        }
    }

    #[test]
    fn file_beyond_the_bound_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("setting");
        std::fs::write(&path, [b'x'; 100]).unwrap();
        assert_eq!(read_setting(&path, 100).unwrap().len(), 100);
        assert_eq!(read_setting(&path, 99).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        std::fs::write(&path, [0xff]).unwrap();
        assert_eq!(read_setting_text(&path, 100).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
