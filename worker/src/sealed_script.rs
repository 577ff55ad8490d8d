//! A copy of a script that cannot be changed.
//!
//! The kernel starts a program by its descriptor, and denies writes to its file while it runs. A script is read by its
//! interpreter, by name and later, and may be written to all the while, also by other jobs of the worker's user. So a
//! copy in memory is sealed and then compared with the digest; the interpreter gets the name of its descriptor.

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use std::fs::File;
use std::io::{self, Read, Seek};
use windrow_format::fill::fill;
use windrow_model::Digest;

/// Maximum size of a script in bytes: its copy is memory that no budget counts.
pub(crate) const SCRIPT_BYTES_MAX: u64 = 64 << 20;
const BEGINNING: &[u8] = b"#!";

/// Whether the file begins like a script.
pub(crate) fn is_script(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::FileExt;
    let mut bytes = [0; BEGINNING.len()];
    Ok(fill(&mut bytes, |at, buf| file.read_at(buf, at))? == bytes.len() && bytes == BEGINNING)
}

/// A sealed copy of the file; `None` if it does not have the digest. Reads the file once and holds its bytes in memory.
///
/// # Errors
/// Errors of the system; `InvalidData` beyond [`SCRIPT_BYTES_MAX`].
pub(crate) fn seal(mut file: &File, digest: Digest) -> io::Result<Option<File>> {
    let mut copy = File::from(memfd_create(c"windrow-script", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    file.rewind()?;
    let copied = io::copy(&mut file.take(SCRIPT_BYTES_MAX + 1), &mut copy)?;
    if copied > SCRIPT_BYTES_MAX {
        let message = format!("a script of more than {SCRIPT_BYTES_MAX} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    fcntl_add_seals(&copy, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)?;
    copy.rewind()?;
    let (found, _) = Digest::of_reader(&copy)?;
    copy.rewind()?;
    Ok((found == digest).then_some(copy))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn sealed_script_stays_as_it_was_compared() {
        let script = b"#!/bin/sh\nexit 0\n";
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(script).unwrap();
        assert!(is_script(&file).unwrap());
        assert!(seal(&file, Digest::of(b"another")).unwrap().is_none());
        let mut copy = seal(&file, Digest::of(script)).unwrap().unwrap();
        file.set_len(3).unwrap();
        let mut text = Vec::new();
        copy.read_to_end(&mut text).unwrap();
        assert_eq!(text, script);
        assert!(copy.write_all(b"more").is_err() && copy.set_len(0).is_err());
    }
}
