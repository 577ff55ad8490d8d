//! Cuts files into the chunks of a dataset, in one pass over all files, with whole records only.
//!
//! Small files share a chunk. If a file ends without the delimiter of its last record, the delimiter is added, because
//! the first record of the next file would otherwise continue it. Compressed text is decompressed, since a piece of it
//! is useless alone, and loses its byte order mark. Records of fixed size and whole files are stored unchanged.

use crate::run::flags::half_of_memory;
use crate::source::{RECORD_MAX, failure_of, open_as_stored, open_text};
use std::io::Read;
use windrow_format::framing::{FileEnd, file_end, last_record_end};
use windrow_model::{Code, Escape, Failure, Framing};
use windrow_store::{InputFile, identity};

/// Passes every chunk to `give` in input order. A chunk holds the whole records of about `chunk_bytes` bytes, or one
/// longer record. With [`Framing::Whole`] each file is a chunk. Text is decompressed if `decompress` is set. Blocks the
/// thread.
///
/// # Errors
/// A file cannot be read, changes meanwhile, or does not hold whole records; the error of `give`.
pub(super) fn cut_files(
    files: &[InputFile],
    framing: Framing,
    decompress: bool,
    chunk_bytes: usize,
    give: &mut dyn FnMut(Vec<u8>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut open: Vec<u8> = Vec::new();
    for file in files {
        let path = file.path.escaped();
        let unreadable = |e: std::io::Error| failure_of(e, &path.to_string());
        let mut content = match framing.is_text() && decompress {
            true => open_text(&file.path, half_of_memory()),
            false => open_as_stored(&file.path),
        }
        .map_err(unreadable)?;
        let mut wanted = chunk_bytes;
        loop {
            let missing = wanted.saturating_sub(open.len()).max(1);
            let read = content.by_ref().take(missing as u64).read_to_end(&mut open).map_err(unreadable)?;
            if read < missing {
                break;
            }
            let whole = last_record_end(&open, framing);
            if whole == 0 {
                wanted = open.len() * 2;
                if open.len() > RECORD_MAX {
                    let what = if framing == Framing::Whole { "the file" } else { "one of its records" };
                    return Err(Failure::new(Code::RecordTooLarge, format!("{path}: {what} is longer than 1 GiB")));
                }
                continue;
            }
            let rest = open.split_off(whole);
            give(std::mem::replace(&mut open, rest))?;
            wanted = chunk_bytes.max(open.len() + 1);
        }
        if !identity::same(&file.path, &file.identity).map_err(unreadable)? {
            return Err(Failure::new(Code::InputChanged, format!("{path} changed while it was read")));
        }
        let end = file_end(&open, framing)
            .map_err(|e| Failure::new(Code::InputMalformed, format!("{path} does not hold {e}")))?;
        match end {
            FileEnd::Joins => {}
            FileEnd::Lacks(byte) => open.push(byte),
            FileEnd::Closes if open.is_empty() => {}
            FileEnd::Closes => give(std::mem::take(&mut open))?,
        }
    }
    match open.is_empty() {
        true => Ok(()),
        false => give(open),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use windrow_store::list_inputs;

    fn cut(contents: &[Vec<u8>], framing: Framing, chunk_bytes: usize) -> Result<Vec<Vec<u8>>, Failure> {
        let folder = tempfile::tempdir().unwrap();
        for (i, content) in contents.iter().enumerate() {
            std::fs::write(folder.path().join(format!("{i:03}")), content).unwrap();
        }
        let files =
            list_inputs(&[folder.path().to_str().unwrap().to_string()], &windrow_store::Steps::default()).unwrap();
        let mut chunks = Vec::new();
        cut_files(&files, framing, true, chunk_bytes, &mut |chunk| {
            chunks.push(chunk);
            Ok(())
        })?;
        Ok(chunks)
    }

    proptest! {
        #[test]
        fn chunks_hold_every_line_once_and_in_order(
            contents in prop::collection::vec("[a\n]{0,30}", 0..5), chunk_bytes in 1usize..20,
        ) {
            let contents: Vec<Vec<u8>> = contents.into_iter().map(String::into_bytes).collect();
            let chunks = cut(&contents, Framing::Delimiter(b'\n'), chunk_bytes).unwrap();
            let mut want = Vec::new();
            for content in contents {
                want.extend_from_slice(&content);
                if content.last().is_some_and(|b| *b != b'\n') {
                    want.push(b'\n');
                }
            }
            prop_assert!(chunks.iter().all(|c| c.ends_with(b"\n")));
            prop_assert_eq!(chunks.concat(), want);
        }

        #[test]
        fn chunks_hold_whole_records_of_fixed_size(records in prop::collection::vec(0usize..6, 0..4), chunk_bytes in 1usize..20) {
            let contents: Vec<Vec<u8>> = records.iter().map(|n| vec![7; n * 3]).collect();
            let chunks = cut(&contents, Framing::Fixed(3), chunk_bytes).unwrap();
            prop_assert!(chunks.iter().all(|c| !c.is_empty() && c.len() % 3 == 0));
            prop_assert_eq!(chunks.concat(), contents.concat());
        }

        #[test]
        fn whole_files_are_chunks(contents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 0..5)) {
            let want: Vec<Vec<u8>> = contents.iter().filter(|c| !c.is_empty()).cloned().collect();
            prop_assert_eq!(cut(&contents, Framing::Whole, 4).unwrap(), want);
        }
    }

    #[test]
    fn partial_records_are_refused_with_their_file() {
        let failure = cut(&[vec![1; 6], vec![1; 5]], Framing::Fixed(3), 100).unwrap_err();
        assert!(failure.code == Code::InputMalformed && failure.message.contains("/001"), "{failure}");
    }
}
