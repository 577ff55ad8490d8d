//! Lines that match a regular expression, in input order.
//!
//! `grep REGEX INPUT... --output DIR [--with-place]`

use windrow::prelude::*;

/// Find the lines that match a regular expression.
#[derive(clap::Args, Serialize, Deserialize)]
struct Grep {
    /// Regular expression (syntax of the `regex` crate)
    regex: String,
    /// Files, folders or globs
    #[arg(required = true)]
    input: Vec<String>,
    /// Folder to write
    #[arg(long)]
    output: String,
    /// Put `file:offset:` before each line
    #[arg(long)]
    with_place: bool,
}

impl Job for Grep {
    fn plan(&self, flow: &Flow) -> Result<()> {
        let found = bytes_lines(&self.input).matching(&self.regex)?;
        if !self.with_place {
            return flow.read(found).write(text(&self.output));
        }
        flow.read(found.with_offset())
            .map(|((file, offset), line), out| {
                let mut placed = format!("{file}:{offset}:").into_bytes();
                placed.extend_from_slice(line);
                out.push(placed)
            })
            .write(text(&self.output))
    }
}

fn main() -> std::process::ExitCode {
    windrow::main::<Grep>()
}
