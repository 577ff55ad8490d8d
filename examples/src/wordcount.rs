//! Counts words: `word<TAB>n`, words split at ASCII white space, case kept. Works on bytes, so any encoding will do.
//!
//! `wordcount INPUT... --output DIR`

use windrow::prelude::*;

/// Count words.
#[derive(clap::Args, Serialize, Deserialize)]
struct WordCount {
    /// Files, folders or globs
    #[arg(required = true)]
    input: Vec<String>,
    /// Folder to write
    #[arg(long)]
    output: String,
}

impl Job for WordCount {
    fn plan(&self, flow: &Flow) -> Result<()> {
        flow.read(bytes_lines(&self.input))
            .map(|line, out| {
                for word in words(line) {
                    out.emit(word, 1u64)
                }
            })
            .combine(Sum)
            .write(tsv(&self.output))
    }
}

fn main() -> std::process::ExitCode {
    windrow::main::<WordCount>()
}
