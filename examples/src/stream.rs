//! Any programs as mapper, combiner and reducer, lines on stdin and stdout, as in Hadoop Streaming: a line is
//! `key<TAB>value`, and reducers get the lines of a key together.
//!
//! `stream INPUT... --mapper CMD [--combiner CMD] [--reducer CMD] --output DIR`

use clap::builder::NonEmptyStringValueParser;
use windrow::prelude::*;

/// Run programs as mapper, combiner and reducer.
#[derive(clap::Args, Serialize, Deserialize)]
struct Stream {
    /// Files, folders or globs
    #[arg(required = true)]
    input: Vec<String>,
    /// Shell command: input lines to `key<TAB>value` lines
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    mapper: String,
    /// Shell command: sorted `key<TAB>value` lines of one part of the input to fewer of the same kind
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    combiner: Option<String>,
    /// Shell command: sorted `key<TAB>value` lines to output lines
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    reducer: Option<String>,
    /// Folder to write
    #[arg(long)]
    output: String,
}

/// A line as a key and, if it has a tab, a value.
fn pairs(lines: &Records<Vec<u8>>) -> Pairs<Vec<u8>, Option<Vec<u8>>> {
    lines.map(|line, out| match line.iter().position(|b| *b == b'\t') {
        Some(tab) => out.emit(&line[..tab], Some(&line[tab + 1..])),
        None => out.emit(line, None::<&[u8]>),
    })
}

fn joined(pairs: &Pairs<Vec<u8>, Option<Vec<u8>>>) -> Records<Vec<u8>> {
    pairs.map(|(key, value), out| match value {
        Some(value) => out.push([key, b"\t", value].concat()),
        None => out.push(key),
    })
}

impl Job for Stream {
    fn plan(&self, flow: &Flow) -> Result<()> {
        let mut lines = flow.read(bytes_lines(&self.input)).pipe(&self.mapper);
        if let Some(combiner) = &self.combiner {
            lines = joined(&pairs(&lines).sort_within()).pipe(combiner);
        }
        if let Some(reducer) = &self.reducer {
            lines = joined(&pairs(&lines).partition_by(0)).pipe(reducer);
        }
        lines.write(text(&self.output))
    }
}

fn main() -> std::process::ExitCode {
    windrow::main::<Stream>()
}
