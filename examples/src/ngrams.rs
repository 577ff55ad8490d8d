//! The most frequent sequences of N words within a line.
//!
//! `ngrams INPUT... --n N --top K --output DIR` → `count<TAB>words`, most frequent first, ties by their bytes

use windrow::prelude::*;

/// Find the most frequent n-grams.
#[derive(clap::Args, Serialize, Deserialize)]
struct NGrams {
    /// Files, folders or globs
    #[arg(required = true)]
    input: Vec<String>,
    /// Words in a row
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    n: u32,
    /// How many to keep
    #[arg(long, default_value_t = 100)]
    top: usize,
    /// Folder to write
    #[arg(long)]
    output: String,
}

impl Job for NGrams {
    fn plan(&self, flow: &Flow) -> Result<()> {
        let n = self.n as usize;
        flow.read(lines(&self.input))
            .map(move |line, out| {
                let words: Vec<&str> = words(line).collect();
                for gram in words.windows(n) {
                    out.emit(gram.join(" "), 1u64)
                }
            })
            .combine(Sum)
            // Most frequent, then first in the alphabet.
            .map(|(gram, count), out| out.push((count, Reverse(gram))))
            .top(self.top)
            .map(|(count, Reverse(gram)), out| out.emit(count, gram))
            .write(tsv(&self.output))
    }
}

fn main() -> std::process::ExitCode {
    windrow::main::<NGrams>()
}
