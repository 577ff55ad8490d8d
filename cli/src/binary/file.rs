//! The file of a job binary: read once, for the check that it is one for this machine and version, and for its digest.
//!
//! The check is over where the marker is found, near the beginning; the digest needs the whole file. So both come from one
//! thread, one after the other, and the binary can be asked for its job meanwhile.

use memchr::memmem;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};
use windrow_format::fill::fill;
use windrow_model::{Code, Digest, Escape, Failure};

/// Every job binary contains this, followed by the version of its interface.
const MARKER: &[u8] = b"windrow-job-marker:v";
/// The version of the interface between `submit` and a job binary.
const MARKER_VERSION: &[u8] = b"1";
/// Bytes of the digits that may follow it.
const DIGITS_MAX: usize = 9;
/// Bytes at the beginning that say what kind of file it is.
const HEAD_BYTES: usize = 64;

/// ELF, 64 bit, little endian; then the type (executable or position independent) and the machine.
const ELF_START: [u8; 6] = [0x7f, b'E', b'L', b'F', 2, 1];
const ELF_TYPES: [u16; 2] = [2, 3];
#[cfg(target_arch = "x86_64")]
const ELF_MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const ELF_MACHINE: u16 = 183;

/// A job binary.
pub(crate) struct JobFile {
    /// Its absolute path.
    pub(crate) path: PathBuf,
    hashing: JoinHandle<Result<Digest, Failure>>,
}

impl JobFile {
    /// The digest of its content, when the whole of it has been read.
    ///
    /// # Errors
    /// `BAD_BINARY` if it cannot be read to its end.
    pub(crate) async fn digest(self) -> Result<Digest, Failure> {
        self.hashing.await.unwrap_or_else(|e| Err(Failure::new(Code::Internal, format!("hashing ended early: {e}"))))
    }
}

/// Returns when the file is known to be a job binary for this machine and version. Its digest is computed from then on.
///
/// # Errors
/// `BAD_BINARY`, `NOT_A_JOB`, or `VERSION_MISMATCH` for a job of another version of the interface.
pub(crate) async fn read(path: PathBuf) -> Result<JobFile, Failure> {
    let (tell, checked) = oneshot::channel();
    let hashing = spawn_blocking(move || check_and_hash(&path, tell));
    match checked.await {
        Ok(path) => Ok(JobFile { path, hashing }),
        // It has not been found to be a job: the result says why.
        Err(_) => {
            let ended = hashing.await;
            let internal = |why: String| Failure::new(Code::Internal, format!("a binary was not checked: {why}"));
            Err(ended.map_err(|e| internal(e.to_string()))?.err().unwrap_or_else(|| internal("no result".into())))
        }
    }
}

/// Checks the file, passes on its absolute path once it is known to be a job binary, and hashes all of it.
fn check_and_hash(path: &Path, tell: oneshot::Sender<PathBuf>) -> Result<Digest, Failure> {
    let shown = path.escaped();
    let bad = |why: String| Failure::new(Code::BadBinary, format!("{shown} {why}"));
    let path = path.canonicalize().map_err(|e| bad(format!("cannot be read: {e}")))?;
    if !path.is_file() {
        return Err(bad("is not a regular file".into()));
    }
    let file = File::open(&path).map_err(|e| bad(format!("cannot be read: {e}")))?;
    let mut head = [0; HEAD_BYTES];
    let read = fill(&mut head, |at, into| file.read_at(into, at)).map_err(|e| bad(format!("cannot be read: {e}")))?;
    check_elf(&head[..read]).map_err(|why| bad(why.into()))?;
    let mut bytes = Searched { file, search: Search::default(), path, tell: Some(tell) };
    let (digest, _) = Digest::of_reader(&mut bytes).map_err(|e| bad(format!("cannot be read: {e}")))?;
    match (bytes.tell, bytes.search.other) {
        (None, _) => Ok(digest),
        (Some(_), None) => Err(Failure::new(Code::NotAJob, format!("{shown} is a program, but not a Windrow job"))),
        (Some(_), Some(version)) => Err(Failure::new(
            Code::VersionMismatch,
            format!(
                "{shown} was built for version {version} of the interface for jobs, this program speaks version {}",
                String::from_utf8_lossy(MARKER_VERSION)
            ),
        )),
    }
}

/// The bytes of a file, which are searched as they are read. Passes on the path when the marker is found.
struct Searched {
    file: File,
    search: Search,
    path: PathBuf,
    tell: Option<oneshot::Sender<PathBuf>>,
}

impl Read for Searched {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(into)?;
        if self.tell.is_some() && self.search.goes_on(&into[..read]) {
            // A receiver that is gone has ended with an error of its own.
            self.tell.take().into_iter().for_each(|tell| drop(tell.send(std::mem::take(&mut self.path))));
        }
        Ok(read)
    }
}

fn check_elf(head: &[u8]) -> Result<(), &'static str> {
    let half = |at: usize| head.get(at..at + 2).map(|b| u16::from_le_bytes([b[0], b[1]]));
    if !head.starts_with(&ELF_START[..4]) {
        return Err("is not an ELF executable");
    }
    if !head.starts_with(&ELF_START) || half(18) != Some(ELF_MACHINE) {
        return Err("is an ELF file of another machine");
    }
    if !half(16).is_some_and(|kind| ELF_TYPES.contains(&kind)) {
        return Err("is an ELF file, but not an executable");
    }
    Ok(())
}

/// Bytes at the end of a piece in which a marker with its digits may begin and not end.
const CARRIED_BYTES: usize = MARKER.len() + DIGITS_MAX - 1;

/// The search for the marker, piece by piece. Our own version wins over others, which may be in the binary by chance (as
/// they are in this one).
#[derive(Default)]
struct Search {
    /// The last bytes before the next piece.
    carried: Vec<u8>,
    /// A version that is not ours.
    other: Option<String>,
}

impl Search {
    /// Returns whether the marker of our own version has been found. A piece without bytes is the end.
    fn goes_on(&mut self, piece: &[u8]) -> bool {
        let mut seam = std::mem::take(&mut self.carried);
        seam.extend_from_slice(&piece[..piece.len().min(CARRIED_BYTES)]);
        let found = self.look(&seam, piece.is_empty()) || self.look(piece, false);
        let last = if piece.len() < CARRIED_BYTES { &seam } else { piece };
        self.carried = last[last.len().saturating_sub(CARRIED_BYTES)..].to_vec();
        found
    }

    fn look(&mut self, bytes: &[u8], is_end: bool) -> bool {
        for at in memmem::find_iter(bytes, MARKER) {
            let rest = &bytes[at + MARKER.len()..];
            if rest.len() < DIGITS_MAX && !is_end {
                // The next piece has the rest of it.
                break;
            }
            let digits = &rest[..rest.iter().take(DIGITS_MAX).take_while(|b| b.is_ascii_digit()).count()];
            if digits == MARKER_VERSION {
                return true;
            }
            if !digits.is_empty() {
                self.other = Some(String::from_utf8_lossy(digits).into_owned());
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The result of the search through these bytes, which is the same for pieces of every size.
    fn found(bytes: &[u8]) -> (bool, Option<String>) {
        let mut results: Vec<_> = (1..=bytes.len().max(1))
            .map(|piece| {
                let mut search = Search::default();
                let mut pieces = bytes.chunks(piece).chain([&b""[..]]);
                let ours = pieces.any(|piece| search.goes_on(piece));
                (ours, search.other)
            })
            .collect();
        results.dedup();
        assert_eq!(results.len(), 1, "the cuts make a difference: {results:?}");
        results.remove(0)
    }

    #[test]
    fn marker_contains_the_version() {
        let other = |version: &str| (false, Some(version.to_string()));
        assert_eq!(found(b"..windrow-job-marker:v1\0.."), (true, None));
        assert_eq!(found(b"..windrow-job-marker:v1"), (true, None));
        assert_eq!(found(b"..windrow-job-marker:v12.."), other("12"));
        assert_eq!(found(b"windrow-job-marker:v2 ......... windrow-job-marker:v1"), (true, Some("2".into())));
        assert_eq!(found(b"windrow-job-marker:v"), (false, None));
        assert_eq!(found(b"nothing"), (false, None));
        assert_eq!(found(b""), (false, None));
    }

    #[tokio::test]
    async fn digest_is_that_of_the_whole_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("job");
        for more in [0, 1, 1 << 17, (1 << 18) + 77] {
            let mut bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
            bytes.truncate((1 << 16) - 10 + more);
            bytes.extend_from_slice(b"windrow-job-marker:v1");
            bytes.extend((0..more).map(|i| i as u8));
            std::fs::write(&path, &bytes).unwrap();
            let file = read(path.clone()).await.unwrap();
            assert_eq!(file.path, path.canonicalize().unwrap());
            assert_eq!(file.digest().await.unwrap(), Digest::of(&bytes), "{more}");
        }
    }

    #[test]
    fn native_executable_is_distinguished_from_source() {
        let head = |path: &Path| std::fs::read(path).unwrap()[..64].to_vec();
        assert_eq!(check_elf(&head(&std::env::current_exe().unwrap())), Ok(()));
        assert!(check_elf(&head(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/binary.rs"))).is_err());
        let mut other = head(&std::env::current_exe().unwrap());
        other[18] ^= 0xff;
        assert_eq!(check_elf(&other), Err("is an ELF file of another machine"));
    }
}
