//! The median of each key's values, which no combiner can fold: every value goes through the shuffle.
//!
//! `windrow-bench-medians INPUT... --output DIR`, lines `key value` (integers) → `key<TAB>values<TAB>median`, the lower one of two

use windrow::prelude::*;

/// Median of the values of each key
#[derive(clap::Args, Serialize, Deserialize)]
struct Medians {
    #[arg(required = true)]
    input: Vec<String>,
    #[arg(long)]
    output: String,
}

impl Job for Medians {
    fn plan(&self, flow: &Flow) -> Result<()> {
        flow.read(lines(&self.input))
            .map(|line, out| {
                let (key, value) = line.split_once(' ').ok_or_else(|| Error::msg("the line is not `key value`"))?;
                out.emit(key.parse::<u64>()?, value.parse::<u64>()?);
                Ok(())
            })
            .reduce_values(|_, values| {
                let mut all: Vec<u64> = values.collect();
                let count = all.len();
                let (_, median, _) = all.select_nth_unstable((count - 1) / 2);
                (count as u64, *median)
            })
            .write(tsv(&self.output))
    }
}

fn main() -> std::process::ExitCode {
    windrow::main::<Medians>()
}
