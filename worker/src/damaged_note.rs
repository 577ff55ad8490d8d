//! What an operator can do about a damaged note in a worker's data folder. A worker that guessed its id or its cluster
//! could have chunks deleted, so it does not start.

use crate::note_names::{CLUSTER, INCARNATION, ORIGIN, WORKER};
use std::ffi::OsStr;
use std::io;
use std::path::Path;

/// The end of the message, if the file is one of the notes and its content is the error.
pub(crate) fn remedy(path: &Path, e: &io::Error) -> &'static str {
    if e.kind() != io::ErrorKind::InvalidData {
        return "";
    }
    match path.file_name().and_then(OsStr::to_str) {
        Some(WORKER | INCARNATION) => {
            "; without its files `worker` and `incarnation` the worker gets a new id, and keeps its chunks of datasets: \
             delete both"
        }
        Some(ORIGIN) => "; delete it, unless the folder is a copy of another worker's",
        Some(CLUSTER) => {
            "; delete it: the id of the cluster is also kept with the chunks, and the worker forgets only which journal \
             was the newest"
        }
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::Membership;
    use crate::scratch::Scratch;
    use std::fs;
    use windrow_model::{Code, Digest};

    /// A note that was too long was reported as a full disk, and no message said what could be done.
    #[test]
    fn damaged_notes_have_a_remedy_that_keeps_the_chunks() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("data");
        let first = Scratch::open(&root).unwrap();
        first.next_incarnation().unwrap();
        let (id, chunk) = (first.worker(), first.chunk(Digest::of(b"x")));
        fs::write(&chunk, "x").unwrap();
        drop(first);
        let long = vec![b'9'; 2 << 20];
        for name in [ORIGIN, WORKER, INCARNATION] {
            let whole = fs::read(root.join(name)).unwrap();
            for damage in [&b"\xff"[..], &long] {
                fs::write(root.join(name), damage).unwrap();
                let e = Scratch::open(&root).unwrap_err();
                assert!(e.code() == Code::IoError && e.to_string().contains("; "), "{name}: {e}");
                assert!(e.to_string().contains("delete"), "{name}: {e}");
            }
            fs::write(root.join(name), whole).unwrap();
        }
        assert_eq!(Scratch::open(&root).unwrap().worker(), id);
        fs::write(root.join(WORKER), "").unwrap();
        assert!(Scratch::open(&root).unwrap_err().to_string().contains("delete both"));
        for name in [WORKER, INCARNATION] {
            fs::remove_file(root.join(name)).unwrap();
        }
        let next = Scratch::open(&root).unwrap();
        assert!(next.worker() != id && chunk.exists());
        fs::write(root.join(CLUSTER), "cluster").unwrap();
        let e = Membership::open(&next).unwrap_err();
        assert!(e.to_string().contains("delete it: the id of the cluster"), "{e}");
    }
}
