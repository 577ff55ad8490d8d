//! Percentiles of response times by path, from lines `path milliseconds`.
//!
//! `percentiles INPUT... --output DIR` → `path<TAB>requests<TAB>median<TAB>95 %<TAB>99 %<TAB>longest`

use windrow::prelude::*;

/// Compute percentiles of response times.
#[derive(clap::Args, Serialize, Deserialize)]
struct Percentiles {
    /// Files, folders or globs with lines `path milliseconds`
    #[arg(required = true)]
    input: Vec<String>,
    /// Folder to write
    #[arg(long)]
    output: String,
}

impl Job for Percentiles {
    fn plan(&self, flow: &Flow) -> Result<()> {
        flow.read(lines(&self.input))
            .map(|line, out| {
                let (path, millis) =
                    line.rsplit_once(' ').ok_or_else(|| Error::msg("the line is not `path millis`"))?;
                out.emit(path, millis.parse::<f64>()?);
                Ok(())
            })
            .combine((Count, Quantiles([0.5, 0.95, 0.99]), Max))
            .map(|(path, (requests, [median, p95, p99], longest)), out| {
                out.push((path, requests, median, p95, p99, longest))
            })
            .write(tsv(&self.output))
    }
}

fn main() -> std::process::ExitCode {
    windrow::main::<Percentiles>()
}
