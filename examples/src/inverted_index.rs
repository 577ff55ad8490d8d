//! An inverted index: lines `doc<TAB>text` → `word<TAB>doc,doc,…`, documents distinct and ascending; and a query on it.
//!
//! `inverted_index INPUT... --output DIR`, or `inverted_index query DIR WORD...` for the documents that hold all words.

use std::io::{BufRead, BufReader};
use windrow::prelude::*;

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
                for word in text.split_ascii_whitespace() {
                    out.emit((word, doc), ())
                }
                Ok(())
            })
            .group(|word, docs, out| {
                let mut list = String::new();
                let mut last = None;
                docs.each(|(doc, ())| {
                    if last != Some(doc) {
                        if last.is_some() {
                            list.push(',')
                        }
                        list += &doc.to_string();
                        last = Some(doc);
                    }
                });
                out.emit(word, list)
            })
            .write(tsv(&self.output))
    }
}

/// Prints the documents that hold every one of these words.
fn query(folder: &str, words: &[String]) -> Result<()> {
    let mut found: Option<Vec<u64>> = None;
    for word in words {
        let mut docs = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if !path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("part-")) {
                continue;
            }
            for line in BufReader::new(std::fs::File::open(path)?).lines() {
                if let Some((_, list)) = line?.split_once('\t').filter(|(w, _)| w == word) {
                    docs = list.split(',').map(str::parse).collect::<Result<_, _>>()?;
                }
            }
        }
        found = Some(match found {
            None => docs,
            Some(before) => before.into_iter().filter(|d| docs.binary_search(d).is_ok()).collect(),
        });
    }
    found.unwrap_or_default().iter().for_each(|doc| println!("{doc}"));
    Ok(())
}

fn main() -> std::process::ExitCode {
    let args: Vec<String> = std::env::args().collect();
    match &args[..] {
        [_, verb, folder, words @ ..] if verb == "query" && !words.is_empty() => match query(folder, words) {
            Ok(()) => std::process::ExitCode::SUCCESS,
            Err(e) => {
                eprintln!("error: {e}");
                std::process::ExitCode::FAILURE
            }
        },
        _ => windrow::main::<Index>(),
    }
}
