//! An inverted index: lines `doc<TAB>text` → `word<TAB>doc,doc,…`, documents distinct and ascending; and a query on it.
//!
//! `inverted_index INPUT... --output DIR`, or `inverted_index query DIR WORD...` for the documents that hold all words.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, ErrorKind, Write};
use windrow::prelude::*;
use windrow::{DecodeError, Escape};

/// Build an inverted index (`query DIR WORD...` looks words up in one).
#[derive(clap::Args, Serialize, Deserialize)]
struct Index {
    /// Files, folders or globs; lines `doc<TAB>text` with numbers as documents
    #[arg(required = true)]
    input: Vec<String>,
    /// Folder to write
    #[arg(long)]
    output: String,
}

impl Job for Index {
    fn plan(&self, flow: &Flow) -> Result<()> {
        flow.read(lines(&self.input))
            .map(|line, out| {
                let (doc, text) = line.split_once('\t').ok_or_else(|| Error::msg("the line is not `doc<TAB>text`"))?;
                let doc: u64 = doc.parse()?;
                for word in words(text) {
                    out.emit(word, doc)
                }
                Ok(())
            })
            .combine(Documents)
            .write(tsv(&self.output))
    }
}

/// Collects distinct numbers: a combiner of this job's own. Lists grow where words are emitted, so a word is hashed once
/// and no pair is sorted.
struct Documents;

/// Documents in order of arrival; distinct and ascending when they are stored. Most words are in one document only.
enum List {
    One(u64),
    Many(Vec<u64>),
}

impl List {
    fn as_slice(&self) -> &[u64] {
        match self {
            List::One(doc) => std::slice::from_ref(doc),
            List::Many(docs) => docs,
        }
    }
    fn ascending(&self) -> Vec<u64> {
        let mut docs = self.as_slice().to_vec();
        docs.sort_unstable();
        docs.dedup();
        docs
    }
}

impl Combiner<u64> for Documents {
    type Acc = List;
    type Out = String;

    fn create(&self, doc: u64) -> List {
        List::One(doc)
    }
    fn merge(&self, into: &mut List, other: List) {
        // A word is often repeated within its document.
        if other.as_slice() == &into.as_slice()[into.as_slice().len() - 1..] {
            return;
        }
        match into {
            List::One(doc) => {
                let mut docs = Vec::with_capacity(1 + other.as_slice().len());
                docs.push(*doc);
                docs.extend_from_slice(other.as_slice());
                *into = List::Many(docs);
            }
            List::Many(docs) => docs.extend_from_slice(other.as_slice()),
        }
    }
    fn finish(&self, list: List) -> String {
        let mut text = String::new();
        for doc in list.ascending() {
            if !text.is_empty() {
                text.push(',');
            }
            // A string takes all that is written to it.
            let _ = write!(text, "{doc}");
        }
        text
    }
    fn encode(&self, list: &List, out: &mut Vec<u8>) {
        // Differences in seven bits per byte; the last byte of each has a clear high bit.
        let mut last = 0;
        for doc in list.ascending() {
            let mut difference = doc - last;
            last = doc;
            while difference >= 0x80 {
                out.push(difference as u8 | 0x80);
                difference >>= 7;
            }
            out.push(difference as u8);
        }
    }
    fn decode(&self, bytes: &[u8]) -> Result<List, DecodeError> {
        let wrong = || DecodeError::new("documents", "not a list of differences");
        let (mut docs, mut last, mut difference, mut shift) = (Vec::new(), 0u64, 0u64, 0);
        for byte in bytes {
            difference |= u64::from(byte & 0x7f).checked_shl(shift).ok_or_else(wrong)?;
            shift += 7;
            if byte & 0x80 == 0 {
                last = last.checked_add(difference).ok_or_else(wrong)?;
                docs.push(last);
                (difference, shift) = (0, 0);
            }
        }
        match (docs.as_slice(), shift) {
            ([], _) | (_, 1..) => Err(wrong()),
            ([one], 0) => Ok(List::One(*one)),
            _ => Ok(List::Many(docs)),
        }
    }
    fn heap_bytes(&self, list: &List) -> usize {
        match list {
            List::One(_) => 0,
            List::Many(docs) => docs.capacity() * size_of::<u64>(),
        }
    }
}

/// Find the documents that hold all of these words.
#[derive(clap::Args)]
struct Query {
    /// Output folder of an index
    folder: String,
    /// Words
    #[arg(required = true)]
    words: Vec<String>,
}

/// Prints the documents that hold every one of these words.
fn query(args: Query) -> Result<()> {
    let parts = windrow::parts(&args.folder)?;
    let mut found: Option<Vec<u64>> = None;
    for word in &args.words {
        let mut docs = Vec::new();
        for part in &parts {
            let failed = |e: std::io::Error| Error::msg(format!("{}: {e}", part.escaped()));
            for line in BufReader::new(File::open(part).map_err(failed)?).lines() {
                if let Some((_, list)) = line.map_err(failed)?.split_once('\t').filter(|(w, _)| w == word) {
                    docs = list.split(',').map(str::parse).collect::<Result<_, _>>()?;
                }
            }
        }
        found = Some(match found {
            None => docs,
            Some(before) => before.into_iter().filter(|d| docs.binary_search(d).is_ok()).collect(),
        });
    }
    let mut out = BufWriter::new(std::io::stdout().lock());
    let docs = found.unwrap_or_default();
    let printed = docs.iter().try_for_each(|doc| writeln!(out, "{doc}")).and_then(|()| out.flush());
    match printed {
        // The reader has closed the pipe.
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => Ok(printed?),
    }
}

fn main() -> std::process::ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("query") => windrow::Program::new().command::<Query>("query", query).run(),
        _ => windrow::main::<Index>(),
    }
}
