//! Counts words: one line `word<TAB>n` for each, words split at white space.

use windrow::prelude::*;

/// Count words
#[derive(clap::Args, Serialize, Deserialize)]
struct CountWords {
    /// Files, folders or globs
    #[arg(required = true)]
    input: Vec<String>,
    /// Folder to write
    #[arg(long)]
    output: String,
}

impl Job for CountWords {
    fn plan(&self, flow: &Flow) -> Result<()> {
        count(flow.read(lines(&self.input))).write(tsv(&self.output))
    }
}

/// How often each word occurs in all lines.
fn count(lines: Records<String>) -> Pairs<String, u64> {
    lines
        .map(|line, out| {
            for word in words(line) {
                out.emit(word, 1u64)
            }
        })
        .combine(Sum)
}

fn main() -> std::process::ExitCode {
    windrow::main::<CountWords>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_all_lines_are_counted() {
        let mut counted = windrow::testing::run(["the cat", "the dog"], count).unwrap();
        counted.sort();
        assert_eq!(counted, [("cat".to_string(), 1), ("dog".to_string(), 1), ("the".to_string(), 2)]);
    }
}
