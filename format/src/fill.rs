//! Reading as many bytes as there are.
//!
//! One call may read fewer bytes than it was asked for, or be interrupted, also from a regular file: network file systems and
//! FUSE do that. What decides by the bytes that it has got must not take such a read for the end of the file.

use std::io;

/// Reads until the buffer is full or the file ends; returns how many bytes were read.
///
/// # Errors
/// Those of `read_at`, which reads some bytes at an offset, and none only at the end. It is called again when it is interrupted.
pub fn fill(buf: &mut [u8], mut read_at: impl FnMut(u64, &mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match read_at(filled as u64, &mut buf[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_interrupted_reads_are_no_end_of_the_file() {
        let file = b"\x7fELF and more";
        for length in 0..20 {
            let (mut buf, mut calls) = (vec![0; length], 0);
            let read = fill(&mut buf, |at, buf| {
                calls += 1;
                if calls % 2 == 1 {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                let rest = &file[at as usize..];
                let some = rest.len().min(buf.len()).min(3);
                buf[..some].copy_from_slice(&rest[..some]);
                Ok(some)
            });
            let all = length.min(file.len());
            assert_eq!((read.unwrap(), &buf[..all]), (all, &file[..all]));
        }
        assert!(fill(&mut [0; 4], |_, _| Err(io::ErrorKind::NotConnected.into())).is_err());
    }
}
