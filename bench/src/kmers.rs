//! The most frequent sequences of 21 bases in a FASTQ file: millions of keys, few of which come often.
//!
//! `windrow-bench-kmers INPUT... --output DIR` → `bases<TAB>count` of the 20 most frequent, ties by their bases

use windrow::prelude::*;

/// Most frequent sequences of 21 bases
#[derive(clap::Args, Serialize, Deserialize)]
struct Kmers {
    #[arg(required = true)]
    input: Vec<String>,
    #[arg(long)]
    output: String,
}

/// Bases of a sequence.
const K: usize = 21;

impl Job for Kmers {
    fn plan(&self, flow: &Flow) -> Result<()> {
        flow.read(lines(&self.input))
            .map(|line, out| {
                // Headers, separators and qualities have other letters.
                if line.bytes().all(|base| b"ACGTN".contains(&base)) {
                    (K..=line.len()).for_each(|end| out.emit(&line[end - K..end], 1u64))
                }
            })
            .combine(Sum)
            .map(|(bases, count), out| out.push((count, Reverse(bases))))
            .top(20)
            .map(|(count, Reverse(bases)), out| out.emit(bases, count))
            .write(tsv(&self.output))
    }
}

fn main() -> std::process::ExitCode {
    windrow::main::<Kmers>()
}
